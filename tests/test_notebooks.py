"""Hygiene of the notebooks: complete, executed, small, readable, and in agreement with course.yml."""

import ast
import json
import re

import nbformat
import numpy as np
import pytest
import yaml
from notebook_files import CHAPTERS, NAMES, NOTEBOOKS, SOLUTIONS, code_cells, markdown, read, shown, tags

from course_utils.results import COURSE_FILE, FULL_RESULTS, in_band, read_course
from course_utils.tools.notebook import recorded

ALL = [*CHAPTERS, *SOLUTIONS]
COURSE = {chapter["name"]: chapter for chapter in read_course()}
every_notebook = pytest.mark.parametrize("path", ALL, ids=shown)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=shown)


def text_of(output) -> str:
    data = output.get("data", {})
    return "".join(output.get("text", "")) + "".join(data.get("text/plain", "")) + "".join(output.get("traceback", []))


def parameters(path) -> dict:
    """Name → value of the literals in the parameters cell."""
    (cell,) = [cell for cell in code_cells(path) if "parameters" in tags(cell)]
    values = {}
    for node in ast.parse(cell.source).body:
        assert isinstance(node, ast.Assign), "the parameters cell holds plain assignments only"
        values[node.targets[0].id] = ast.literal_eval(node.value)
    return values


@every_notebook
def test_no_cell_shows_a_figure_twice(path):
    """As one does that draws outside of ``plots`` and ends with the figure itself."""
    for cell in code_cells(path):
        pngs = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(set(pngs)) == len(pngs), cell.id


@every_notebook
def test_every_figure_of_plots_is_shown(path):
    """``plots`` closes its figures, so one that is not the value of its cell is never seen."""
    for cell in code_cells(path):
        body = ast.parse(cell.source).body
        for node in (each for statement in body for each in ast.walk(statement)):
            if isinstance(node, ast.Expr) and node is not body[-1] and isinstance(node.value, ast.Call):
                called, given = ast.unparse(node.value.func), {word.arg for word in node.value.keywords}
                assert not called.startswith("plots.show_") or "axis" in given, f"not shown: {ast.unparse(node)}"
                assert not called.startswith("plots.plot_") or "axis" in given, f"not shown: {ast.unparse(node)}"


def test_folder_and_course_file_agree():
    assert sorted(p.stem for p in NOTEBOOKS.glob("*.ipynb")) == sorted(NAMES)
    assert [p.stem for p in SOLUTIONS] == sorted(NAMES), "every chapter has exercises, so every chapter has solutions"
    assert sorted(NAMES) == NAMES


@every_notebook
def test_valid_with_cell_ids_and_the_plain_kernel(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    identifiers = [cell.id for cell in notebook.cells]
    assert len(set(identifiers)) == len(identifiers)


@every_notebook
def test_executed_in_order_without_errors(path):
    cells = [cell for cell in code_cells(path) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert all(output.output_type != "error" for output in cell.outputs), cell.source[:80]
        if "nbval-check-output" in tags(cell):
            assert any(text_of(output).strip() for output in cell.outputs), f"nothing to compare: {cell.source[:80]}"


@every_notebook
def test_checked_cells_compare_text_only(path):
    for cell in code_cells(path):
        if "nbval-check-output" in tags(cell):
            kinds = {kind for output in cell.outputs for kind in output.get("data", {"text/plain": ""})}
            assert kinds <= {"text/plain"}, f"{kinds} in a compared cell: {cell.source[:80]}"


@every_notebook
def test_nothing_of_the_machine_is_stored(path):
    notebook = read(path)
    assert "widgets" not in notebook.metadata and "papermill" not in notebook.metadata
    assert not any("papermill" in cell.metadata or "execution" in cell.metadata for cell in notebook.cells)
    absolute = re.compile(r"(?<![\w.:/<])/(home|root|tmp|work|Users|usr|opt|mnt|var)/|[A-Z]:\\\\")
    for cell in notebook.cells:
        words = cell.source + "".join(text_of(output) for output in cell.get("outputs", []))
        assert not absolute.search(words), absolute.search(words)
        for output in cell.get("outputs", []):
            assert not any("widget" in kind for kind in output.get("data", {}))


@every_notebook
def test_small(path):
    assert path.stat().st_size <= 2_200_000


@every_notebook
def test_lines_fit_on_a_page(path):
    for cell in code_cells(path):
        assert "fmt: skip" not in cell.source
        assert not [line for line in cell.source.splitlines() if len(line) > 100]


@every_notebook
def test_one_statement_a_line(path):
    for cell in code_cells(path):
        assert packed_statements(cell.source) == []


def packed_statements(source: str) -> list[str]:
    """The statements that share a line with the one before them, or are tuples of calls whose value nobody uses."""
    packed, last = [], 0
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    for node in sorted(statements, key=lambda node: (node.lineno, node.col_offset)):
        shares = node.lineno == last and not is_stub(node)
        if shares or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Tuple)):
            packed.append(ast.unparse(node))
        last = node.lineno
    return packed


