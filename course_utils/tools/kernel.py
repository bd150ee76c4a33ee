"""Execute a notebook in a kernel of its own: ``execute`` is a function of values that any executor can run.

Every kernel is a process of its own, so ``execute`` needs none: papermill works in the thread that calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from nbclient.util import run_sync
from papermill import execute_notebook
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

from course_utils.runtime import cores
from course_utils.tools import notebook as notebooks

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

    def stop(self, reason: str = "") -> None:
        """Kill the kernel, now or, given a reason, as soon as there is one; of two reasons the first counts."""
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


def _of_each(pid: int, ask: Callable[[psutil.Process], Any]) -> list:
    """Return what a kernel's process and its children answer, of those that still run; pid 0 is none."""
    answers = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)] if pid else []:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                answers.append(ask(process))
    return answers


def _kill(pid: int) -> None:
    _of_each(pid, psutil.Process.kill)


def _processor_seconds(pid: int) -> float:
    return sum(sum(times[:2]) for times in _of_each(pid, psutil.Process.cpu_times))  # of the user and of the system


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
            self.watch.stop()
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
        client = _Client(nb_man, kernel_name=kernel_name, log=_QUIET, timeout_func=lambda _: task.cell_seconds)
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
        place = task.folder if task.folder and Path(task.folder).is_dir() else folder
        process = {"env": _environment(task), "cwd": place, "stdout": log, "stderr": log}
        ending = _attempt(task, watch, process)
        if ending[0] == "not run" and not watch.cell and not watch.reason:  # ports collide now and then: once more
            ending = _attempt(task, watch, process)
        log.seek(0)
        said = log.read().decode("utf-8", "replace")[-20_000:]
    facts: dict[str, Any] = {"seconds": watch.seconds(), "cells": watch.timings(), "log": said, "date": date}
    if watch.notebook:
        facts["numbers"], facts["series"] = notebooks.recorded(watch.notebook)
        whole = ending[0] in ("ran", "raised")
        executed = watch.notebook if whole else _marked(watch, ENDINGS[ending[0]], ending[1])
        facts["notebook"] = notebooks.to_bytes(executed)
    if ending[0] == "ran":
        facts |= _machine()
    return Ended(*ending, **facts)


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
    return environment | dict(task.environment)


def _marked(watch: Watch, status: str, message: str) -> dict:
    """Put the reason into the cell at which a notebook was cut off; papermill calls every cell completed."""
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
