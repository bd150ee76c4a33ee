"""Which exercises pass: read from the saved outputs of a learner's own notebooks, without executing anything."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from course_utils.tools import ROOT

#: How a check prints its verdict; see ``course_utils.checks.exercise``.
VERDICT = re.compile(r"^([✓✗○]) Exercise (\d+\.\d+)(?: passed| not yet)?(?:: (.*))?$", re.MULTILINE)
STATUS = {"✓": "passed", "✗": "not yet", "○": "not attempted"}
MARKS = {status: mark for mark, status in STATUS.items()} | {"not run": "·", "error": "!", "no cell": "?"}
HEADING = re.compile(r"^#+ (?:Exercise (\d+\.\d+))?", re.MULTILINE)


@dataclass
class Exercise:
    """One exercise: its number, what became of it, and what the check (or Python) said."""

    number: str
    status: str = "not run"
    message: str = ""


@dataclass
class Chapter:
    """The exercises of one chapter in a learner's notebook; ``problem`` says why it could not be read."""

    name: str
    title: str
    exercises: list[Exercise]
    saved: str = ""
    problem: str = ""

    def passed(self) -> int:
        return sum(exercise.status == "passed" for exercise in self.exercises)


@dataclass
class Progress:
    """What a folder of notebooks shows."""

    folder: Path
    chapters: list[Chapter] = field(default_factory=list)

    def passed(self) -> int:
        return sum(chapter.passed() for chapter in self.chapters)

    def count(self) -> int:
        return sum(len(chapter.exercises) for chapter in self.chapters)


def progress(entries: list[dict], folder: Path, checks: Path = ROOT / "course_utils" / "checks") -> Progress:
    """Read the verdicts that are saved in the notebooks of a folder.

    Parameters
    ----------
    entries
        The chapters, from ``course.yml``.
    folder
        The learner's notebooks, named as the course names them.
    checks
        Folder with the checks: they say which exercises there are.
    """
    found = Progress(folder)
    for entry in entries:
        numbers = exercise_numbers(checks / f"chapter_{entry['name'].split('_')[0]}.py")
        chapter = Chapter(entry["name"], entry["title"], [Exercise(number) for number in numbers])
        found.chapters.append(chapter)
        path = folder / f"{entry['name']}.ipynb"
        try:
            cells = _cells(path)
        except ValueError as error:
            chapter.problem = str(error)
            continue
        chapter.saved = datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
        for exercise in chapter.exercises:
            _judge(exercise, cells.get(exercise.number, []))
    return found


def exercise_numbers(path: Path) -> list[str]:
    """Return the numbers, such as "2.1", of the exercises that a file of checks defines; the file is not imported."""
    if not path.exists():
        return []
    functions = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    calls = [d for function in functions for d in function.decorator_list if isinstance(d, ast.Call)]
    return [call.args[0].value for call in calls if getattr(call.func, "id", "") == "exercise"]


def _cells(path: Path) -> dict[str, list[dict]]:
    """Return the code cells below each exercise's heading that call its check.

    Raises
    ------
    ValueError
        If there is no such notebook or it cannot be read; the message says what to do.
    """
    try:
        cells = [dict(cell) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    except FileNotFoundError as error:
        raise ValueError(f"there is no {path.name} in {path.parent}") from error
    except OSError as error:
        raise ValueError(f"cannot be opened ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        mend = f"take the copy in {path.parent / '.ipynb_checkpoints'}, or the shipped one (git restore)"
        raise ValueError(f"is damaged and no notebook any more ({type(error).__name__}: {error}); {mend}") from error
    found, number = {}, ""
    for cell in cells:
        source = "".join(cell.get("source", ""))
        if cell.get("cell_type") == "markdown":
            headings = HEADING.findall(source)
            number = headings[-1] if headings else number
        elif cell.get("cell_type") == "code" and number and f"exercise_{number.split('.')[1]}(" in source:
            found.setdefault(number, []).append(cell)
    return found


def _judge(exercise: Exercise, cells: list[dict]) -> None:
    """Set the status from the saved outputs: the last verdict counts, an error after it more."""
    exercise.status = "not run" if cells else "no cell"
    for cell in cells:
        for output in cell.get("outputs", []):
            text = "".join(output.get("text", ""))
            for mark, number, message in VERDICT.findall(text):
                if number == exercise.number:
                    exercise.status, exercise.message = STATUS[mark], message
            if output.get("output_type") == "error":
                exercise.status, exercise.message = "error", f"{output.get('ename')}: {output.get('evalue')}"


def as_table(found: Progress) -> str:
    """Return a line for each chapter, the totals, what the checks said of wrong answers, and what comes next."""
    width = max([len(_title(chapter)) for chapter in found.chapters], default=0)
    lines = [f"exercises in the saved notebooks of {found.folder}", ""]
    for chapter in found.chapters:
        marks = " ".join(MARKS[exercise.status] for exercise in chapter.exercises)
        last = f"saved {chapter.saved}" if chapter.saved else chapter.problem
        lines.append(f"{_title(chapter):<{width}}  {marks:<12} {chapter.passed()} of {len(chapter.exercises)}   {last}")
    lines += [f"{'all chapters':<{width}}  {'':<12} {found.passed()} of {found.count()}", ""]
    lines += ["✓ passed   ✗ not yet   ○ not attempted   · no verdict saved   ! Python error   ? its cell is gone"]
    lines += ["Only what is saved is seen: save your notebooks, and run a cell again after you changed it."]
    every = [exercise for chapter in found.chapters if not chapter.problem for exercise in chapter.exercises]
    said = [exercise for exercise in every if exercise.status in ("not yet", "error")]
    lines += [f"\n{MARKS[exercise.status]} {exercise.number}: {exercise.message}" for exercise in said]
    waiting = next((exercise.number for exercise in every if exercise.status != "passed"), None)
    return "\n".join(
        [*lines, "", f"next: exercise {waiting}" if waiting else "all of them passed" * bool(every)]
    ).rstrip()


def _title(chapter: Chapter) -> str:
    return f"{chapter.name.split('_')[0]} {chapter.title}"


def as_json(found: Progress) -> str:
    """Return the same as one JSON object."""
    chapters = [vars(c) | {"exercises": [vars(e) for e in c.exercises], "passed": c.passed()} for c in found.chapters]
    whole = {"folder": str(found.folder), "chapters": chapters, "passed": found.passed(), "of": found.count()}
    return json.dumps(whole, indent=1, ensure_ascii=False)