def is_stub(node) -> bool:
    """Whether a statement is the ``...`` that a learner replaces."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


@pytest.mark.parametrize(
    "source, packed",
    [
        ("a.set(x=1), a.legend()", ["(a.set(x=1), a.legend())"]),
        ("if x:\n    (\n        f(),\n        g(),\n    )", ["(f(), g())"]),
        ("x = 1; y = 2", ["y = 2"]),
        ("for x in y: f(x)", ["f(x)"]),
        ("def answer(x): ...", []),
        ("x, y = f(), g()\nx, y", ["(x, y)"]),
        ("x = (\n    1,\n    2,\n)\nf(x)", []),
    ],
)
def test_packed_statements_are_found(source, packed):
    assert packed_statements(source) == packed


#: Models, losses and the two halves of an autoencoder: a chapter writes out what it teaches, also if another one did.
TAUGHT_AGAIN = {
    "Autoencoder",
    "autoencoder",
    "VAE",
    "mlp",
    "encode",
    "decode",
    "reconstruction",
    "negative_elbo",
    "classify",
}


def test_no_helper_is_defined_in_two_chapters():
    chapters: dict[str, set[str]] = {}
    for path in CHAPTERS:
        for node in [node for cell in code_cells(path) for node in ast.parse(cell.source).body]:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not is_stub(node.body[0]):
                chapters.setdefault(node.name, set()).add(path.stem[:2])
    twice = {name for name, numbers in chapters.items() if len(numbers) > 1}
    assert twice - TAUGHT_AGAIN == set(), "a helper of several chapters belongs into the package"
    assert TAUGHT_AGAIN - twice == set(), "defined once: strike it from the list"


@every_chapter
def test_skeleton(path):
    text = markdown(path)
    first = read(path).cells[0].source
    assert re.match(rf"# {path.stem[:2]} ", first), "the first cell has the title"
    assert "question" in first.lower() and "minute" in first.lower()
    assert "**Before you run" in text, "a prediction prompt"
    assert "<details>" in text and text.count("<details") == text.count("</details>")
    for heading in ("Summary", "Formula sheet", "Slips", "Glossary", "Further reading"):
        assert re.search(rf"^#+ .*{heading}", text, re.M | re.I), f"no heading {heading!r}"
    assert re.search(r"[가-힣]", text), "the glossary has Korean terms"
    exercises = re.findall(rf"^### Exercise {int(path.stem[:2])}\.(\d) .*difficulty \d/5 .*\d+ minutes?", text, re.M)
    assert 4 <= len(exercises) <= 6 and exercises == [str(k + 1) for k in range(len(exercises))]
    source = "\n".join(cell.source for cell in code_cells(path))
    assert "widgets.slider(" in source
    for number in exercises:
        assert f"check.exercise_{number}(" in source


@every_chapter
def test_solutions_solve_every_exercise(path):
    solutions = NOTEBOOKS / "solutions" / path.name
    exercises = set(re.findall(r"check\.(exercise_\d)\(", "\n".join(c.source for c in code_cells(path))))
    solved = set()
    for cell in code_cells(solutions):
        found = re.findall(r"check\.(exercise_\d)\(", cell.source)
        if found:
            printed = "".join(text_of(output) for output in cell.outputs)
            assert "✓" in printed and "✗" not in printed and "○" not in printed, cell.source[:80]
            assert "nbval-check-output" in tags(cell)
            solved |= set(found)
    assert solved == exercises


@every_chapter
def test_parameters_agree_with_the_course_file(path):
    values = parameters(path)
    assert values["profile"] == "quick"
    full = COURSE[path.stem]["profiles"]["full"]["parameters"]
    assert set(full) <= set(values), f"course.yml sets {set(full) - set(values)}, which the chapter does not have"
    for name, value in full.items():
        assert isinstance(value, type(values[name])) or isinstance(values[name], type(value)), name
    assert all(re.search(r"#", line) for line in parameters_lines(path)), "each parameter has a comment"


def parameters_lines(path) -> list[str]:
    (cell,) = [cell for cell in code_cells(path) if "parameters" in tags(cell)]
    return [line for line in cell.source.splitlines() if re.match(r"\w+ = ", line)]


@every_chapter
def test_stored_numbers_are_those_announced_and_lie_in_their_bands(path):
    numbers, _ = recorded(read(path))
    announced = COURSE[path.stem]["numbers"]
    assert numbers, "the chapter records no number"
    assert set(numbers) == {name for name, entry in announced.items() if {"quick", "above"} & set(entry)}
    for name in {name for name, entry in announced.items() if "quick" in entry}:
        (low, high), value = announced[name]["quick"], numbers[name]
        assert low < high and in_band(value, (low, high)), f"{name} = {value} outside {low} … {high}"


def test_course_file_is_complete():
    course = yaml.safe_load(COURSE_FILE.read_text())
    names = []
    for chapter in [*course["chapters"], *course["planned"]]:
        assert set(chapter["needs"]) <= set(names), f"{chapter['name']} needs a chapter that comes later"
        names.append(chapter["name"])
    for chapter in course["chapters"]:
        assert chapter["read_minutes"] > 0 and {"quick", "full"} <= set(chapter["profiles"])
        assert all(entry["label"] for entry in chapter["numbers"].values())


@pytest.mark.parametrize("path", sorted(FULL_RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_stored_full_results_are_of_the_present_parameters(path):
    stored = json.loads(path.read_text())
    (chapter,) = [entry for name, entry in COURSE.items() if name.startswith(path.stem)]
    assert stored["profile"] == "full"
    assert stored["parameters"] == chapter["profiles"]["full"]["parameters"], "run `course run --profile full` again"
    announced = {name: entry["full"] for name, entry in chapter["numbers"].items() if "full" in entry}
    assert set(stored["numbers"]) == set(announced)
    for name, value in stored["numbers"].items():
        assert in_band(value, tuple(announced[name])), f"{name} = {value} outside {announced[name]}"
    if board := chapter.get("scoreboard"):
        shape = (len(board["models"]), len(board["metrics"]))
        assert np.shape(stored["series"]["scoreboard"])[:2] == shape, "models × metrics × seeds"
    assert stored["versions"]["torch"] and stored["machine"]["processor"] and stored["minutes"] > 0
    assert path.stat().st_size < 200_000
