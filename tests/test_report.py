"""The report shows what happened, loads nothing, escapes everything, and keeps mathematics readable."""

import base64
import io
import json
import re

import pytest
from helpers.pages import Tags, png
from helpers.toys import write_course
from math_core import LatexError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_files import CHAPTERS, SOLUTIONS, shown
from PIL import Image

from course_utils.results import SERIES_MIME
from course_utils.tools import notebook, pages, report
from course_utils.tools.chapter import Chapter, Result
from course_utils.tools.sitetext import PIECES

ROW = {
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


def markdown(*texts: str) -> dict:
    return new_notebook(cells=[new_markdown_cell(text) for text in texts])


def formulas_in(text: str) -> list[tuple[str, bool]]:
    """Formulas of a Markdown text as TeX, and whether each is displayed."""
    found = [match for match in PIECES.finditer(text) if not match["code"]]
    return [(match["block"] or match["bare"] or match["inline"], match["inline"] is None) for match in found]


def index(row=ROW, executed=None, **announced) -> str:
    """The first page of a run of one chapter, of which course.yml says what is announced."""
    chapter = Chapter(row["name"], row["title"], report.Path(f"{row['name']}.ipynb"), **announced)
    return report.index_page([Result(**row)], [chapter], {row["name"]: executed} if executed else {})


def page(*texts: str, source=None) -> str:
    return report.notebook_page(markdown(*texts), "A title", source or report.Path())


@pytest.fixture
def written(tmp_path):
    failed = ROW | {"name": "03_next", "title": "Next", "status": "failed", "numbers": {}, "bands": {}}
    failed |= {"traceback": "ValueError: <b> & c", "message": "ValueError in cell 2 of 3"}
    fine = ROW | {"name": "01_good", "title": "Good", "status": "ok", "bands": {"psnr": [17, 19]}, "message": ""}
    source = write_course(tmp_path / "chapters", **{"01_good": {}, "02_autoencoder": {}, "04_later": {}})
    output = tmp_path / "run"
    output.mkdir()
    figure = [new_output("display_data", data={"image/png": png(), "text/plain": "<Figure>"})]
    cells = [new_markdown_cell("## Codes of $x$ & <b>digits</b>"), new_code_cell("plot()", outputs=figure)]
    (output / "02_autoencoder.ipynb").write_text(json.dumps(new_notebook(cells=cells)))
    (output / "results.json").write_text(json.dumps({"chapters": [fine, ROW, failed]}))
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


def test_the_kept_runs_stand_beside_a_number_of_the_quick_profile(tmp_path):
    (tmp_path / "spread").mkdir()
    runs = [{"numbers": {"psnr": value, "share": value}} for value in (18.0, 19.0, 20.0)]
    (tmp_path / "spread" / "02.json").write_text(json.dumps({"format": 1, "runs": runs}))
    numbers = {"psnr": {"quick": [17, 21]}, "share": {"above": 19.5}}
    chapter = Chapter("02_autoencoder", "Codes", tmp_path / "02_autoencoder.ipynb", numbers=numbers)
    row = ROW | {"numbers": {"psnr": 18.5, "share": 1.0}, "bands": {"psnr": [17, 21]}}
    quick = report.index_page([Result(**row)], [chapter], {})
    assert "19.0 ± 1.0 (3)" in quick and "above 19.5: 1 of 3" in quick and "counted over seeds" in quick
    full = report.index_page([Result(**row | {"profile": "full"})], [chapter], {})
    assert "19.0 ± 1.0" not in full


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
    assert 'href="02_autoencoder.html#figure-1"' in text
    page = Tags((output / "02_autoencoder.html").read_text(encoding="utf-8"))
    assert [a["alt"] for tag, a in page.found if a.get("id") == "figure-1"] == [images[0]["alt"]]


def test_marker_places_the_value_in_its_band():
    def position(value, band):
        found = re.search(
            r'<rect x="([\d.]+)" y="0"', index(ROW | {"numbers": {"psnr": value}, "bands": {"psnr": band}})
        )
        return float(found[1]) + 2 if found else None

    assert position(17, (17, 19)) == 40 and position(18, (17, 19)) == 70 and position(19, (17, 19)) == 100
    assert position(1e9, (17, 19)) == 137 and position(-1e9, (17, 19)) == 3 and position(5, (5, 5)) == 70
    assert position(float("nan"), (0, 1)) is None
    assert "<svg" not in index(ROW | {"numbers": {"psnr": 1.0}, "bands": {}})


def test_numbers_of_overridden_parameters_are_not_compared():
    table = index()
    assert table.count('class="value bad"') == 1 and table.count(">outside<") == 1
    assert table.count(">not recorded<") == 1
    free = index(ROW | {"overridden": True, "status": "ok"})
    assert free.count(">not compared<") == 3 and "value good" not in free and "value bad" not in free
    assert 'class="bad"' not in free and 'class="good"' not in free


def test_a_chapter_that_ran_to_its_end_has_no_cross():
    assert "✓ ok" in index(ROW | {"status": "ok"}) and "✕ timed out" in index(ROW | {"status": "timed out"})
    assert "▲ missing numbers" in index(ROW | {"status": "missing numbers"})


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


def test_a_link_to_a_notebook_says_where_it_lies():
    html = page("See [the solutions](solutions/02_x.ipynb), and [above](#top).")
    assert "the solutions (<code>notebooks/solutions/02_x.ipynb</code>)" in html
    assert 'href="solutions' not in html and 'href="#top"' in html


def test_tag_stands_at_the_margin():
    html = pages.render_math(r"x = 1 \tag{2.1}", block=True)
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
    html = pages.render_math(tex, block=True)
    assert html.count("<mtr>") == rows and "&amp;" not in html and "<code>" not in html and "(1)" not in html


@pytest.mark.parametrize("path", [*CHAPTERS, *SOLUTIONS], ids=shown)
def test_every_formula_of_a_notebook_becomes_mathml(path):
    found = [pair for text in notebook.markdown_texts(notebook.read(path)) for pair in formulas_in(text)]
    raw = [tex for tex, block in found if "<code>" in pages.render_math(tex, block=block)]
    assert not raw, f"{len(raw)} of {len(found)} stay as they are written: {raw}"
    for tex, block in found:
        html = re.sub(r"<mtext>.*?</mtext>", "", pages.render_math(tex, block=block))
        assert html.count("<math") == 1 and "\\" not in html and 'mathvariant="d' not in html, tex


def test_there_are_formulas_in_the_notebooks():
    texts = [text for path in CHAPTERS for text in notebook.markdown_texts(notebook.read(path))]
    found = [pair for text in texts for pair in formulas_in(text)]
    assert len(found) > 900 and 50 < sum(block for _, block in found) < 500


@pytest.mark.parametrize(
    ("tex", "signs"),
    [
        (r"\mathbb E_q\,\mathcal N(0, \mathbf I)", "𝔼𝒩𝐈"),  # an argument without braces
        (r"\Big\lVert \frac{x}{\sigma} \Big\rVert, \Big\lfloor i \Big\rfloor, \Big\lceil f \Big\rceil", "‖⌊⌋⌈⌉"),
        (r"\boldsymbol{\mu}^\top \ge 0 \sim \nabla \ell", "𝝁⊤≥∼∇ℓ"),
    ],
)
def test_signs_are_those_of_the_formula(tex, signs):
    html = pages.render_math(tex, block=True)
    assert all(sign in html for sign in signs) and "<code>" not in html, html


def test_tall_brackets_stay_tall_under_an_exponent():
    html = pages.to_mathml(r"\Big(\frac ab\Big)^2", block=True)
    assert html.count('stretchy="true"') == html.count("minsize") == 2


def test_limits_stand_below_in_displayed_formulas_only():
    assert "<munder>" in pages.render_math(r"\max_i x_i", block=True)
    inline = pages.render_math(r"\max_i x_i", block=False)
    assert "<munder>" not in inline or "movablelimits" in inline


@pytest.mark.parametrize("tex", [r"\unknown{x} < 1", r"\frac{1}", r"\left( x"])
def test_what_cannot_be_converted_stays_as_tex(tex):
    assert pages.render_math(tex, block=False) == f"<code>{tex.replace('<', '&lt;')}</code>"
    with pytest.raises(LatexError):
        pages.to_mathml(tex, block=False)


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
    assert re.search(r'<h2 id="The-code-z"', text) and text.count("<math") == 3
    assert "&lt;" in text


def test_widgets_scripts_and_latex_outputs():
    outputs = [
        new_output("display_data", data={notebook.WIDGET_VIEW: {"model_id": "m"}, "text/plain": "IntSlider()"}),
        new_output("display_data", data={"text/html": "<script src='https://cdn.example/x.js'></script><i>kept</i>"}),
        new_output("display_data", data={"application/javascript": "alert(1)", "text/plain": "js"}),
        new_output("display_data", data={"text/latex": "$\\displaystyle x^2$", "text/plain": "x**2"}),
        new_output("error", ename="E", evalue="v", traceback=["\x1b[31mred\x1b[0m <b>"]),
    ]
    text = report.notebook_page(new_notebook(cells=[new_code_cell("1", outputs=outputs)]), "t", report.Path())
    assert "IntSlider" not in text and "<script" not in text and "cdn.example" not in text and "alert" not in text
    assert "<i>kept</i>" in text and "<msup>" in text and "\x1b" not in text and "&lt;b&gt;" in text


def test_readers_do_not_meet_the_bookkeeping_unless_it_failed():
    error = new_output("error", ename="AssertionError", evalue="v", traceback=["AssertionError: outside"])
    for outputs, seen in ([], False), ([error], True):
        cell = new_code_cell("results.record(a=1)", outputs=outputs, metadata={"tags": ["bookkeeping"]})
        text = report.notebook_page(new_notebook(cells=[new_code_cell("shown"), cell]), "t", report.Path())
        assert "shown" in text and ("record" in text) == ("outside" in text) == seen


def test_links_and_pictures_stay_within_the_report(tmp_path):
    (tmp_path / "picture.png").write_bytes(base64.b64decode(png(4, 4)))
    text = page("[next](03_next.ipynb#top) ![a picture](picture.png) ![gone](gone.png)", source=tmp_path)
    assert 'href="03_next.html#top"' in text
    assert 'src="data:image/png;base64,' in text and 'src="gone.png"' in text


def test_numbers_stand_in_the_words_units_and_order_of_the_course_file():
    announced = {"angle": {"label": "largest <angle>", "unit": "degrees"}, "psnr": {"label": "PSNR"}}
    table = index(numbers=announced)
    assert "largest &lt;angle&gt; (degrees)" in table
    assert table.index("largest") < table.index("PSNR") < table.index("free number")


def test_a_scoreboard_stands_in_the_section_of_its_chapter():
    announced = {"models": ["a <model>"], "metrics": [{"name": "n", "label": "Nats", "unit": "nats", "better": "high"}]}
    data = {SERIES_MIME: {"series": {"scoreboard": [[[1.0, 3.0]]]}}, "text/plain": "kept"}
    kept = new_notebook(cells=[new_code_cell("keep()", outputs=[new_output("display_data", data=data)])])
    html = index(executed=kept, scoreboard=announced)
    Tags(html)
    assert "a &lt;model&gt;" in html and "2 ± 1" in html and "Nats (nats) ↑" in html and "2 seeds" in html
    assert "Scoreboard" not in index(executed=new_notebook(), scoreboard=announced)
