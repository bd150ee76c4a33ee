"""Run chapters. ``execute`` is a function of values that any executor can run; ``run`` keeps ``results.json``.

Every kernel is a process of its own, so ``execute`` itself needs none: papermill works in the thread that calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from jupyter_core.utils import run_sync
from papermill import execute_notebook
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

from course_utils.runtime import cores, replacing
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import RAN, Plan, Result, judge, read_chapters, read_results, write_results
from course_utils.tools.screen import Screen

#: How a notebook can end, and the status that a chapter which ends so gets; one that ran is judged by its numbers.
ENDINGS = {"ran": "ok", "raised": "failed", "kernel died": "kernel died", "cell limit": "timed out"}
ENDINGS |= {"chapter limit": "timed out", "interrupted": "interrupted", "not run": "failed"}
KERNELS = str(Path(sys.prefix) / "share" / "jupyter" / "kernels")
_QUIET = logging.Logger("course")
_QUIET.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Task:
    """A notebook to execute: values only, so that it can be sent to another machine. Limits are in seconds.

    ``environment`` is added to that of the machine, whose cores ``jobs`` kernels share; ``folder`` is where the
    notebook works, if it is there.
    """

    name: str
    notebook: bytes
    parameters: Mapping[str, Any]
    cell_seconds: float
    chapter_seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    jobs: int = 1


class Timing(NamedTuple):
    """Seconds of one code cell: until it answered, and of processor time in all threads; None if it was cut off."""

    wall: float
    processor: float | None


@dataclass(frozen=True)
class Ended:
    """What became of a task: how it ended (of ``ENDINGS``) and why, the executed notebook (empty if none), its numbers.

    ``cells`` has the seconds of every code cell that began, the cell of injected parameters included; ``log`` is what
    the kernel printed past the notebook.
    """

    ending: str
    message: str = ""
    traceback: str = ""
    notebook: bytes = b""
    numbers: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, list] = field(default_factory=dict)
    seconds: float = 0.0
    cells: tuple[Timing, ...] = ()
    log: str = ""
    date: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


class Watch:
    """A running notebook as another thread sees it: ``cell`` of ``of``, since when; ``stop`` ends it."""

    def __init__(self) -> None:
        self.cell, self.of, self.began, self.reason = 0, 0, 0.0, ""
        self.notebook: dict = {}
        self.cells: list[Timing] = []
        self.timer: threading.Timer | None = None
        self._lock, self._pid, self._start = threading.Lock(), 0, (0.0, 0.0)

    def seconds(self) -> float:
        """Return how long the notebook has been running."""
        return time.monotonic() - self.began if self.began else 0.0

    def stop(self, reason: str) -> None:
        """Kill the kernel, now or as soon as there is one; of two reasons the first counts."""
        with self._lock:
            self.reason = self.reason or reason
            _kill(self._pid)

    def kernel(self, pid: int) -> None:
        """Take note of the kernel's process; 0 if it is gone."""
        with self._lock:
            self._pid = pid
            if self.reason:
                _kill(pid)

    def cell_begins(self, **_: Any) -> None:
        """Count a cell; with the first one the time of the chapter begins."""
        self.cell += 1
        self._start = time.monotonic(), _processor_seconds(self._pid)
        if self.cell == 1 and self.timer:
            self.timer.start()

    def cell_ends(self, **_: Any) -> None:
        """Keep the seconds of a cell that answered."""
        wall, processor = self._start
        self.cells.append(Timing(time.monotonic() - wall, _processor_seconds(self._pid) - processor))

    def timings(self) -> tuple[Timing, ...]:
        """Return the seconds of every cell that began."""
        cut_off = [Timing(time.monotonic() - self._start[0], None)] * (self.cell - len(self.cells))
        return (*self.cells, *cut_off)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid) if pid else None
        return [process, *process.children(recursive=True)] if process else []
    except psutil.NoSuchProcess:
        return []


