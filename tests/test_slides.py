"""Lectures: what the metadata of cells may say, what becomes of it, and that every chapter's lecture can be given."""

import base64
import json
import re
import struct

import pytest
from helpers.pages import Tags, executed_with_slider
from notebook_files import CHAPTERS, NOTEBOOKS, shown

from course_utils.tools import pages, slides
from course_utils.tools.chapter import Chapter
from course_utils.tools.notebook import EXERCISE, markdown_texts, read
from course_utils.tools.notebook import WIDGET_STATE as STATE
from course_utils.tools.notebook import WIDGET_VIEW as VIEW
from course_utils.tools.slides import LectureError


def png(width, height):
    """The head of a PNG of that size, in base64."""
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\0" * 40
    return base64.b64encode(head).decode()


PNG = png(10, 5)
FIGURE = {"output_type": "display_data", "data": {"image/png": PNG, "text/plain": "<Figure>"}, "metadata": {}}


def cell(identifier, source="text", kind="markdown", slide="slide", outputs=(), shown=None, **lecture):
    lecture |= {"outputs": shown} if shown else {}
    metadata = ({"slideshow": {"slide_type": slide}} if slide else {}) | ({"lecture": lecture} if lecture else {})
    made = {"id": identifier, "cell_type": kind, "metadata": metadata, "source": source}
    return made | ({"outputs": list(outputs), "execution_count": 1} if kind == "code" else {})


def notebook(*cells):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def outputs(slide):
    return [output for part in slide.parts for output in part.get("outputs", [])]


def html(chapter, *others):
    return pages.fill("slides.html", **slides.deck(chapter, *others))


# ---------------------------------------------------------------- what the metadata may say


@pytest.mark.parametrize(
    "wrong, message",
    [
        (cell("a1", titel="x"), r"cell a1: lecture has the key 'titel'; the nearest is 'title'"),
        (cell("a1", slide="slides", title="x"), r"cell a1: slide_type 'slides' is none of slide, subslide"),
        (cell("a1", title="x", minutes="2"), r"cell a1: lecture.minutes is '2', which is a str"),
        (cell("a1", title="x", minutes=True), r"lecture.minutes is True"),
        (cell("a1", title="x", shown="pictures"), r"lecture.outputs 'pictures' is none of figures, text, all, none"),
        (cell("a1", minutes=2), r"cell a1: a slide needs lecture.title"),
        (cell("a1", slide="-"), r"cell a1: '-' goes on with a slide, but none has begun"),
        (cell("a1", "x = 1", "code", title="x", code="2-3"), r"cell a1: lecture.code: '2-3' is no range of lines 1-1"),
        (cell("a1", "x = 1", "code", title="x", code="all"), r"cell a1: lecture.code: 'all' is no range"),
        (cell("a1", "x = 1", "code", title="x", twin="zz"), r"cell a1: lecture.twin 'zz' is no cell"),
        (cell("a1", slide=None), r"no cell has slideshow metadata"),
    ],
)
def test_metadata_that_mean_nothing_are_refused_by_name(wrong, message):
    with pytest.raises(LectureError, match=re.escape(message.replace(r"\.", "."))):
        slides.deck(notebook(wrong))


def test_lecture_must_be_a_dictionary():
    wrong = cell("a1")
    wrong["metadata"]["lecture"] = "two minutes"
    with pytest.raises(LectureError, match="cell a1: lecture is 'two minutes', not a dictionary"):
        slides.lecture_of(wrong)


def test_slides_collect_cells_time_and_notes():
    made = slides.slides_of(
        notebook(
            cell("a", title="One", minutes=2, notes="say"),
            cell("left out", slide=None),
            cell("b", slide="skip", title="never"),
            cell("c", "more", slide="-"),
            cell("d", "also say", slide="notes"),
            cell("e", slide="subslide", title="Two", minutes=1.5, notes="ask"),
            cell("f", "later", slide="fragment", notes="and wait"),
        )
    )
    assert [(s.title, s.minutes, s.start) for s in made] == [("One", 2, 0), ("Two", 1.5, 2)]
    assert [[c["id"] for c in s.cells] for s in made] == [["a", "c"], ["e", "f"]]
    assert [s.notes.split() for s in made] == [["say", "also", "say"], ["ask", "and", "wait"]]


