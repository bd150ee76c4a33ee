"""The one reader of notebooks: what it takes for a notebook, what it finds in one, and that it changes none."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_files import CHAPTERS, SOLUTIONS, shown

from course_utils.results import NUMBERS_MIME, SERIES_MIME
from course_utils.tools import notebook as notebooks


def picture(png: str) -> dict:
    return new_output("display_data", {"image/png": png})


def numbers(mime: str, **content) -> dict:
    return new_output("display_data", {mime: content})


@pytest.fixture
def toy() -> dict:
    """A chapter with two exercises, three figures (two in one cell), a widget, an empty cell and a tag."""
    view = new_output("display_data", {notebooks.WIDGET_VIEW: {"model_id": "abc"}, "text/plain": "Slider"})
    cells = [
        new_markdown_cell("# Title\n\nText."),
        new_code_cell("a = 1", metadata={"tags": ["parameters"]}),
        new_markdown_cell("## First\n\nA # is no heading here.\n### Deeper  "),
        new_code_cell("plot()", outputs=[picture("AA"), picture("BB"), view]),
        new_code_cell("  \n"),
        new_markdown_cell("## Exercises\n\n### Exercise 2.1 — a loss · difficulty 2/5 · 10 minutes\nWrite it."),
        new_code_cell("answer = ..."),
        new_markdown_cell("A hint."),
        new_code_cell("check.exercise_1(answer)", outputs=[numbers(NUMBERS_MIME, numbers={"x": 1.0, "y": 2.0})]),
        new_markdown_cell("### Exercise 2.2"),
        new_code_cell("check.exercise_2(3)", outputs=[picture("CC"), numbers(NUMBERS_MIME, numbers={"x": 3.0})]),
        new_markdown_cell("## Sources"),
        new_code_cell("last()", outputs=[numbers(SERIES_MIME, series={"curve": [1.0, 2.0]})]),
    ]
    state = {notebooks.WIDGET_STATE: {"state": {"abc": {}}}}
    return json.loads(json.dumps(new_notebook(cells=cells, metadata={"widgets": state})))


@pytest.fixture(autouse=True)
def _unchanged(toy):
    before = json.dumps(toy)
    yield
    assert json.dumps(toy) == before, "a reader changes nothing"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSONDecodeError"),
        (b'{"cells": [', "JSONDecodeError"),
        (b"\xff\xfe", "UnicodeDecodeError"),
        (b"[]", "TypeError"),
        (b'{"cells": 3}', "TypeError"),
        (b'{"cells": ["text"]}', "TypeError"),
        (b'{"worksheets": []}', "KeyError"),
        (b'{"cells": [{"cell_type": "code", "source": ""}]}', "KeyError"),
        (b'{"cells": [{"cell_type": "code", "source": "", "metadata": 3}]}', "lacks its type"),
        (b'{"cells": [{"cell_type": "code", "metadata": {}}]}', "lacks its type"),
    ],
)
def test_what_is_no_notebook_is_named(tmp_path, content, words):
    (tmp_path / "a.ipynb").write_bytes(content)
    with pytest.raises(notebooks.NotebookError, match=words) as caught:
        notebooks.read(tmp_path / "a.ipynb")
    assert str(tmp_path / "a.ipynb") in str(caught.value)


def test_a_notebook_that_is_not_there_is_told_from_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        notebooks.read(tmp_path / "a.ipynb")


@pytest.mark.parametrize("path", [*CHAPTERS, *SOLUTIONS], ids=shown)
def test_notebooks_are_written_as_they_are_stored(path, tmp_path):
    notebook = notebooks.read(path)
    nbformat.write(nbformat.read(path, 4), tmp_path / "b.ipynb")
    notebooks.write(tmp_path / "a.ipynb", notebook)
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()
    assert notebooks.parse(notebooks.to_bytes(notebook)) == notebooks.read(tmp_path / "a.ipynb")


def test_a_copy_has_joined_sources_and_shares_nothing(toy):
    toy["cells"][0]["source"] = ["# Title\n", "\n", "Text."]
    twin = notebooks.copy(toy)
    assert twin["cells"][0]["source"] == "# Title\n\nText."
    twin["cells"][3]["outputs"].clear()
    twin["metadata"].clear()
    assert len(toy["cells"][3]["outputs"]) == 3 and toy["metadata"]
    toy["cells"][0]["source"] = "# Title\n\nText."


def test_cells_by_kind(toy):
    code = notebooks.code_cells(toy)
    assert len(code) == 6 and all(notebooks.source(cell).strip() for cell in code), "the empty one does not run"
    assert [notebooks.tags(cell) for cell in code[:2]] == [["parameters"], []]
    assert len(notebooks.markdown_texts(toy)) == 6 and notebooks.outputs(toy["cells"][0]) == []


def test_parts_come_in_order_with_headings_apart(toy):
    kinds = [(kind, text) for kind, text, _ in notebooks.parts(toy)]
    assert kinds[:3] == [("heading", "# Title"), ("text", "Text."), ("code", "a = 1")]
    assert kinds[3:6] == [("heading", "## First"), ("text", "A # is no heading here."), ("heading", "### Deeper")]


def test_exercises_have_their_parts_up_to_the_next_heading(toy):
    found = notebooks.exercise_parts(toy)
    assert list(found) == ["2.1", "2.2"]
    assert [kind for kind, _, _ in found["2.1"]] == ["heading", "text", "code", "text", "code"]
    assert [text for _, text, _ in found["2.1"]][2:] == ["answer = ...", "A hint.", "check.exercise_1(answer)"]
    assert found["2.2"][0][1] == "### Exercise 2.2" and found["2.2"][1][2] is toy["cells"][10]


def test_the_heading_of_an_exercise_says_all_of_it(toy):
    match = notebooks.EXERCISE.search(notebooks.source(toy["cells"][5]))
    assert match.groupdict() == {"number": "2.1", "title": "a loss", "difficulty": "2", "minutes": "10"}


def test_figures_are_numbered_through_and_named_by_their_heading(toy):
    found = notebooks.figures(toy)
    assert [(figure.number, figure.png) for figure in found] == [(1, "AA"), (2, "BB"), (3, "CC")]
    assert found[1].title() == "Figure 2: Deeper" and found[2].title() == "Figure 3: Exercise 2.2"
    assert found[0].cell is toy["cells"][3]
    assert notebooks.Figure(1, "", "", {}).title() == "Figure 1"


def test_widgets_are_found_in_cells_and_metadata(toy):
    assert notebooks.widget_views(toy["cells"][3]) == [{"model_id": "abc"}]
    assert notebooks.widget_state(toy) == {"state": {"abc": {}}}
    assert notebooks.widget_views(toy["cells"][0]) == [] and notebooks.widget_state({"metadata": {}}) == {}


def test_of_a_number_recorded_twice_the_later_counts_also_stored_as_text(toy):
    assert notebooks.recorded(toy) == ({"x": 3.0, "y": 2.0}, {"curve": [1.0, 2.0]})
    text = notebooks.copy(toy)
    text["cells"][-1]["outputs"] = [numbers(NUMBERS_MIME)]
    text["cells"][-1]["outputs"][0]["data"] = {NUMBERS_MIME: '{"numbers": {"x": 4.0}}'}
    assert notebooks.recorded(text) == ({"x": 4.0, "y": 2.0}, {})
