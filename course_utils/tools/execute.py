"""Run chapters through papermill, each in its own process, and hold their numbers against the expected bands.

``plan`` says what is asked of a chapter, ``run`` starts the chapters, shows where they are, judges their numbers
and keeps ``results.json``.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from course_utils.tools import ROOT, read_course, read_results, write_json
from course_utils.tools.worker import Worker

#: What chapters import; a change in it, except in its tools, makes ``--resume`` run them again.
PACKAGE = ROOT / "course_utils"
#: Statuses with which a chapter ran to its end, so that its numbers can be judged anew.
RAN = ("ok", "out of band", "missing numbers")


@dataclass
class Outcome:
    """One chapter in one run: what is asked of it, and what became of it."""

    name: str
    title: str
    profile: str
    parameters: dict
    overridden: bool
    bands: dict[str, tuple[float, float]]
    stated_minutes: float
    expected_minutes: float
    fingerprint: str = ""
    status: str = "waiting"
    message: str = ""
    minutes: float = 0.0
    numbers: dict[str, float] = field(default_factory=dict)
    traceback: str = ""
    date: str = ""
    machine: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)


def plan(entry: dict, profile: str, overrides: dict, notebook: Path) -> Outcome:
    """Make the outcome-to-be of one chapter.

    Parameters
    ----------
    entry
        The chapter in ``course.yml``.
    profile
        ``"quick"``, which injects nothing of its own, or another that ``course.yml`` has for the chapter.
    overrides
        Parameters given by hand; with any, the numbers are not compared with their bands.
    notebook
        The chapter's notebook.
    """
    settings = entry["profiles"].get(profile) or {}
    parameters = dict(settings.get("parameters") or {})
    if profile != "quick":
        parameters["profile"] = profile
    parameters.update(overrides)
    numbers = entry.get("numbers") or {}
    bands = {name: tuple(band[profile]) for name, band in numbers.items() if profile in band}
    minutes = float(settings.get("minutes", 2))
    outcome = Outcome(entry["name"], entry["title"], profile, parameters, bool(overrides), bands, minutes, minutes)
    outcome.fingerprint = fingerprint(notebook, parameters) if notebook.exists() else ""
    return outcome


def fingerprint(notebook: Path, parameters: dict) -> str:
    """Return a hash of all that a chapter's numbers depend on: its cells, its parameters, the package without tools."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    digest = hashlib.sha256(json.dumps([sources, parameters], sort_keys=True, default=str).encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] != "tools":
            digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def run(
    outcomes: list[Outcome],
    *,
    source: Path,
    output: Path,
    jobs: int = 1,
    resume: bool = False,
    cell_seconds: float | None = None,
    screen=None,
) -> int:
    """Run chapters; keep ``results.json`` in ``output`` up to date after each.

    Parameters
    ----------
    outcomes
        From ``plan``; their fields are filled in.
    source, output
        Folder of the notebooks; folder of the executed notebooks.
    jobs
        Chapters at once; with more than one, the kernels share the cores.
    resume
        Skip chapters that ran before with the same fingerprint and whose numbers lie in today's bands.
    cell_seconds
        Limit per cell in seconds; without it ten times the chapter's expected minutes, at least 300 s.
        A whole chapter may take twice that.
    screen
        Shows progress: ``screen.line(text)`` and ``screen.refresh(workers, waiting)``.

    Returns
    -------
    int
        Exit code: 0 if every chapter is fine, 1 if not, 130 after Ctrl-C.
    """
    waiting = [outcome for outcome in outcomes if not _is_settled(outcome, source, output, resume, screen)]
    running: list[Worker] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0), source, output, jobs, cell_seconds))
            for worker in [worker for worker in running if worker.ended()]:
                running.remove(worker)
                worker.close()
                _finish(worker.outcome, source, output, screen)
            screen.refresh(running, waiting)
            time.sleep(0.1)
    except KeyboardInterrupt:
        _interrupt(running, output)
        return 130
    return 0 if all(outcome.status in ("ok", "skipped") for outcome in outcomes) else 1


def _start(outcome: Outcome, source: Path, output: Path, jobs: int, cell_seconds: float | None) -> Worker:
    outcome.status = "running"
    name = f"{outcome.name}.ipynb"
    return Worker(outcome, (source / name).resolve(), (output / name).resolve(), jobs=jobs, cell_seconds=cell_seconds)