def test_a_slide_can_come_after_another_one_and_the_clock_follows():
    made = [cell("a", title="A", minutes=1), cell("b", "more", slide="-"), cell("c", title="C", minutes=2)]
    made += [cell("d", title="D", minutes=4, after="b"), cell("e", title="E", minutes=8, after="b")]
    ordered = slides.slides_of(notebook(*made, cell("f", title="F", minutes=1)))
    assert [(slide.title, slide.start) for slide in ordered] == [("A", 0), ("D", 1), ("E", 5), ("C", 13), ("F", 15)]
    with pytest.raises(LectureError, match="slide 'D': lecture.after 'zz' is no cell of another slide"):
        slides.slides_of(notebook(made[0], cell("d", title="D", after="zz")))


def test_storing_outputs_keeps_the_lecture():
    from course_utils.tools.store import with_outputs

    chapter = notebook(cell("a", title="A", minutes=2), cell("b", "1 + 1", "code", slide="-", code="show"))
    executed = json.loads(json.dumps(chapter))
    stored = with_outputs(json.loads(json.dumps(chapter)), executed)
    assert [made["metadata"] for made in stored["cells"]] == [made["metadata"] for made in chapter["cells"]]


# ---------------------------------------------------------------- code, time, answers


def test_excerpt_takes_ranges_and_says_what_it_leaves_out():
    source = "def f(x):\n    a = 1\n    b = 2\n    return a"
    assert slides.excerpt(source, "show") == source
    assert slides.excerpt(source, "hide") == ""
    assert slides.excerpt(source, "2-3") == "a = 1\nb = 2"
    assert slides.excerpt(source, "1, 4") == "def f(x):\n…\n    return a"


def test_excerpt_folds_long_lines_and_stays_the_same_program():
    source = (
        "    layer = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, latent))  # (B, 16)\n"
        "    y = f(a, b)  # short"
    )
    lines = slides.excerpt(source, "show").splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "# (B, 16)" and lines[-1] == "y = f(a, b)  # short"
    without = re.sub(r"\s|#.*", "", "\n".join(lines))
    assert without == re.sub(r"\s|#.*", "", source)
    compile("\n".join(lines), "excerpt", "exec")


def test_excerpt_leaves_a_line_that_it_cannot_break():
    line = "name = " + "x" * 90
    assert slides.excerpt(line, "show") == line


def test_long_lines_of_output_go_on_below():
    stream = {"output_type": "stream", "name": "stdout", "text": "word " * 40 + "\nshort\n"}
    made = cell("a", "x", "code", outputs=[stream], shown="text", title="T")
    (slide,) = slides.deck(notebook(made))["slides"]
    text = outputs(slide)[0]["text"]
    assert max(map(len, text.splitlines())) <= slides.WIDEST and text.split() == ["word"] * 40 + ["short"]


def test_a_part_of_a_figure_is_cut_out():
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (200, 100), "white").save(buffer, "PNG")
    whole = base64.b64encode(buffer.getvalue()).decode()
    assert slides.png_size(slides.cut(whole, "50 0 100 40")) == (100, 40)
    figure = {"output_type": "display_data", "data": {"image/png": whole}, "metadata": {}}
    (slide,) = slides.deck(notebook(cell("a", "x", "code", outputs=[figure], title="T", crop="0 0 25 100")))["slides"]
    assert slides.png_size(outputs(slide)[0]["png"]) == (50, 100)
    for wrong in ("left half", "0 0 50", "60 0 40 100", "0 0 101 100"):
        with pytest.raises(LectureError, match=re.escape(f"lecture.crop {wrong!r} is not")):
            slides.cut(whole, wrong)


@pytest.mark.parametrize("minutes, text", [(0, "0:00"), (12.5, "12:30"), (59.99, "59:59"), (61, "61:00")])
def test_clock(minutes, text):
    assert slides.clock(minutes) == text


