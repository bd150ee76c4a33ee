"""Prepare a chapter for a live session: train once, keep what was trained, and say which cells answer in time.

``prepare`` executes the chapter with ``COURSE_CHECKPOINTS`` set, so that ``fit`` keeps every finished training, and
then once more as the instructor will, loading them. The second time is measured cell by cell.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from course_utils.tools import ROOT, cores
from course_utils.tools.execute import Outcome
from course_utils.tools.worker import Worker

#: Kinds of slide that an audience does not see; in a chapter with slides, a cell without a kind is skipped.
OFF_STAGE = ("skip", "notes")


@dataclass
class Cell:
    """One code cell as it ran: its place, what it is about, and whether it is shown in a lecture.

    ``seconds`` passed until it answered; ``cpu`` of them are processor time (of all its threads), if that is known.
    """

    number: int
    heading: str
    first_line: str
    seconds: float
    shown: bool
    cpu: float | None = None


@dataclass
class Rehearsal:
    """How a chapter ran with its trainings kept: the cells, what could not be kept and why, other work meanwhile."""

    cells: list[Cell]
    refusals: list[str]
    new_files: int
    busy: float

    def late(self, limit: float) -> list[Cell]:
        """Return the cells of the lecture that take longer than the limit in seconds."""
        return [cell for cell in self.cells if cell.shown and cell.seconds > limit]


def prepare(outcome: Outcome, notebook: Path, folder: Path, *, screen) -> Rehearsal | None:
    """Execute a chapter until nothing new is trained, at most twice; return how the last time went.

    Parameters
    ----------
    outcome
        From ``execute.plan``; its status and message are filled in.
    notebook
        The chapter.
    folder
        Where trainings are kept; made if it is not there. A copy of the executed notebook is left in it.
    screen
        Shows progress, as for ``execute.run``.

    Returns
    -------
    Rehearsal or None
        None if the chapter did not run to its end; the outcome says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refusals = folder / "not_kept.txt"
    for _ in range(2):
        before, idle = set(folder.glob("*.pt")), _idle_seconds()
        refusals.unlink(missing_ok=True)
        worker = _execute(outcome, notebook, folder, screen)
        if outcome.status != "ok":
            return None
        new = len(set(folder.glob("*.pt")) - before)
        busy = _busy_cores(idle, worker.seconds())
        if not new:
            break
    executed = json.loads((folder / notebook.name).read_text(encoding="utf-8"))
    reasons = sorted(set(refusals.read_text(encoding="utf-8").splitlines())) if refusals.exists() else []
    return Rehearsal(read_cells(executed, worker.cpu), reasons, new, busy)


def _execute(outcome: Outcome, notebook: Path, folder: Path, screen) -> Worker:
    """Execute the chapter in a process of its own, as ``course run`` does, with the folder named."""
    from course_utils.kept import VARIABLE

    worker = Worker(outcome, notebook.resolve(), folder / notebook.name, environment={VARIABLE: str(folder.resolve())})
    worker.watch(screen)
    screen.line(f"{outcome.name}: executed in {worker.seconds():.0f} s ({outcome.status})")
    return worker


def _idle_seconds() -> float:
    import psutil

    return psutil.cpu_times().idle


def _busy_cores(idle_before: float, seconds: float) -> float:
    """Return how many cores were at work on average, this chapter's own included."""
    import psutil

    return max(0.0, (psutil.cpu_count() or cores()) - (_idle_seconds() - idle_before) / max(seconds, 0.1))


def read_cells(executed: dict, cpu: list[float] | None = None) -> list[Cell]:
    """Return the code cells of a notebook that papermill executed; ``cpu`` as of ``Worker``.

    Shown in a lecture is what stands on a slide, if the notebook has slides (the cells between run before the talk);
    else every cell from the first section on.
    """
    has_slides = any("slideshow" in cell["metadata"] for cell in executed["cells"])
    cells, heading, number, in_section = [], "", 0, False
    for cell in executed["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            headings = [line.lstrip("# ").strip() for line in source.splitlines() if line.startswith(("## ", "### "))]
            heading, in_section = (headings or [heading])[-1], in_section or bool(headings)
        elif cell["cell_type"] == "code" and source:
            number += 1
            kind = cell["metadata"].get("slideshow", {}).get("slide_type", "skip")
            shown = kind not in OFF_STAGE if has_slides else in_section
            seconds = float(cell["metadata"].get("papermill", {}).get("duration") or 0.0)
            used = cpu[number] - cpu[number - 1] if cpu and number < len(cpu) else None  # the last one's is not known
            cells.append(Cell(number, heading, source.splitlines()[0], seconds, shown, used))
    return cells


def describe(rehearsal: Rehearsal, limit: float) -> str:
    """Say in words which cells are ready and which are not, with their seconds and headings."""
    shown, late = [cell for cell in rehearsal.cells if cell.shown], rehearsal.late(limit)
    longest = max((cell.seconds for cell in shown), default=0.0)
    ready = f"{len(shown) - len(late)} of {len(shown)} demo cells answer within {limit:g} s"
    lines = [f"ready: {ready} (longest {longest:.1f} s)"]
    lines += [f"not ready: {_about(cell)}" for cell in late]
    beside = [cell for cell in rehearsal.cells if not cell.shown]
    waits = [cell for cell in beside if cell.seconds > limit]
    lines += [f"run before the talk: {_about(cell)}" for cell in waits]
    total = sum(cell.seconds for cell in rehearsal.cells)
    lines += [f"the whole chapter takes {total:.0f} s, {sum(c.seconds for c in beside):.0f} s of it in cells not shown"]
    lines += [f"not kept: {reason}" for reason in rehearsal.refusals]
    if rehearsal.busy > cores() + 0.5 or (late and rehearsal.busy > 0.9 * cores()):
        busy = f"{rehearsal.busy:.1f} of {cores()} cores were at work"
        lines += [f"measured while {busy}; on an idle machine it is faster"]
    return "\n".join(lines)


def _about(cell: Cell) -> str:
    used = "" if cell.cpu is None else f" ({cell.cpu:.1f} s of processor time)"
    return f"cell {cell.number:>3} {cell.seconds:6.1f} s{used}  " + f"{cell.heading} · {cell.first_line}"[:80]


def lab_command(notebook: Path, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command that opens a chapter in JupyterLab, and the environment in which trainings are loaded."""
    from course_utils.kept import VARIABLE

    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    return [sys.executable, "-m", "jupyterlab", str(notebook)], environment | {VARIABLE: str(folder.resolve())}


def open_lab(notebook: Path, folder: Path) -> int:
    """Open a chapter in JupyterLab and wait until it is closed; return its exit code."""
    command, environment = lab_command(notebook, folder)
    return subprocess.run(command, env=environment, cwd=ROOT).returncode


def size(folder: Path) -> str:
    """Say how much the kept trainings take on the disk."""
    files = list(folder.glob("*.pt"))
    free = shutil.disk_usage(folder).free / 1e9
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    return f"{len(files)} trainings and results, {megabytes:.0f} MB in {folder}; {free:.0f} GB free"
