"""Execute a notebook in a kernel of its own: ``execute`` takes and returns values, so that any executor can run it.

Every kernel is a process of its own, so ``execute`` needs none: nbclient works in the thread that calls it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill import execute_notebook
from papermill.exceptions import strip_color

from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Plan, Result, judge

#: How a notebook can end, and the status that a chapter which ends so gets; one that ran is judged by its numbers.
ENDINGS = {"ran": "ok", "raised": "failed", "kernel died": "kernel died", "cell limit": "timed out"}
ENDINGS |= {"chapter limit": "timed out", "interrupted": "interrupted", "not run": "failed"}
KERNELS = str(Path(sys.prefix) / "share" / "jupyter" / "kernels")
_QUIET = logging.Logger("course")
_QUIET.addHandler(logging.NullHandler())


class Timing(NamedTuple):
    """Seconds of one code cell: until it answered, and of processor time in all threads; None if it was cut off."""

    wall: float
    processor: float | None


@dataclass(frozen=True)
class Ended:
    """What became of a plan: how it ended (of ``ENDINGS``), its result, the executed notebook (empty if none).

    ``cells`` has the seconds of every code cell that began, the cell of injected parameters included; ``log`` is what
    the kernel printed past the notebook.
    """

    ending: str
    result: Result
    notebook: bytes = b""
    seconds: float = 0.0
    cells: tuple[Timing, ...] = ()
    log: str = ""


class Watch:
    """A running notebook as another thread sees it: ``cell`` of ``of``, since when; ``stop`` ends it."""

    def __init__(self) -> None:
        self.cell, self.of, self.began, self.reason = 0, 0, 0.0, ""
        self.notebook: Any = {}
        self.cells: list[Timing] = []
        self._kernel: psutil.Process | None = None
        self._start = (0.0, 0.0)

    def seconds(self) -> float:
        """Return how long the notebook has been running."""
        return time.monotonic() - self.began if self.began else 0.0

    def stop(self, reason: str = "") -> None:
        """Kill the kernel, now or, given a reason, as soon as there is one; of two reasons the first counts."""
        self.reason = self.reason or reason
        self._of_each(psutil.Process.kill)

    def kernel_begins(self, pid: int) -> None:
        """Take note of the kernel's process, and end it if somebody said so before there was one."""
        self._kernel = psutil.Process(pid)
        if self.reason:
            self.stop()

    def cell_begins(self, **_: Any) -> None:
        """Count a cell."""
        self.cell += 1
        self._start = self._clocks()

    def cell_ends(self, **_: Any) -> None:
        """Keep the seconds of a cell that answered."""
        (wall, processor), now = self._start, self._clocks()
        self.cells.append(Timing(now[0] - wall, now[1] - processor))

    def timings(self) -> tuple[Timing, ...]:
        """Return the seconds of every cell that began."""
        cut_off = [Timing(time.monotonic() - self._start[0], None)] * (self.cell - len(self.cells))
        return (*self.cells, *cut_off)

    def _clocks(self) -> tuple[float, float]:
        """Return the seconds of the wall clock, and those of the user and the system for the kernel."""
        return time.monotonic(), sum(sum(times[:2]) for times in self._of_each(psutil.Process.cpu_times))

    def _of_each(self, ask: Callable[[psutil.Process], Any]) -> list:
        """Return what the kernel's process and its children answer, of those that still run."""
        answers = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [self._kernel, *self._kernel.children(recursive=True)] if self._kernel else []:
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    answers.append(ask(process))
        return answers


class _Client(NotebookClient):
    """Starts this environment's kernel, tells a ``Watch`` of it, and does not wait for one that hangs."""

    watch: Watch
    km: Any

    async def async_start_new_kernel(self, **options: Any) -> None:
        self.km.kernel_spec_manager.kernel_dirs.insert(0, KERNELS)
        await super().async_start_new_kernel(**options)
        self.watch.kernel_begins(self.km.provisioner.pid)

    async def async_execute_cell(self, cell: Any, cell_index: int, *rest: Any, **options: Any) -> Any:
        try:
            return await super().async_execute_cell(cell, cell_index, *rest, **options)
        except BaseException:
            self.watch.stop()
            raise