def test_answers_are_code_and_the_words_below_it():
    solutions = notebook(
        cell("t", "# Solutions\n", slide=None),
        cell("x", "import torch", "code", slide=None),
        cell("m", "## Exercise 2.1 — one\nWhat to do.", slide=None),
        cell("c", "def f(x):\n    return x\n\n\ncheck.exercise_1(f)", "code", slide=None),
        cell("n", "Because.\n\n## Exercise 2.2 — two\nAgain.", slide=None),
        cell("d", "answer = 3\ncheck.exercise_2(answer)", "code", slide=None),
    )
    answers = slides.answers_of(solutions)
    assert answers["2.1"].endswith(">def f(x):\n    return x</pre>\n\nBecause.")
    assert answers["2.2"].endswith(">answer = 3</pre>\n")


# ---------------------------------------------------------------- what the template gets


def test_text_code_outputs_and_notes_of_a_slide():
    stream = {"output_type": "stream", "name": "stdout", "text": "one\ntwo\nthree\n"}
    source = "a = 1\nb = 2\nc = 3"
    lecture = slides.deck(
        notebook(
            cell("a", "a very long text", title="First", text="short", minutes=1, notes="Say it."),
            cell("b", source, "code", outputs=[stream, FIGURE], title="Second", code="2-3", minutes=2, notes="Ask."),
            cell("c", source, "code", slide="-", outputs=[stream, FIGURE]),
            cell("d", "later", slide="fragment"),
        )
    )
    first, second = lecture["slides"]
    assert [(first.title, first.layout), (second.title, second.layout)] == [("First", "title"), ("Second", "below")]
    assert [part["text"] for part in first.parts] == ["short"]
    assert first.notes.startswith("**0:00 of 3:00** · 1 min") and "Say it." in first.notes
    assert second.notes.startswith("**1:00 of 3:00** · 2 min")
    assert [part.get("code") for part in second.parts] == ["b = 2\nc = 3", "", None]
    assert outputs(second) == [{"png": PNG, "width": 17, "height": 8}] * 2
    assert [part["step"] for part in second.parts] == [False, False, True]


@pytest.mark.parametrize(
    "what, kinds, text",
    [
        ("figures", ["png"], None),
        ("text", ["text"], "one\ntwo\nthree"),
        ("text 2-3", ["text"], "two\nthree"),
        ("all", ["text", "png"], "one\ntwo\nthree"),
        ("none", [], None),
    ],
)
def test_chosen_outputs(what, kinds, text):
    stream = {"output_type": "stream", "name": "stdout", "text": "one\ntwo\nthree\n"}
    made = cell("a", "x", "code", outputs=[stream, FIGURE], shown=what, title="T", code="show")
    found = outputs(slides.deck(notebook(made))["slides"][0])
    assert [next(iter(output)) for output in found] == kinds
    assert text is None or found[0]["text"] == text


def test_one_figure_stands_beside_text_only_where_it_grows_by_that():
    def body(width, height):
        return [{"text": "some words"}, {"code": "", "outputs": [{"png": "", "width": width, "height": height}]}]

    assert slides._layout(body(500, 500)) == "beside"
    assert slides._layout(body(1200, 400)) == "below"
    assert slides._layout([{"text": "some words"}]) == "words"


def test_exercises_become_pauses_with_the_expected_answer():
    text = "## Exercises\n\n### Exercise 2.1 — the loss · difficulty 1/5 · 4 minutes\nWrite it."
    solutions = notebook(cell("m", "## Exercise 2.1 — x", slide=None), cell("c", "f = 1\ncheck.exercise_1(f)", "code"))
    chapter = notebook(cell("a", title="A", minutes=1), cell("b", text, title="Exercise 2.1", text="?", minutes=3))
    pause = slides.deck(chapter, None, solutions)["slides"][1]
    texts = [part["text"] for part in pause.parts]
    assert texts == ["?", "Pause: **3 minutes now** · in the notebook: difficulty 1/5, 4 minutes"]
    assert "**Expected answer:**" in pause.notes and "f = 1" in pause.notes
    assert "not here" in slides.deck(chapter)["slides"][1].notes and 'data-kind="pause"' in html(chapter)


# ---------------------------------------------------------------- widgets