def _finish(outcome: Outcome, source: Path, output: Path, screen) -> None:
    """Judge a chapter that ended (or is skipped), store what is to be stored, say so in a line."""
    series = {}
    skipped = outcome.status == "skipped"
    if skipped or outcome.status == "ok":
        series = collect(outcome, output / f"{outcome.name}.ipynb")
        judge(outcome)
    note = _keep_full(outcome, series, source, output) if outcome.status in RAN else ""
    entries = read_results(output) | {outcome.name: asdict(outcome)}
    order = [entry["name"] for entry in read_course(source)]
    chapters = sorted(entries.values(), key=lambda e: order.index(e["name"]) if e["name"] in order else len(order))
    write_json(output / "results.json", {"chapters": chapters})
    if skipped and outcome.status == "ok":
        outcome.status, outcome.message = "skipped", f"unchanged since it succeeded on {outcome.date[:10]}"
    took = "" if skipped else f"  {outcome.minutes:.1f} min"
    screen.line(
        f"{outcome.name:<28} {outcome.status}{took}" + "".join(f"  · {t}" for t in (outcome.message, note) if t)
    )


def judge(outcome: Outcome) -> None:
    """Set status and message of a chapter that ran to its end: ok, out of band, or missing numbers."""
    from course_utils.results import in_band

    outcome.status, outcome.message = "ok", ""
    if outcome.overridden:
        outcome.message = "not compared: parameters overridden"
        return
    missing = [name for name in outcome.bands if name not in outcome.numbers]
    outside = [n for n, band in outcome.bands.items() if n in outcome.numbers and not in_band(outcome.numbers[n], band)]
    texts = [f"{n} = {outcome.numbers[n]:.6g}, expected {_range(outcome.bands[n])}" for n in outside]
    texts += [f"{name} was not recorded, expected {_range(outcome.bands[name])}" for name in missing]
    unknown = [name for name in outcome.numbers if name not in outcome.bands]
    texts += [f"no band yet: {', '.join(unknown)}"] if unknown else []
    outcome.message = "; ".join(texts)
    outcome.status = "out of band" if outside else "missing numbers" if missing else "ok"


def _range(band) -> str:
    return f"{band[0]:g} … {band[1]:g}"


def collect(outcome: Outcome, executed: Path) -> dict[str, list]:
    """Fill in the numbers that the executed notebook holds; return its series."""
    from course_utils import __version__, results, runtime

    outcome.numbers, series = results.from_notebook(json.loads(executed.read_text(encoding="utf-8")))
    if not outcome.machine:
        machine = runtime.describe_machine()
        outcome.versions = {key: machine.pop(key) for key in ("python", "torch", "torchvision")}
        outcome.versions["course_utils"] = __version__
        machine.pop("free_disk_gb", None)
        outcome.machine = machine
    return series


def _keep_full(outcome: Outcome, series: dict, source: Path, output: Path) -> str:
    """Store the numbers of a full run; ones that do not stand the comparison go beside it, under another name."""
    if outcome.profile != "full" or outcome.overridden or not (outcome.numbers or series):
        return ""
    number = outcome.name.split("_")[0]
    stored = {"chapter": number, "profile": "full", "series": series}
    stored["parameters"] = {key: value for key, value in outcome.parameters.items() if key != "profile"}
    stored |= {key: getattr(outcome, key) for key in ("numbers", "versions", "machine", "minutes", "date")}
    good = outcome.status == "ok"
    path = source / "full_results" / f"{number}.json" if good else output / f"{number}.new.json"
    write_json(path, stored)
    return "" if good else f"full results not replaced; these are in {path}"


def _is_settled(outcome: Outcome, source: Path, output: Path, resume: bool, screen) -> bool:
    """Deal with a chapter that need not or cannot run; of others, expect the minutes of their last success."""
    entry = read_results(output).get(outcome.name)
    if not outcome.fingerprint:
        outcome.status, outcome.message = "failed", f"there is no notebook {source / outcome.name}.ipynb"
    elif not (resume and _can_skip(outcome, entry, output)):
        same = ("profile", "overridden")
        if entry and entry["status"] == "ok" and all(entry[key] == getattr(outcome, key) for key in same):
            outcome.expected_minutes = entry["minutes"]
        return False
    _finish(outcome, source, output, screen)
    return True


def _can_skip(outcome: Outcome, entry: dict | None, output: Path) -> bool:
    same = entry and entry["status"] in RAN and entry["fingerprint"] == outcome.fingerprint != ""
    if not same or entry["profile"] != outcome.profile or not (output / f"{outcome.name}.ipynb").exists():
        return False
    outcome.numbers = entry["numbers"]
    judge(outcome)
    if outcome.status == "ok":
        for key in ("minutes", "date", "machine", "versions"):
            setattr(outcome, key, entry[key])
        outcome.status = "skipped"
    return outcome.status == "skipped"


def _interrupt(running: list[Worker], output: Path) -> None:
    for worker in running:
        worker.kill()
        worker.result = {
            "status": "interrupted",
            "message": f"stopped in cell {worker.cell} of {worker.of}",
            "traceback": "",
        }
        worker.close()
    entries = read_results(output) | {worker.outcome.name: asdict(worker.outcome) for worker in running}
    write_json(output / "results.json", {"chapters": list(entries.values())})
