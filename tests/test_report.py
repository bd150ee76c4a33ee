"""The report shows what happened, loads nothing, escapes everything, and keeps mathematics readable."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from test_execute import write_course

from course_utils.results import SERIES_MIME
from course_utils.tools import report

ENTRY = {
    "name": "02_autoencoder",
    "title": "Codes & <script>alert(1)</script>",
    "profile": "quick",
    "parameters": {"dataset": "<b>mnist</b>"},
    "overridden": False,
    "bands": {"psnr": [17, 19], "angle": [0, 5], "lost": [1, 2]},
    "status": "out of band",
    "message": "angle = 9 & more",
    "minutes": 1.25,
    "numbers": {"psnr": 18.5, "angle": 9.0, "free_number": 0.5},
    "traceback": "",
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"processor": "a processor", "cores": 2, "memory_gb": 8, "system": "Linux", "device": "cpu"},
    "versions": {"python": "3.11", "torch": "2.15"},
}


def png(width: int = 1200, height: int = 600) -> str:
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height), (200, 30, 30, 128)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def markdown(*texts: str) -> dict:
    return new_notebook(cells=[new_markdown_cell(text) for text in texts])


def page(*texts: str, source=None) -> str:
    return report.notebook_page(markdown(*texts), "A title", source or report.Path())


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes, and complains of tags that do not match."""

    VOID = {"meta", "img", "br", "hr", "input", "link", "line", "rect", "mspace"}

    def __init__(self, text: str):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture
def written(tmp_path):
    failed = ENTRY | {"name": "03_next", "title": "Next", "status": "failed", "numbers": {}, "bands": {}}
    failed |= {"traceback": "ValueError: <b> & c", "message": "ValueError in cell 2 of 3"}
    fine = ENTRY | {"name": "01_good", "title": "Good", "status": "ok", "bands": {"psnr": [17, 19]}, "message": ""}
    source = write_course(tmp_path / "chapters", **{"01_good": {}, "02_autoencoder": {}, "04_later": {}})
    output = tmp_path / "run"
    output.mkdir()
    figure = [new_output("display_data", data={"image/png": png(), "text/plain": "<Figure>"})]
    cells = [new_markdown_cell("## Codes of $x$ & <b>digits</b>"), new_code_cell("plot()", outputs=figure)]
    (output / "02_autoencoder.ipynb").write_text(json.dumps(new_notebook(cells=cells)))
    (output / "results.json").write_text(json.dumps({"chapters": [fine, ENTRY, failed]}))
    index = report.write(output, source)
    return index.read_text(encoding="utf-8"), output


def test_index_says_status_numbers_bands_and_machine(written):
    text, _ = written
    plain = re.sub(r"<[^>]+>", " ", text)
    assert "1 of 3 chapters are fine; look at Codes" in plain
    for word in ("18.5", "17 … 19", "in band", "outside", "not recorded", "no band yet", "free number", "1.2 min"):
        assert word in plain
    for word in ("✓ ok", "▲ out of band", "✕ failed", "a processor", "torch 2.15", "Not executed yet: 04_Later"):
        assert word in plain


def test_index_escapes_what_it_shows(written):
    text, _ = written
    tags = Tags(text)
    assert not [tag for tag, _ in tags.found if tag in ("script", "b", "iframe")]
    assert "Codes &amp; &lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "ValueError: &lt;b&gt; &amp; c" in text and "dataset = &lt;b&gt;mnist" in text


def test_pages_load_nothing(written):
    text, output = written
    for content in (text, (output / "02_autoencoder.html").read_text(encoding="utf-8")):
        for tag, attributes in Tags(content).found:
            assert tag not in ("script", "link", "iframe")
            assert not (attributes.get("src") or "data:").startswith(("http", "//"))
        assert "http" not in content and "@import" not in content