def test_widgets_come_from_the_executed_copy_with_the_state_they_need_only():
    chapter = notebook(
        cell("a", "slider", "code", title="A", twin="b"), cell("b", "twin", "code", slide=None, outputs=[FIGURE])
    )
    still = slides.deck(chapter)
    assert still["widgets"] is None and "require" not in html(chapter)
    assert outputs(still["slides"][0])[0]["png"] == PNG, "the figure of the static twin"

    executed, slider, unrelated = executed_with_slider(chapter, "a")
    moving = slides.deck(chapter, executed)
    assert outputs(moving["slides"][0])[0]["view"]["model_id"] == slider.model_id
    state = moving["widgets"]["state"]
    names = sorted(model["model_name"] for model in state.values())
    assert slider.model_id in state and unrelated.model_id not in state
    assert names.count("ImageModel") == 3 and names.count("LinkModel") == 2

    executed["cells"][0]["source"] = "another slider"
    assert slides.deck(chapter, executed)["widgets"] is None, "a copy of other cells is not taken"


def test_state_and_views_stand_in_the_page_as_data():
    chapter = notebook(cell("a", "slider", "code", title="A"))
    executed, slider, _ = executed_with_slider(chapter, "a")
    found = re.findall(r'<script type="([^"]*)">(\{.*?)</script>', html(chapter, executed))
    state, view = (json.loads(text) for kind, text in found)
    assert [kind for kind, _ in found] == [STATE, VIEW]
    assert view["model_id"] == slider.model_id in state["state"]


# ---------------------------------------------------------------- the page


def test_page_loads_nothing_from_elsewhere():
    chapter = notebook(cell("a", title="A $x$", text=r"$$\frac12 \tag{0.1}$$", minutes=1, notes="Say."))
    text = html(chapter)
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//|import\s+\w+\s+from\s+'http|url\(['\"]?http", text)
    assert set(re.findall(r'<script src="([^"?]*)', text)) == {
        "vendor/reveal.js/dist/reveal.js",
        "vendor/reveal.js/plugin/notes/notes.js",
        "vendor/mathjax/MathJax.js",
    }
    assert r"$$\frac12 \tag{0.1}$$" in text and '<aside class="notes">' in text
    Tags(text)


def test_what_is_shown_is_escaped():
    stream = {"output_type": "stream", "name": "stdout", "text": "<b>printed</b>"}
    made = cell("a", "x = '<b>'", "code", outputs=[stream], shown="text", code="show", title="A <b>", notes="Say.")
    assert "<b>" not in html(notebook(made)) and "&lt;b&gt;printed" in html(notebook(made))


def test_mathematics_in_notes_is_set_without_a_script():
    chapter = notebook(cell("a", title="A", text="words", minutes=1, notes="Ask: is $x_1 < 2$? It costs `$5`."))
    notes = re.search(r'<aside class="notes">.*?</aside>', html(chapter), re.S)[0]
    assert "<math" in notes and "<msub>" in notes and "<code>$5</code>" in notes and "$x_1" not in notes


@pytest.fixture
def scripts(tmp_path):
    """Stand-ins for the npm packages."""
    folders = {}
    for package, parts in slides.SCRIPTS.items():
        folders[package] = tmp_path / "npm" / package.replace("/", "-")
        for part in parts:
            path = folders[package] / part / ("" if "." in part.split("/")[-1] else "inside.js")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("// script")
    return folders


def test_write_makes_pages_an_index_and_copies_the_scripts(tmp_path, scripts):
    source, output = tmp_path / "notebooks", tmp_path / "slides"
    source.mkdir()
    (source / "07_x.ipynb").write_text(json.dumps(notebook(cell("a", title="The <x>", minutes=2, notes="Say."))))
    lines = slides.write([Chapter("07_x", "X", source / "07_x.ipynb")], source, output, tmp_path / "run", scripts)
    assert lines == ["07_x: 1 slides, 2 minutes, 0 exercises as pauses, still figures for sliders"]
    index = (output / "index.html").read_text()
    assert '<a href="07_x.html">07 · The &lt;x&gt;</a>' in index
    for path in re.findall(r'(?:src|href)="(vendor/[^"?]*)', (output / "07_x.html").read_text()):
        assert (output / path).exists() or path.endswith(("white.css", "notes.js")), path
    assert (output / "vendor/reveal.js/dist/theme/inside.js").exists()
    assert (output / "vendor/@jupyter-widgets/html-manager/dist/embed-amd.js").exists()


