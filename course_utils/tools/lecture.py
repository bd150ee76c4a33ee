"""Prepare a chapter for a live session: train once, keep what was trained, and say which cells answer in time.

``prepare`` executes the chapter in a kernel with ``lecture_cache``, and then once more as the instructor will, loading
what was kept. The second time is measured cell by cell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from course_utils.runtime import ROOT, cores, replacing
from course_utils.tools import folders
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Plan, Result
from course_utils.tools.pages import fill
from course_utils.tools.run import Timing, perform
from course_utils.tools.screen import Screen

#: Kinds of slide that an audience does not see; in a chapter with slides, a cell without a kind is skipped.
OFF_STAGE = ("skip", "notes")
#: As in ``lecture_cache``, which this process need not import, PyTorch with it.
VARIABLE, NOT_KEPT = "COURSE_CHECKPOINTS", "not_kept.txt"


@dataclass(frozen=True)
class Cell:
    """One code cell as it ran: its place, what it is about, its seconds, and whether it is shown in a lecture."""

    number: int
    heading: str
    first_line: str
    time: Timing
    shown: bool

    def __str__(self) -> str:
        used = "" if self.time.processor is None else f" ({self.time.processor:.1f} s of processor time)"
        return f"cell {self.number:>3} {self.time.wall:6.1f} s{used}  " + f"{self.heading} · {self.first_line}"[:80]


@dataclass(frozen=True)
class Rehearsal:
    """How a chapter ran with its trainings kept: the cells, what could not be kept and why, cores at work meanwhile."""

    cells: Sequence[Cell]
    refusals: Sequence[str]
    new_files: int
    busy: float

    def late(self, limit: float) -> list[Cell]:
        """Return the cells of the lecture that take longer than the limit in seconds."""
        return [cell for cell in self.cells if cell.shown and cell.time.wall > limit]


def prepare(plan: Plan, folder: Path, *, screen: Screen) -> tuple[Result, Rehearsal | None]:
    """Execute a chapter until nothing new is trained, at most twice; return how the last time went.

    There is no rehearsal if the chapter did not run to its end. A copy of the executed notebook is left in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refusals, new = folder / NOT_KEPT, 0
    for _ in range(2):
        before, idle = set(folder.glob("*.pt")), psutil.cpu_times().idle
        refusals.unlink(missing_ok=True)
        result, ended = perform(plan, screen=screen, environment=environment(folder))
        screen.line(f"{plan.name}: executed in {ended.seconds:.0f} s ({ended.ending})")
        if ended.ending != "ran":
            return result, None
        busy = (psutil.cpu_count() or cores()) - (psutil.cpu_times().idle - idle) / max(ended.seconds, 0.1)
        new = len(set(folder.glob("*.pt")) - before)
        if not new:
            break
    with replacing(folder / f"{plan.name}.ipynb") as file:
        file.write(ended.notebook)
    reasons = refusals.read_text(encoding="utf-8").splitlines() if refusals.exists() else []
    cells = read_cells(notebooks.parse(ended.notebook), ended.cells)
    return result, Rehearsal(cells, list(dict.fromkeys(reasons)), new, max(0.0, busy))


def prepare_and_tell(plan: Plan, folder: Path, *, within: float, screen: Screen, name: str) -> int:
    """Prepare a chapter, print what came out, and return 0 if every cell of the lecture answers ``within`` seconds."""
    with folders.taken(folder, "lecture", "--checkpoints"):
        result, rehearsal = prepare(plan, folder, screen=screen)
    if rehearsal is None:
        click.echo(f"not ready: {result.status} · {result.message}")
        return 1
    click.echo(f"data sets and trainings: ready ({size(folder)})")
    click.echo(describe(rehearsal, within))
    settings = " ".join(f"{key}={value}" for key, value in environment(folder).items())
    click.echo(f"open it with: course lecture {name} --open, or")
    click.echo(f"  {settings} {' '.join(lab_command(plan.chapter.path))}")
    return 1 if rehearsal.late(within) else 0


def read_cells(executed: dict, times: Sequence[Timing]) -> list[Cell]:
    """Return the code cells of an executed notebook with their times.

    Shown in a lecture is what stands on a slide, if the notebook has slides (the cells between run before the talk);
    else every cell from the first section on.
    """
    has_slides = any("slideshow" in cell["metadata"] for cell in executed["cells"])
    cells: list[Cell] = []
    section = ""  # the title of the chapter is none
    for cell in executed["cells"]:
        source = notebooks.source(cell).strip()
        if cell["cell_type"] == "markdown":
            found = [match[2] for match in notebooks.HEADING.finditer(source) if 2 <= len(match[1]) <= 3]
            section = [section, *found][-1]
        elif cell["cell_type"] == "code" and source:
            kind = cell["metadata"].get("slideshow", {}).get("slide_type", "skip")
            shown = kind not in OFF_STAGE if has_slides else bool(section)
            cells.append(Cell(len(cells) + 1, section, source.splitlines()[0], times[len(cells)], shown))
    return cells


def describe(rehearsal: Rehearsal, limit: float) -> str:
    """Say in words which cells are ready and which are not, with their seconds and headings."""
    shown, beside = ([cell for cell in rehearsal.cells if cell.shown is which] for which in (True, False))
    facts = {"shown": shown, "beside": beside, "longest": max((cell.time.wall for cell in shown), default=0.0)}
    late = rehearsal.late(limit)
    return fill("rehearsal.txt", rehearsal=rehearsal, limit=limit, late=late, cores=cores(), **facts).rstrip("\n")


def environment(folder: Path) -> dict[str, str]:
    """Return what makes a kernel keep and load results: the folder, a first file to run, words hashed alike."""
    start = str(Path(__file__).with_name("lecture_start.py"))
    own = os.environ.get("PYTHONSTARTUP", "")
    found = {VARIABLE: str(folder.resolve()), "PYTHONSTARTUP": start, "PYTHONHASHSEED": "0"}
    return found | ({"COURSE_STARTUP": own} if own not in ("", start) else {})


def lab_command(notebook: Path) -> list[str]:
    """Return the command that opens a chapter in JupyterLab."""
    return [sys.executable, "-m", "jupyterlab", str(notebook)]


def open_lab(notebook: Path, folder: Path) -> int:
    """Open a chapter in JupyterLab, with what is kept, and wait until it is closed; return its exit code."""
    kept = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"} | environment(folder)
    return subprocess.run(lab_command(notebook), env=kept, cwd=ROOT, check=False).returncode


def size(folder: Path) -> str:
    """Say how much the kept trainings take on the disk."""
    files = list(folder.glob("*.pt"))
    megabytes, free = sum(file.stat().st_size for file in files) / 1e6, shutil.disk_usage(folder).free / 1e9
    return f"{len(files)} trainings and results, {megabytes:.0f} MB in {folder}; {free:.0f} GB free"