def _kill(pid: int) -> None:
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _processor_seconds(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += sum(process.cpu_times()[:2])  # of the user and of the system
    return total


class _Client(PapermillNotebookClient):
    """Starts this environment's kernel, tells a ``Watch`` of it, and does not wait for one that hangs."""

    watch: Watch

    def start_new_kernel(self, **options: Any) -> None:
        self.km.kernel_spec_manager.kernel_dirs.insert(0, KERNELS)
        super().start_new_kernel(**options)
        self.watch.kernel(self.km.provisioner.pid)

    def papermill_execute_cells(self) -> None:
        try:
            super().papermill_execute_cells()
        except BaseException:
            self.watch.stop(self.watch.reason)
            run_sync(_settle)()
            raise


async def _settle() -> None:
    """End what nbclient leaves behind when a cell is cut off; else asyncio complains of it on the screen."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class _Engine(Engine):
    """Hands papermill's notebook to a ``_Client``, with what the kernel's process is started with."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, task: Task, watch: Watch, process: dict, **_: Any):
        nb_man.nb.metadata.papermill |= {"input_path": task.name, "output_path": None}
        watch.notebook, watch.of = nb_man.nb, len(notebooks.code_cells(nb_man.nb))
        client = _Client(nb_man, kernel_name=kernel_name, log=_QUIET, timeout_func=lambda cell: task.cell_seconds)
        client.watch, client.on_cell_execute, client.on_cell_executed = watch, watch.cell_begins, watch.cell_ends
        client.execute(**process)


papermill_engines.register("course", _Engine)


def execute(task: Task, watch: Watch | None = None) -> Ended:
    """Execute a notebook in a kernel of its own; what goes wrong in it is told, not raised.

    ``watch`` shows where it is to another thread of this process, and lets that thread stop it.
    """
    watch = watch or Watch()
    watch.began, date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="course-") as folder, tempfile.TemporaryFile() as log:
        place = task.folder if os.path.isdir(task.folder) else folder
        process = {"env": _environment(task), "cwd": place, "stdout": log, "stderr": log}
        ending = _attempt(task, watch, process)
        if ending[0] == "not run" and not watch.cell and not watch.reason:  # ports collide now and then: once more
            ending = _attempt(task, watch, process)
        log.seek(0)
        said = log.read().decode("utf-8", "replace")[-20_000:]
    facts: dict[str, Any] = {"seconds": watch.seconds(), "cells": watch.timings(), "log": said, "date": date}
    if watch.notebook:
        facts["numbers"], facts["series"] = notebooks.recorded(watch.notebook)
        stopped = ending[0] not in ("ran", "raised")
        facts["notebook"] = notebooks.to_bytes(_marked(watch, *ending) if stopped else watch.notebook)
    return Ended(*ending, **facts, **(_machine() if ending[0] == "ran" else {}))


def _attempt(task: Task, watch: Watch, process: dict) -> tuple[str, str, str]:
    """Return how the notebook ended, in one word and in a sentence, and the traceback."""
    import nbformat

    watch.timer = threading.Timer(task.chapter_seconds, watch.stop, ["chapter limit"])
    watch.timer.daemon = True
    try:
        source = nbformat.reads(task.notebook.decode("utf-8"), as_version=4)
        options = {"kernel_name": "python3", "progress_bar": False, "engine_name": "course"}
        own = {"task": task, "watch": watch, "process": process}
        execute_notebook(source, None, parameters=dict(task.parameters), **options, **own)
    except Exception as error:
        return _ending(error, task, watch)
    finally:
        watch.timer.cancel()
        watch.kernel(0)
    return "ran", "", ""