def test_thumbnails_are_small_and_lead_to_their_figure(written):
    text, output = written
    images = [attributes for tag, attributes in Tags(text).found if tag == "img"]
    picture = Image.open(io.BytesIO(base64.b64decode(images[0]["src"].split(",")[1])))
    assert picture.width == 520 and picture.height == 260
    assert images[0]["alt"] == "Figure 1: Codes of $x$ & <b>digits</b>"
    assert "href='02_autoencoder.html#figure-1'" in text
    assert '<img id="figure-1" alt="Figure 1' in (output / "02_autoencoder.html").read_text(encoding="utf-8")


def test_marker_places_the_value_in_its_band():
    def position(value, band):
        return float(re.search(r"<rect x='([\d.]+)' y='0'", report._marker(value, band))[1]) + 2

    assert position(17, (17, 19)) == 40 and position(18, (17, 19)) == 70 and position(19, (17, 19)) == 100
    assert position(1e9, (17, 19)) == 137 and position(-1e9, (17, 19)) == 3 and position(5, (5, 5)) == 70
    assert "value good" in report._marker(17, (17, 19)) and "value bad" in report._marker(16.99, (17, 19))
    assert report._marker(float("nan"), (0, 1)) == "" == report._marker(1.0, None)


def test_page_is_written_again_only_if_the_notebook_changed(written, tmp_path):
    _, output = written
    page = output / "02_autoencoder.html"
    before = page.stat().st_mtime_ns
    report.write(output, tmp_path / "chapters")
    assert page.stat().st_mtime_ns == before


# ---------------------------------------------------------------- notebooks as pages


def test_formulas_become_mathml_and_markdown_leaves_them_alone():
    text = page("Two $x_i * y_i$ and $a_i * b_i$, price \\$5 and \\$6, `cost $x$`.\n\n```\ny = '$z$'\n```")
    assert text.count("<math") == 2 and "<em>" not in text and "\ue000" not in text
    assert "<code>cost $x$</code>" in text and "$z$" in re.sub(r"<[^>]+>", "", text)
    assert "price $5 and $6" in text


def test_tag_stands_at_the_margin():
    html = report.render_math(r"x = 1 \tag{2.1}", block=True)
    assert html.startswith("<span class='equation'>") and html.endswith("<span class='tag'>(2.1)</span></span>")
    assert "tag" not in re.search(r"<math.*</math>", html)[0]


@pytest.mark.parametrize(
    ("tex", "rows"),
    [
        (r"\begin{aligned} a &= b \\ &= c + d \end{aligned}", 2),
        (r"\begin{align} a &= b \\ c &= d \\ e &= f \end{align}", 3),
        (r"f(x) = \begin{cases} x & x > 0 \\ 0 & \text{otherwise} \end{cases}", 2),
        (r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}", 2),
        (r"\begin{pmatrix} 1 \\ 2 \\ 3 \end{pmatrix}", 3),
    ],
)
def test_environments_become_tables(tex, rows):
    html = report.render_math(tex, block=True)
    assert html.count("<mtr>") == rows and "&amp;" not in html and "<code>" not in html and "(1)" not in html


@pytest.mark.parametrize(
    "tex",
    [
        r"\log p_\theta(x) \ge \mathbb{E}_q\bigl[\log p(x\mid z)\bigr] - \operatorname{KL}(q\,\|\,p)",
        r"\hat\theta = \arg\min_\theta \frac{1}{N}\sum_{i=1}^{N} \lVert x_i - \hat{x}_i \rVert_2^2",
        r"\operatorname*{arg\,max}_{z} \left( \frac{a}{b} \right)^{\top}, \boldsymbol{\mu}, \mathbb{R}",
        r"\underbrace{\operatorname{tr}(S)}_{\text{all}} = \int p(x)\,\mathrm{d}x \sim \mathcal{N}(0, \sigma^2 I)",
        r"f'(x), \sqrt{2\pi}, \max_i \prod_j \partial_x \nabla_\theta \ell, \varepsilon \propto \overline{x}",
    ],
)
def test_what_the_chapters_use_is_converted(tex):
    html = report.render_math(tex, block=True)
    assert "<code>" not in html and "\\" not in html, html
    assert 'mathvariant="bold' not in html


