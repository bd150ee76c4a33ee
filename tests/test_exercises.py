"""What a learner has solved is read from saved outputs, whatever state the notebooks are in."""

import hashlib
import json
from pathlib import Path

import pytest
from helpers.toys import course
from notebook_files import NOTEBOOKS

from course_utils.runtime import ROOT
from course_utils.tools import exercises
from course_utils.tools.chapter import Chapter, read_chapters

CHECKS = """
@exercise("2.1")
def exercise_1(answer): ...


@exercise("2.2")
def exercise_2(answer): ...
"""
ENTRY = Chapter("02_autoencoder", "The autoencoder", Path("02_autoencoder.ipynb"))


def code(source: str, *texts: str, error: str = "") -> dict:
    outputs = [{"output_type": "stream", "name": "stdout", "text": text.splitlines(True)} for text in texts]
    outputs += [{"output_type": "error", "ename": "NameError", "evalue": error, "traceback": []}] if error else []
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": outputs, "execution_count": None}


def markdown(text: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(True)}


@pytest.fixture
def read(tmp_path):
    """Write a notebook of these cells; return the exercises that ``progress`` finds, by number."""
    (tmp_path / "chapter_02.py").write_text(CHECKS)

    def read_cells(*cells):
        (tmp_path / "02_autoencoder.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
        (chapter,) = exercises.progress([ENTRY], tmp_path, tmp_path)
        assert not chapter.problem and chapter.saved
        return {e.number: (e.status, e.message) for e in chapter.exercises}

    return read_cells


HEAD = markdown("## Exercises\n\n### Exercise 2.1 — a loss · difficulty 1/5\nWrite it.")


@pytest.mark.parametrize(
    ("texts", "status", "message"),
    [
        (["✓ Exercise 2.1 passed\n"], "passed", ""),
        (["✓ Exercise 2.1 passed: and it is fast\n"], "passed", "and it is fast"),
        (["✗ Exercise 2.1 not yet: a mean: over pixels\n"], "not yet", "a mean: over pixels"),
        (
            ["○ Exercise 2.1: not attempted yet: replace the ...\n"],
            "not attempted",
            "not attempted yet: replace the ...",
        ),
        ([], "not run", ""),
        (["printed by the learner\n"], "not run", ""),
        (["✗ Exercise 2.1 not yet: no\n✓ Exercise 2.1 passed\n"], "passed", ""),
        (["✗ Exercise 2.1 not yet: no\n", "mine\n", "✓ Exercise 2.1 passed\n"], "passed", ""),
        (["✓ Exercise 2.1 passed\n✗ Exercise 2.1 not yet: again wrong\n"], "not yet", "again wrong"),
        (["✓ Exercise 2.2 passed\n"], "not run", ""),
        (["I think ✓ Exercise 2.1 passed\n"], "not run", ""),
    ],
)
def test_the_last_verdict_counts(read, texts, status, message):
    assert read(HEAD, code("check.exercise_1(answer)", *texts))["2.1"] == (status, message)


def test_an_error_after_a_verdict_counts_more(read):
    cell = code("check.exercise_1(answer)", "✓ Exercise 2.1 passed\n", error="name 'x' is not defined")
    assert read(HEAD, cell)["2.1"] == ("error", "NameError: name 'x' is not defined")


def test_a_cell_that_is_gone_is_told_from_one_that_was_not_run(read):
    assert read(HEAD, code("check.exercise_1(answer)")) == {"2.1": ("not run", ""), "2.2": ("no cell", "")}


def test_a_demonstration_elsewhere_does_not_count(read):
    """Chapter 00 shows a check three answers, and learners try things out under other headings."""
    shown = code("check.exercise_1(784)", "✓ Exercise 2.1 passed\n")
    found = read(
        markdown("## How checks work"), shown, HEAD, code("check.exercise_1(...)"), markdown("## Notes"), shown
    )
    assert found["2.1"] == ("not run", "")


def test_a_cell_added_below_the_exercise_counts(read):
    first = code("check.exercise_1(1)", "✗ Exercise 2.1 not yet: no\n")
    second = code("check.exercise_1(2)", "✓ Exercise 2.1 passed\n")
    assert read(HEAD, first, markdown("I try once more"), second)["2.1"][0] == "passed"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no 02_autoencoder.ipynb"),
        (b"", "damaged"),
        (b'{"cells": [', "damaged"),
        (b"[]", "damaged"),
        (b'{"cells": 3}', "damaged"),
        (b'{"cells": ["text"]}', "damaged"),
        (b"\xff\xfe", "damaged"),
    ],
)
def test_what_cannot_be_read_says_so_and_how_to_mend_it(tmp_path, content, words):
    (tmp_path / "chapter_02.py").write_text(CHECKS)
    if content is not None:
        (tmp_path / "02_autoencoder.ipynb").write_bytes(content)
    found = exercises.progress([ENTRY], tmp_path, tmp_path)
    assert words in found[0].problem
    if content is not None:
        assert ".ipynb_checkpoints" in found[0].problem
    assert words in exercises.in_words(found, tmp_path)
    whole = json.loads(exercises.as_json(found, tmp_path))
    assert (whole["of"], whole["passed"], whole["chapters"][0]["problem"]) == (2, 0, found[0].problem)


def test_every_exercise_of_the_course_is_known_and_shipped_untouched():
    for chapter in exercises.progress(read_chapters(NOTEBOOKS), NOTEBOOKS):
        assert len(chapter.exercises) >= 4 and chapter.passed() == 0
        assert {exercise.status for exercise in chapter.exercises} == {"not attempted"}, chapter.name


def test_the_solutions_pass_all():
    found = exercises.progress(read_chapters(NOTEBOOKS), NOTEBOOKS / "solutions")
    assert all(chapter.passed() == len(chapter.exercises) for chapter in found)
    assert sum(chapter.passed() for chapter in found) > 30


def test_the_command_prints_a_table_and_leaves_the_notebooks_alone():
    files = sorted((ROOT / "notebooks").rglob("*.ipynb"))
    before = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    result = course("progress")
    assert result.exit_code == 0 and "next: exercise 0.1" in result.output
    assert "00 Start here" in result.output and "○ ○ ○ ○" in result.output
    assert before == [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def test_the_command_takes_chapters_a_folder_and_json():
    result = course("progress", "5", "--notebooks", NOTEBOOKS / "solutions", "--json")
    found = json.loads(result.output)
    assert [chapter["name"] for chapter in found["chapters"]] == ["05_variational_autoencoder"]
    assert found["passed"] == found["of"] == len(found["chapters"][0]["exercises"])
    assert found["chapters"][0]["exercises"][0]["status"] == "passed"


def test_the_table_repeats_what_the_check_said(read, tmp_path):
    read(HEAD, code("check.exercise_1(answer)", "✗ Exercise 2.1 not yet: a mean over pixels\n"))
    table = exercises.in_words(exercises.progress([ENTRY], tmp_path, tmp_path), tmp_path)
    assert "✗ 2.1: a mean over pixels" in table and "0 of 2" in table and "next: exercise 2.1" in table


def test_a_folder_that_is_not_there_is_refused():
    result = course("progress", "--notebooks", "/nowhere")
    assert result.exit_code == 2 and "/nowhere" in result.output