def _ending(error: Exception, task: Task, watch: Watch) -> tuple[str, str, str]:
    """Put an exception of papermill into words; its metadata would call every cell completed."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError, strip_color

    cell = f"cell {watch.cell} of {watch.of}"
    if isinstance(error, PapermillExecutionError):
        reason = next(iter(strip_color(error.evalue).strip().splitlines()), "")
        return "raised", f"{error.ename} in {cell}: {reason}", strip_color("\n".join(error.traceback))
    if watch.reason == "chapter limit":
        text = f"the chapter took longer than {task.chapter_seconds:g} s and was stopped in {cell}"
        return "chapter limit", text, ""
    if watch.reason:
        return watch.reason, f"stopped in {cell}", ""
    if isinstance(error, CellTimeoutError):
        return "cell limit", f"{cell} took longer than {task.cell_seconds:g} s", ""
    if isinstance(error, DeadKernelError):
        return "kernel died", f"the kernel died in {cell} (often because memory ran out)", ""
    return "not run", f"{cell if watch.cell else 'no kernel started'}: {type(error).__name__}: {error}", ""


def _environment(task: Task) -> dict[str, str]:
    """Return the environment of a kernel: figures shown, this environment's kernel, threads shared among jobs."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MPLBACKEND", "COURSE_STRICT")}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    if task.jobs > 1:
        threads = str(max(1, cores() // task.jobs))
        environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return environment | task.environment


def _marked(watch: Watch, ending: str, message: str, traceback: str) -> dict:
    """Put the reason into the cell at which a notebook was cut off; papermill calls every cell completed."""
    status = ENDINGS[ending]
    error = {"output_type": "error", "ename": status, "evalue": message, "traceback": [f"{status}: {message}"]}
    marked = notebooks.copy(watch.notebook)
    for number, cell in enumerate(notebooks.code_cells(marked), start=1):
        if number >= watch.cell:
            cell["metadata"].setdefault("papermill", {})["status"] = "failed" if number == watch.cell else "pending"
        if number == watch.cell:
            cell["outputs"].append(error)
    return marked


def _machine() -> dict[str, dict]:
    from course_utils import __version__, runtime

    machine = runtime.describe_machine()
    machine.pop("free_disk_gb")
    versions = {key: machine.pop(key) for key in ("python", "torch", "torchvision")}
    return {"machine": machine, "versions": versions | {"course_utils": __version__}}


# ---------------------------------------------------------------- plans


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after every kernel has been ended; ``code`` is the exit code that goes with it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


def task_of(
    plan: Plan, cell_seconds: float | None = None, *, jobs: int = 1, environment: Mapping[str, str] | None = None
) -> Task:
    """Return the task of a plan; without ``cell_seconds`` a cell may take ten times the stated minutes, at least 300 s.

    A whole chapter may take twice as long as a cell.
    """
    limit = cell_seconds or max(300.0, 600 * plan.minutes)
    path = plan.chapter.path.resolve()
    values = path.name, path.read_bytes(), dict(plan.parameters), limit, 2 * limit
    return Task(*values, dict(environment or {}), str(path.parent), jobs)


def result_of(plan: Plan, ended: Ended) -> Result:
    """Judge what became of a plan."""
    status, message = ENDINGS[ended.ending], ended.message
    if ended.ending == "ran":
        verdict = judge(plan.bands, ended.numbers, overridden=plan.overridden)
        status, message = verdict.status, verdict.message
    same = {name: getattr(ended, name) for name in ("traceback", "date", "machine", "versions")}
    numbers = ended.numbers if ended.ending == "ran" else {}
    return Result.of(plan, status, message, minutes=round(ended.seconds / 60, 3), numbers=numbers, **same)


def perform(
    plan: Plan,
    *,
    screen: Screen,
    cell_seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Result, Ended]:
    """Execute one chapter, with ``environment`` added to its kernel's, and show its line meanwhile; nothing is written.

    Ctrl-C and SIGTERM are raised as ``Interrupted`` when the kernel is gone.
    """
    found: list[Ended] = []
    task = task_of(plan, cell_seconds, environment=environment)
    number = _work([(plan, task)], 1, screen, {}, lambda plan, ended: found.append(ended))
    if number:
        raise Interrupted(number)
    return result_of(plan, found[0]), found[0]


def run(
    plans: Sequence[Plan],
    *,
    source: Path,
    output: Path,
    screen: Screen,
    jobs: int = 1,
    resume: bool = False,
    cell_seconds: float | None = None,
    executor: Executor | None = None,
) -> tuple[list[Result], int]:
    """Run chapters; keep executed notebooks and ``results.json`` in ``output`` up to date after each.

    ``source`` is the folder of the course; with ``resume`` chapters are skipped that ran before with the same key and
    whose numbers lie in today's bands; ``jobs`` of them run at once, in threads or on another ``executor``.

    Returns the results (status "skipped", or "waiting" if it never began) and the exit code: 0 if every chapter is
    fine, 1 if not, 130 after Ctrl-C, 143 after SIGTERM.
    """
    before = {result.name: result for result in read_results(output)}
    results: dict[str, Result] = {}
    expected: dict[str, float] = {}
    tasks: list[tuple[Plan, Task]] = []

    def keep(result: Result, series: Mapping[str, list], shown: Result | None = None) -> None:
        note = _keep_full(result, series, source, output) if result.status in RAN else ""
        order = [chapter.name for chapter in read_chapters(source)]
        write_results(output, [*(r for r in read_results(output) if r.name != result.name), result], order)
        results[result.name] = shown = shown or result
        took = "" if shown.status == "skipped" else f"  {shown.minutes:.1f} min"
        said = "".join(f"  · {text}" for text in (shown.message, note) if text)
        screen.line(f"{shown.name:<28} {shown.status}{took}{said}")

    def end(plan: Plan, ended: Ended) -> None:
        _write_executed(output / f"{plan.name}.ipynb", ended)
        keep(result_of(plan, ended), ended.series)

    for plan in plans:
        last = before.get(plan.name)
        if not plan.key:
            keep(Result.of(plan, "failed", f"there is no notebook {plan.chapter.path}"), {})
        elif resume and last and (same := resumed(plan, last, output)):
            done = replace(same, status="skipped", message=f"unchanged since it succeeded on {same.date[:10]}")
            keep(same, notebooks.recorded(notebooks.read(output / f"{plan.name}.ipynb"))[1], done)
        else:
            tasks.append((plan, task_of(plan, cell_seconds, jobs=jobs)))
            if last and last.status == "ok" and (last.profile, last.overridden) == (plan.profile, plan.overridden):
                expected[plan.name] = last.minutes
    number = _work(tasks, jobs, screen, expected, end, executor)
    every = [results.get(plan.name) or Result.of(plan, "waiting") for plan in plans]
    return every, 128 + number if number else int(any(r.status not in ("ok", "skipped") for r in every))


def resumed(plan: Plan, last: Result, output: Path) -> Result | None:
    """Return the last result, judged by today's bands, if it answers the plan so that the chapter need not run."""
    same = last.status in RAN and last.profile == plan.profile and last.key == plan.key != ""
    verdict = judge(plan.bands, last.numbers, overridden=plan.overridden)
    if not same or verdict.status != "ok" or not (output / f"{plan.name}.ipynb").exists():
        return None
    facts = {name: getattr(last, name) for name in ("minutes", "numbers", "date", "machine", "versions")}
    return Result.of(plan, "ok", verdict.message, **facts)


def _work(
    tasks: Sequence[tuple[Plan, Task]],
    jobs: int,
    screen: Screen,
    expected: Mapping[str, float],
    end: Callable[[Plan, Ended], None],
    executor: Executor | None = None,
) -> int:
    """Execute tasks and call ``end`` with each; return the number of the signal that stopped them, or 0."""
    watches = {plan.name: Watch() for plan, _ in tasks}
    pool = executor or ThreadPoolExecutor(jobs)
    futures: dict[Future, Plan] = {}
    with _signals() as caught:
        try:
            for plan, task in tasks:
                watch = (watches[plan.name],) if executor is None else ()  # what another process cannot share
                futures[pool.submit(execute, task, *watch)] = plan
            while futures and not caught:
                for future in wait(futures, timeout=0.1, return_when=FIRST_COMPLETED).done:
                    end(futures[future], _value(future))
                    del futures[future]
                _show(screen, futures.values(), watches, expected)
        except KeyboardInterrupt:
            caught.append(signal.SIGINT)
        finally:
            for future, plan in futures.items():
                future.cancel()
                watches[plan.name].stop("interrupted")
            if executor is None:
                pool.shutdown()
        for future, plan in futures.items():
            if not future.cancelled():
                end(plan, _value(future) if future.done() else Ended("interrupted", "given up while it ran elsewhere"))
    return caught[0] if caught else 0


def _value(future: Future) -> Ended:
    try:
        return future.result()
    except Exception as error:  # of the executor: execute itself raises nothing
        return Ended("not run", f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM meanwhile, so that neither falls into the middle of something; a second one acts."""
    caught: list[int] = []

    def note(number: int, _frame: object) -> None:
        caught.append(number)
        signal.signal(number, usual[number])

    here = threading.current_thread() is threading.main_thread()
    usual = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM) if here}
    try:
        yield caught
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _show(screen: Screen, plans, watches: Mapping[str, Watch], expected: Mapping[str, float]) -> None:
    minutes = {plan.name: expected.get(plan.name, plan.minutes) for plan in plans}
    running = {name: watches[name] for name in minutes if watches[name].began}
    lines = {}
    for name, watch in running.items():
        seconds = watch.seconds()
        left = 60 * minutes[name] - seconds
        time_left = f"about {_clock(left)} left" if left > 0 else f"{_clock(-left)} longer than expected"
        cell = f"cell {watch.cell} of {watch.of}" if watch.cell else "starting"
        lines[name] = f"{name:<28} {cell:<14} {_clock(seconds)} elapsed, {time_left}"
    rest = [minutes[name] for name in minutes if name not in running]
    screen.refresh(lines, f"{len(rest)} more, about {sum(rest):.0f} min after that" if rest else "")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _write_executed(path: Path, ended: Ended) -> None:
    """Keep an executed notebook, and what its kernel printed if that may say why it died."""
    for content, target in ((ended.notebook, path), (b"", path.with_suffix(".html"))):
        if content:
            with replacing(target) as file:
                file.write(content)
        else:
            target.unlink(missing_ok=True)
    log = path.with_suffix(".log")
    log.unlink(missing_ok=True)
    if ended.log and ended.ending not in ("ran", "raised"):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(ended.log, encoding="utf-8")


def _keep_full(result: Result, series: Mapping[str, list], source: Path, output: Path) -> str:
    """Store the numbers of a full run; ones that do not stand the comparison go beside it, under another name."""
    if result.profile != "full" or result.overridden or not (result.numbers or series):
        return ""
    number = result.name.split("_")[0]
    stored: dict[str, Any] = {"chapter": number, "profile": "full", "series": series}
    stored["parameters"] = {key: value for key, value in result.parameters.items() if key != "profile"}
    stored |= {key: getattr(result, key) for key in ("numbers", "versions", "machine", "minutes", "date")}
    good = result.status == "ok"
    path = source / "full_results" / f"{number}.json" if good else output / f"{number}.new.json"
    with replacing(path) as file:
        file.write((json.dumps(stored, indent=1, ensure_ascii=False, default=str) + "\n").encode())
    return "" if good else f"full results not replaced; these are in {path}"
