"""Which exercises pass: read from the saved outputs of a learner's own notebooks, without executing anything."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from course_utils.runtime import ROOT
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Chapter
from course_utils.tools.tables import as_text

#: How a check prints its verdict; see ``course_utils.checks.exercise``.
VERDICT = re.compile(r"^([✓✗○]) Exercise (\d+\.\d+)(?: passed| not yet)?(?:: (.*))?$", re.MULTILINE)
STATUS = {"✓": "passed", "✗": "not yet", "○": "not attempted"}
MARKS = {status: mark for mark, status in STATUS.items()} | {"not run": "·", "error": "!", "no cell": "?"}


@dataclass(frozen=True)
class Attempt:
    """One exercise: its number, what became of it, and what the check (or Python) said."""

    number: str
    status: str = "not run"
    message: str = ""


@dataclass(frozen=True)
class Saved:
    """A learner's notebook of one chapter; ``problem`` says why it could not be read."""

    name: str
    title: str
    exercises: tuple[Attempt, ...]
    saved: str = ""
    problem: str = ""

    def passed(self) -> int:
        """Return how many exercises pass."""
        return sum(attempt.status == "passed" for attempt in self.exercises)


def progress(chapters: Sequence[Chapter], folder: Path, checks: Path = ROOT / "course_utils" / "checks") -> list[Saved]:
    """Read the verdicts saved in a learner's notebooks; the folder of ``checks`` says which exercises there are."""
    return [_saved(chapter, folder, checks) for chapter in chapters]


def _saved(chapter: Chapter, folder: Path, checks: Path) -> Saved:
    numbers = exercise_numbers(checks / f"chapter_{chapter.number}.py")
    path = folder / chapter.path.name
    try:
        parts = notebooks.exercise_parts(notebooks.read(path))
    except (OSError, notebooks.NotebookError) as error:
        problem = f"{error}; take the copy in {folder / '.ipynb_checkpoints'}, or the shipped one (git restore)"
        if isinstance(error, OSError):
            problem = f"{path.name} cannot be opened ({error.strerror})"
        if isinstance(error, FileNotFoundError):
            problem = f"there is no {path.name} in {folder}"
        return Saved(chapter.name, chapter.title, tuple(map(Attempt, numbers)), problem=problem)
    cells = {number: [cell for kind, _, cell in found if kind == "code"] for number, found in parts.items()}
    attempts = tuple(_attempt(number, cells.get(number, ())) for number in numbers)
    when = datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
    return Saved(chapter.name, chapter.title, attempts, when)


def exercise_numbers(path: Path) -> list[str]:
    """Return the numbers, such as "2.1", of the exercises that a file of checks defines; the file is not imported."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return re.findall(r'^@exercise\("(\d+\.\d+)"', text, re.MULTILINE)


def _attempt(number: str, cells: Sequence[dict]) -> Attempt:
    """Judge by the cells that call the check: the last verdict counts, an error after it more."""
    cells = [cell for cell in cells if f"exercise_{number.split('.')[1]}(" in notebooks.source(cell)]
    attempt = Attempt(number, "not run" if cells else "no cell")
    for output in [output for cell in cells for output in notebooks.outputs(cell)]:
        for mark, of, message in VERDICT.findall("".join(output.get("text", ""))):
            if of == number:
                attempt = Attempt(number, STATUS[mark], message)
        if output.get("output_type") == "error":
            attempt = Attempt(number, "error", f"{output.get('ename')}: {output.get('evalue')}")
    return attempt


def in_words(chapters: Sequence[Saved], folder: Path) -> str:
    """Return a line for each chapter, the totals, what the checks said of wrong answers, and what comes next."""
    rows = [
        [
            f"{chapter.name.split('_')[0]} {chapter.title}",
            " ".join(MARKS[attempt.status] for attempt in chapter.exercises),
            f"{chapter.passed()} of {len(chapter.exercises)}",
            f" saved {chapter.saved}" if chapter.saved else f" {chapter.problem}",
        ]
        for chapter in chapters
    ]
    rows.append(["all chapters", "", "{passed} of {of}".format(**_totals(chapters)), ""])
    lines = [f"exercises in the saved notebooks of {folder}", "", as_text(rows, "<<<<"), ""]
    lines += ["✓ passed   ✗ not yet   ○ not attempted   · no verdict saved   ! Python error   ? its cell is gone"]
    lines += ["Only what is saved is seen: save your notebooks, and run a cell again after you changed it."]
    every = [attempt for chapter in chapters if not chapter.problem for attempt in chapter.exercises]
    said = [attempt for attempt in every if attempt.status in ("not yet", "error")]
    lines += [f"\n{MARKS[attempt.status]} {attempt.number}: {attempt.message}" for attempt in said]
    waiting = [attempt.number for attempt in every if attempt.status != "passed"]
    if every:
        lines += ["", f"next: exercise {waiting[0]}" if waiting else "all of them passed"]
    return "\n".join(lines)


def as_json(chapters: Sequence[Saved], folder: Path) -> str:
    """Return the same as one JSON object."""
    rows = [asdict(chapter) | {"passed": chapter.passed()} for chapter in chapters]
    return json.dumps({"folder": str(folder), "chapters": rows, **_totals(chapters)}, indent=1, ensure_ascii=False)


def _totals(chapters: Sequence[Saved]) -> dict[str, int]:
    of = sum(len(chapter.exercises) for chapter in chapters)
    return {"passed": sum(chapter.passed() for chapter in chapters), "of": of}