def test_an_error_names_chapter_and_cell(tmp_path, scripts):
    (tmp_path / "07_x.ipynb").write_text(json.dumps(notebook(cell("a", titel="x"))))
    with pytest.raises(LectureError, match="07_x: cell a: lecture has the key 'titel'"):
        slides.write([Chapter("07_x", "X", tmp_path / "07_x.ipynb")], tmp_path, tmp_path / "out", tmp_path, scripts)


def test_the_command_writes_the_lecture_of_a_chapter(tmp_path, scripts, monkeypatch):
    from click.testing import CliRunner

    from course_utils.tools import cli, vendor

    monkeypatch.setattr(vendor, "fetch", lambda names: {name: scripts[name] for name in names})
    done = CliRunner().invoke(cli.main, ["slides", "0", "--output", str(tmp_path / "out")])
    assert done.exit_code == 0 and "00_start_here: " in done.output, done.output
    assert (tmp_path / "out" / "00_start_here.html").exists()

    def missing(names):
        raise vendor.VendorMissing("npm was not found")

    monkeypatch.setattr(vendor, "fetch", missing)
    done = CliRunner().invoke(cli.main, ["slides", "0", "--output", str(tmp_path / "out")])
    assert done.exit_code == 1 and "npm was not found" in done.output


# ---------------------------------------------------------------- the lectures of the chapters

LECTURES = {path.stem: read(path) for path in CHAPTERS}
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=shown)


def solutions_of(path):
    return read(NOTEBOOKS / "solutions" / path.name)


@every_chapter
def test_a_lecture_lasts_forty_to_sixty_minutes(path):
    made = slides.slides_of(LECTURES[path.stem])
    low, high = (15, 30) if path.stem.startswith("00") else (40, 60)  # 00 opens the first lecture, with the set-up
    assert low <= sum(slide.minutes for slide in made) <= high
    assert 15 <= len(made) <= 34 and all(0.5 <= slide.minutes <= 5 for slide in made)


@every_chapter
def test_every_slide_has_a_short_title_and_notes(path):
    made = slides.slides_of(LECTURES[path.stem])
    for slide in made:
        assert len(slide.title) <= 70, slide.title
        assert len(slide.notes.split()) >= 8, slide.title
    assert len({slide.title for slide in made}) == len(made)
    assert sum("?" in slide.notes + slide.title for slide in made) >= len(made) / 4, "too few questions to the room"


@every_chapter
def test_every_exercise_is_a_pause(path):
    texts = markdown_texts(LECTURES[path.stem])
    exercises = [match["number"] for text in texts for match in EXERCISE.finditer(text) if match["minutes"]]
    pauses = [slide.exercise["number"] for slide in slides.slides_of(LECTURES[path.stem]) if slide.exercise]
    assert exercises and sorted(pauses) == exercises
    assert set(slides.answers_of(solutions_of(path))) == set(exercises), "each has an expected answer for the notes"


@every_chapter
def test_code_and_words_can_be_read_from_the_last_row(path):
    for slide in slides.deck(LECTURES[path.stem])["slides"]:
        for part in slide.parts:
            printed = [(output.get("text", ""), slides.WIDEST) for output in part.get("outputs", [])]
            for text, widest in [(part.get("code") or "", 80), *printed]:
                lines = text.splitlines()
                assert len(lines) <= 14 and max(map(len, lines), default=0) <= widest, f"{slide.title}\n{text}"
            words = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|[|*·-]", " ", part.get("text") or "", flags=re.S).split()
            assert len(words) <= 60, f"{slide.title}: {len(words)} words"


@every_chapter
def test_every_slide_shows_something(path):
    assert not [slide.title for slide in slides.deck(LECTURES[path.stem])["slides"] if not slide.parts]


@every_chapter
def test_a_slider_on_a_slide_has_a_still_figure(path):
    cells = {made["id"]: made for made in LECTURES[path.stem]["cells"]}
    for made in cells.values():
        kind, lecture = slides.lecture_of(made)
        placeholder = any("interactive figure" in str(o.get("data", {})) for o in made.get("outputs", []))
        if kind != "skip" and placeholder and lecture.get("outputs") != "none":
            assert "twin" in lecture, f"name the cell of the still figure: {made['id']}"
        if "twin" in lecture:
            assert any("image/png" in o.get("data", {}) for o in cells[lecture["twin"]]["outputs"])