def execute(
    plan: Plan,
    watch: Watch | None = None,
    *,
    cell_seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Execute the notebook of a plan in a kernel of its own and judge its numbers; what goes wrong is told, not raised.

    A cell may take ``cell_seconds``, the chapter twice as long. ``environment`` is added to that of the machine;
    ``watch`` shows where the notebook is to another thread of this process, and lets that thread stop it.
    """
    watch = watch or Watch()
    watch.began, date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="course-") as folder, tempfile.TemporaryFile() as log:
        place = plan.chapter.path.resolve().parent  # on another machine it need not be there
        process = {"cwd": str(place) if place.is_dir() else folder, "stdout": log, "stderr": log}
        process["env"] = _environment(environment or {})
        for _ in range(2):  # ports collide now and then: once more
            ending, message, traceback = _attempt(plan, watch, process, cell_seconds or plan.cell_seconds)
            if ending != "not run" or watch.cell or watch.reason:
                break
        log.seek(0)
        said = log.read().decode("utf-8", "replace")[-20_000:]
    status, seconds = ENDINGS[ending], watch.seconds()
    facts: dict[str, Any] = {"traceback": traceback, "date": date, "minutes": round(seconds / 60, 3)}
    if ending == "ran":
        facts |= {"numbers": notebooks.recorded(watch.notebook)[0], **_machine()}
        verdict = judge(plan.bands, facts["numbers"], overridden=plan.overridden, counted=plan.counted)
        status, message = verdict.status, verdict.message
    elif ending != "raised" and watch.cell:  # say so in the cell that was cut off
        error = {"output_type": "error", "ename": status, "evalue": message, "traceback": [f"{status}: {message}"]}
        notebooks.code_cells(watch.notebook)[watch.cell - 1]["outputs"].append(error)
    executed = notebooks.to_bytes(watch.notebook) if watch.notebook else b""
    return Ended(ending, Result.of(plan, status, message, **facts), executed, seconds, watch.timings(), said)


def _attempt(plan: Plan, watch: Watch, process: dict, limit: float) -> tuple[str, str, str]:
    """Return how the notebook ended, in one word and in a sentence, and the traceback."""
    timer = threading.Timer(2 * limit, watch.stop, ["chapter limit"])
    timer.daemon = True
    try:
        watch.notebook = _prepared(plan)
        watch.of = len(notebooks.code_cells(watch.notebook))
        options: dict[str, Any] = {"on_cell_execute": watch.cell_begins, "on_cell_executed": watch.cell_ends}
        options["on_notebook_start"] = lambda **_: timer.start()  # the kernel is ready
        options["timeout_func"] = lambda _: limit
        client = _Client(watch.notebook, kernel_name="python3", log=_QUIET, **options)
        client.watch = watch
        try:
            asyncio.run(client.async_execute(**process))
        finally:
            atexit.unregister(client._cleanup_kernel)  # left behind by one that did not start
    except Exception as error:
        return _ending(error, watch, limit)
    finally:
        timer.cancel()
    return "ran", "", ""


def _prepared(plan: Plan) -> Any:
    """Return the notebook with its parameters injected and without outputs, as nbclient takes it."""
    notebook = execute_notebook(
        nbformat.reads(plan.notebook.decode("utf-8"), as_version=4),
        None,
        dict(plan.parameters),
        kernel_name="python3",
        language="python",
        prepare_only=True,
    )
    notebook.metadata.pop("papermill")
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def _ending(error: Exception, watch: Watch, limit: float) -> tuple[str, str, str]:
    """Put what stopped a notebook into words."""
    cell = f"cell {watch.cell} of {watch.of}"
    if isinstance(error, CellExecutionError):
        reason = next(iter(strip_color(error.evalue).strip().splitlines()), "")
        return "raised", f"{error.ename} in {cell}: {reason}", strip_color(error.traceback)
    if watch.reason == "chapter limit":
        return watch.reason, f"the chapter took longer than {2 * limit:g} s and was stopped in {cell}", ""
    if watch.reason:
        return watch.reason, f"stopped in {cell}", ""
    if isinstance(error, CellTimeoutError):
        return "cell limit", f"{cell} took longer than {limit:g} s", ""
    if isinstance(error, DeadKernelError):
        return "kernel died", f"the kernel died in {cell} (often because memory ran out)", ""
    return "not run", f"{cell if watch.cell else 'no kernel started'}: {type(error).__name__}: {error}", ""


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a kernel: figures are shown, and the kernel is this environment's."""
    machine = {key: value for key, value in os.environ.items() if key not in ("MPLBACKEND", "COURSE_STRICT")}
    return machine | {"JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"} | dict(own)


def _machine() -> dict[str, dict]:
    from course_utils import __version__, runtime

    machine = runtime.describe_machine()
    machine.pop("free_disk_gb")
    versions = {key: machine.pop(key) for key in ("python", "torch", "torchvision")}
    return {"machine": machine, "versions": versions | {"course_utils": __version__}}