def test_limits_stand_below_in_displayed_formulas_only():
    assert "<munder>" in report.render_math(r"\max_i x_i", block=True)
    assert "<munder>" not in report.render_math(r"\max_i x_i", block=False)
    assert "\U0001d741" in report.render_math(r"\boldsymbol{\mu}", block=False)


@pytest.mark.parametrize("tex", [r"\unknown{x} < 1", r"\frac{1}", r"\left( x"])
def test_what_cannot_be_converted_stays_as_tex(tex):
    html = report.render_math(tex, block=False)
    assert html == f"<code>{tex.replace('<', '&lt;')}</code>"


def test_details_keep_what_is_inside_them():
    text = page(
        "<details><summary>Solution</summary>\n\nInside **bold** $x$\n\n```python\ny = 1\n```\n\n</details>\n\nafter"
    )
    inside = re.search(r"<details>.*?</details>", text, flags=re.DOTALL)[0]
    assert "<strong>bold</strong>" in inside and "<math" in inside and 'class="highlight"' in inside
    assert "after" not in inside


def test_formula_in_heading_and_table():
    text = page("## The code $z$\n\n| a | b |\n|---|---|\n| $\\mu$ | $\\sigma_1 < \\sigma_2$ |")
    Tags(text)
    assert re.search(r'<h2 id="The-code-?"', text) and text.count("<math") == 3
    assert "&lt;" in text


def test_widgets_scripts_and_latex_outputs():
    outputs = [
        new_output("display_data", data={report.WIDGET_MIME: {"model_id": "m"}, "text/plain": "IntSlider()"}),
        new_output("display_data", data={"text/html": "<script src='https://cdn.example/x.js'></script><i>kept</i>"}),
        new_output("display_data", data={"application/javascript": "alert(1)", "text/plain": "js"}),
        new_output("display_data", data={"text/latex": "$\\displaystyle x^2$", "text/plain": "x**2"}),
        new_output("error", ename="E", evalue="v", traceback=["\x1b[31mred\x1b[0m <b>"]),
    ]
    notebook = new_notebook(cells=[new_code_cell("1", outputs=outputs)])
    text = report.notebook_page(notebook, "t", report.Path())
    assert "IntSlider" not in text and "<script" not in text and "cdn.example" not in text and "alert" not in text
    assert "<i>kept</i>" in text and "<msup>" in text and "\x1b" not in text and "&lt;b&gt;" in text


def test_links_and_pictures_stay_within_the_report(tmp_path):
    (tmp_path / "picture.png").write_bytes(base64.b64decode(png(4, 4)))
    text = page("[next](03_next.ipynb#top) ![a picture](picture.png) ![gone](gone.png)", source=tmp_path)
    assert 'href="03_next.html#top"' in text
    assert 'src="data:image/png;base64,' in text and 'src="gone.png"' in text


def test_numbers_stand_in_the_words_units_and_order_of_the_course_file():
    announced = {"angle": {"label": "largest <angle>", "unit": "degrees"}, "psnr": {"label": "PSNR"}}
    table = report._numbers(ENTRY, announced)
    assert "largest &lt;angle&gt; (degrees)" in table
    assert table.index("largest") < table.index("PSNR") < table.index("free number")


def test_a_scoreboard_stands_in_the_section_of_its_chapter():
    announced = {"models": ["a <model>"], "metrics": [{"name": "n", "label": "Nats", "unit": "nats", "better": "high"}]}
    data = {SERIES_MIME: {"series": {"scoreboard": [[[1.0, 3.0]]]}}, "text/plain": "kept"}
    notebook = new_notebook(cells=[new_code_cell("keep()", outputs=[new_output("display_data", data=data)])])
    html = report._scoreboard(notebook, {"scoreboard": announced})
    Tags(html)
    assert "a &lt;model&gt;" in html and "2 ± 1" in html and "Nats (nats) ↑" in html and "2 seeds" in html
    assert (
        report._scoreboard(notebook, {}) == "" and report._scoreboard(new_notebook(), {"scoreboard": announced}) == ""
    )
