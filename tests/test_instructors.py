"""INSTRUCTORS.md keeps its promises: plans add up, and what it names is in notebooks, checks and results."""

import ast
import json
import re

import pytest
from notebook_files import CHAPTERS, NAMES, NOTEBOOKS, code_cells, markdown, read

from course_utils.results import read_course
from course_utils.runtime import ROOT
from course_utils.tools.exercises import exercise_numbers

TEXT = (ROOT / "INSTRUCTORS.md").read_text(encoding="utf-8")
PARTS = ("Aims", "Timing", "Live demos", "Exercises", "Exam")
PATHS = {path.stem.split("_")[0]: path for path in CHAPTERS}
TITLES = {entry["name"].split("_")[0]: entry["title"] for entry in read_course()}


def part(text: str, heading: str, level: int) -> str:
    """What stands under a heading, up to the next of the same or a higher level."""
    found = re.search(rf"^{'#' * level} {re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.S | re.M)
    assert found, f"INSTRUCTORS.md has no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The body rows of the tables in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= {"-", ":"}][1:]


def stated(text: str) -> float:
    found = re.search(r"([\d.]+) minutes\.", text)
    assert found, "a plan or a timing states its minutes"
    return float(found[1])


def chapter(number: str) -> str:
    return part(TEXT, f"{number} {TITLES[number]}", 2)


def sections(number: str) -> set[str]:
    """Numbers of the sections that a notebook has."""
    return set(re.findall(r"^## (\d+)\b", markdown(PATHS[number]), re.M))


def words_of(number: str) -> str:
    """All that a chapter says, prints or has stored, for looking a number up."""
    outputs = []
    for cell in read(PATHS[number]).cells:
        for output in cell.get("outputs", []):
            outputs += [output.get("text", ""), str(output.get("data", {}).get("text/plain", ""))]
    return "\n".join([cell.source for cell in read(PATHS[number]).cells] + outputs).replace("−", "-")


PLANS = {
    "Half a day": [part(TEXT, "Half a day", 3)],
    "Two days": part(TEXT, "Two days", 3).split("Day two:"),
    "Six weeks": [part(TEXT, "Six weeks", 3)],
}


@pytest.mark.parametrize("name", PLANS)
def test_the_minutes_of_a_plan_add_up_and_it_names_what_exists(name):
    planned = {entry["name"].split("_")[0] for entry in read_course(part="planned")}
    for text in PLANS[name]:
        table = rows(text)
        assert sum(int(row[0]) for row in table) == stated(text), name
        for _, number, named, words in table:
            assert number in TITLES or number in planned, f"{name}: there is no chapter {number}"
            if number in TITLES:
                unknown = set(named.split(", ")) - sections(number)
                assert not unknown, f"{name}: chapter {number} has no section {unknown}"
                for exercise in re.findall(r"\b(\d\.\d+)\b", words):
                    assert exercise in exercises_of(number), f"{name}: chapter {number} has no exercise {exercise}"


def exercises_of(number: str) -> list[str]:
    return exercise_numbers(ROOT / "course_utils" / "checks" / f"chapter_{number}.py")


def test_the_plans_fit_their_names():
    assert stated(PLANS["Half a day"][0]) <= 240
    assert len(PLANS["Two days"]) == 2 and all(300 <= stated(day) <= 420 for day in PLANS["Two days"])
    weeks = re.findall(r"week (\d), (?:lecture|exercises)", PLANS["Six weeks"][0])
    assert sorted(set(weeks)) == list("123456")
    for week in "123456":
        for kind in ("lecture", "exercises"):
            minutes = [int(row[0]) for row in rows(PLANS["Six weeks"][0]) if f"week {week}, {kind}" in row[3]]
            assert sum(minutes) == 90, f"week {week}, {kind}"


@pytest.mark.parametrize("number", sorted(TITLES))
def test_every_chapter_has_its_parts_and_its_slides_fit_an_hour(number):
    text = chapter(number)
    assert re.findall(r"^### (.+)$", text, re.M) == list(PARTS)
    timing = part(text, "Timing", 3)
    assert sum(float(row[0]) for row in rows(timing)) == stated(timing)
    assert 25 <= stated(timing) <= 60
    assert {row[1] for row in rows(timing)} - {"–"} <= sections(number)
    assert len(re.findall(r"^- ", part(text, "Aims", 3), re.M)) >= 3


@pytest.mark.parametrize("number", sorted(TITLES))
def test_timing_is_that_of_the_slides(number):
    """Every slide has its minutes in the cell's metadata; a chapter without slides has only the table."""
    minutes, section = {}, "–"
    for cell in read(PATHS[number]).cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else []:
            found = re.match(r"## (\d+)\b", line)
            section = found[1] if found else "–" if line.startswith(("## ", "### Exercise")) else section
        minutes[section] = minutes.get(section, 0) + cell.metadata.get("lecture", {}).get("minutes", 0)
    if not sum(minutes.values()):
        pytest.skip(f"chapter {number} has no slides yet")
    table: dict[str, float] = {}
    for row in rows(part(chapter(number), "Timing", 3)):
        table[row[1]] = table.get(row[1], 0) + float(row[0])
    assert table == {section: value for section, value in minutes.items() if value}


@pytest.mark.parametrize("number", sorted(TITLES))
def test_demos_name_cells_of_their_section_and_say_how_long(number):
    demos = rows(part(chapter(number), "Live demos", 3))
    assert 2 <= len(demos) <= 6
    for section, cell, change, happens, seconds in demos:
        words = re.fullmatch(r"`(.+)`", cell)
        assert words, f"{cell} is not code"
        here, found = "0", set()
        for candidate in read(PATHS[number]).cells:
            heading = re.findall(r"^## (\d+)\b", candidate.source, re.M) if candidate.cell_type == "markdown" else []
            here = heading[-1] if heading else here
            if candidate.cell_type == "code" and words[1] in candidate.source:
                found.add(here)
        is_setup = words[1] in code_cells(PATHS[number])[0].source  # the parameters stand before the first section
        assert section in found or is_setup, f"chapter {number}, section {section}: no cell with {words[1]!r}, {found}"
        assert change and happens and (seconds == "–" or float(seconds) <= 5)


def phrases(number: str) -> str:
    """All sentences that the checks of a chapter can say, one a line."""
    texts = []
    for name in ("__init__", f"chapter_{number}"):  # what all chapters say, and this one's own words
        tree = ast.parse((ROOT / "course_utils" / "checks" / f"{name}.py").read_text(encoding="utf-8"))
        texts += [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return "\n".join(texts)


@pytest.mark.parametrize("number", sorted(TITLES))
def test_every_exercise_has_an_answer_and_what_the_check_says_of_wrong_ones(number):
    table = rows(part(chapter(number), "Exercises", 3))
    assert [row[0] for row in table] == exercises_of(number)
    said = phrases(number)
    for exercise, answer, wrong in table:
        quotes = re.findall(r"“(.+?)”", wrong)
        assert answer and len(quotes) >= 2, exercise
        for quote in quotes:
            assert quote in said, f"exercise {exercise}: no check says {quote!r}"


@pytest.mark.parametrize("number", sorted(TITLES))
def test_exam_questions_have_answers(number):
    exam = part(chapter(number), "Exam", 3)
    questions = re.split(r"^\d+\. ", exam, flags=re.M)[1:]
    assert 4 <= len(questions) <= 6
    for question in questions:
        asked, _, answer = question.partition("**Answer.**")
        assert asked.startswith("*") and "?" in asked + "?" and len(answer.split()) >= 3, question


@pytest.mark.parametrize("number", sorted(TITLES))
def test_decimal_numbers_stand_in_the_notebook_or_the_stored_results(number):
    """A number with decimals in the demos or the exam was printed by the chapter, or is a stored one, rounded."""
    text = "\n".join(part(chapter(number), name, 3) for name in ("Live demos", "Exam"))
    text = re.sub(r"\|[^|\n]*\|$", "|", text, flags=re.M)  # seconds are measured by `course lecture`, not in a notebook
    text = re.sub(r"\((\d\.\d+)\)", "", text).replace("−", "-")  # equations
    for path in PATHS:
        text = re.sub(rf"\b(exercises?|chapter) {path[1]}\.\d+", "", text)
    stored = NOTEBOOKS / "full_results" / f"{number}.json"
    values = list(json.loads(stored.read_text())["numbers"].values()) if stored.exists() else []
    known = words_of(number)
    for token in set(re.findall(r"(?<![\w.])-?\d+\.\d+(?![\w.])", text)):
        digits = len(token.split(".")[1])
        rounded = any(f"{value:.{digits}f}" == token or f"{abs(value):.{digits}f}" == token for value in values)
        assert rounded or token in known or token.lstrip("-") in known, (
            f"chapter {number}: where does {token} come from?"
        )


def test_every_chapter_of_the_course_is_there_and_no_other():
    numbers, here = re.findall(r"^## (\d\d) ", TEXT, re.M), [name.split("_")[0] for name in NAMES]
    planned = [entry["name"].split("_")[0] for entry in read_course(part="planned")]
    assert numbers[: len(here)] == here
    assert set(numbers[len(here) :]) <= set(planned)


def test_the_commands_it_names_exist():
    from course_utils.tools.cli import main

    for command in set(re.findall(r"`?course (\w+)", TEXT)) - {"course"}:
        if re.search(rf"(`|^)course {command}", TEXT, re.M):
            assert command in main.commands, command
