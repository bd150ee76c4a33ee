"""One notebook in a process of its own: ``work`` executes it there, ``Worker`` watches it from outside.

Run as a module, this file is that process; it reports each cell on its standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.tools import ROOT, cores, write_json

if TYPE_CHECKING:
    from course_utils.tools.execute import Outcome


def work(task: dict, say) -> None:
    """Execute one notebook; report each cell and the end through ``say``.

    Parameters
    ----------
    task
        ``source``, ``target``, ``cwd``: absolute paths; ``parameters``; ``cell_seconds``: limit per cell.
    say
        Called with keywords: ``cell`` and ``of`` before each code cell, ``cpu``, the seconds of processor time that
        the kernel has used until then; ``status``, ``message``, ``traceback`` at the end.
    """
    seen = {"cell": 0, "of": _count_cells(Path(task["source"])) + bool(task["parameters"])}

    def on_cell_start(cell, cell_index):
        if cell["cell_type"] == "code" and cell["source"].strip():
            seen["cell"] += 1
            say(**seen, cpu=_kernel_seconds())

    for attempt in (1, 2):
        try:
            _papermill(task, on_cell_start)
            return say(status="ok", message="", traceback="")
        except Exception as error:  # ports collide now and then while kernels start: once more, then give up
            if seen["cell"] or attempt == 2:
                return say(**_what_happened(error, f"cell {seen['cell']} of {seen['of']}", task["cell_seconds"]))


def _kernel_seconds() -> float:
    """Return the processor time, in seconds, that the kernel of this process has used."""
    import psutil

    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += sum(process.cpu_times()[:2])  # of the user and of the system
    return total


def _what_happened(error: Exception, cell: str, cell_seconds: float) -> dict[str, str]:
    """Put an exception of papermill into words; its metadata would call every cell completed."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError, strip_color

    traceback = ""
    if isinstance(error, PapermillExecutionError):
        reason = next(iter(strip_color(error.evalue).strip().splitlines()), "")
        status, message = "failed", f"{error.ename} in {cell}: {reason}"
        traceback = strip_color("\n".join(error.traceback))
    elif isinstance(error, CellTimeoutError):
        status, message = "timed out", f"{cell} took longer than {cell_seconds:g} s"
    elif isinstance(error, DeadKernelError):
        status, message = "kernel died", f"the kernel died in {cell} (often because memory ran out)"
    else:
        where = "no kernel started" if cell.startswith("cell 0") else cell
        status, message = "failed", f"{where}: {type(error).__name__}: {error}"
    return {"status": status, "message": message, "traceback": traceback}


def _papermill(task: dict, on_cell_start) -> None:
    from papermill import execute_notebook

    source, target = (task[key].replace("{", "{{").replace("}", "}}") for key in ("source", "target"))
    execute_notebook(
        source,
        target,
        parameters=task["parameters"],
        kernel_name="python3",
        progress_bar=False,
        cwd=task["cwd"],
        execution_timeout=task["cell_seconds"],
        on_cell_start=on_cell_start,
    )


def _count_cells(notebook: Path) -> int:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return sum(cell["cell_type"] == "code" and bool("".join(cell["source"]).strip()) for cell in cells)


class Worker:
    """The running process of one chapter, seen from outside: ``cell`` of ``of``, and at the end ``result``.

    ``cpu`` holds the kernel's processor time at the start of each cell that has begun, in seconds.
    """

    def __init__(
        self,
        outcome: Outcome,
        source: Path,
        target: Path,
        *,
        jobs: int = 1,
        cell_seconds: float | None = None,
        environment: dict[str, str] | None = None,
    ):
        self.outcome, self.target, self.log = outcome, target, target.with_suffix(".log")
        cell_seconds = cell_seconds or max(300.0, 600 * outcome.stated_minutes)
        self.limit, self.started = 2 * cell_seconds, time.monotonic()
        self.deadline = self.started + self.limit + 300  # until the first cell; from then on the limit counts
        self.cell, self.of, self.result, self.cpu = 0, 0, None, []
        target.parent.mkdir(parents=True, exist_ok=True)
        for stale in (target, target.with_suffix(".html")):
            stale.unlink(missing_ok=True)
        task = {"source": str(source), "target": str(target), "cwd": str(source.parent)}
        task |= {"parameters": outcome.parameters, "cell_seconds": cell_seconds}
        command = [sys.executable, "-m", "course_utils.tools.worker", json.dumps(task)]
        with open(self.log, "wb") as log:
            surroundings = _environment(jobs) | (environment or {})
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=surroundings, cwd=ROOT, start_new_session=True
            )
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            event = json.loads(line)
            if event.get("cell") == 1:
                self.deadline = time.monotonic() + self.limit
            if "cell" in event:
                self.cell, self.of = event["cell"], event["of"]
                self.cpu.append(event["cpu"])
            else:
                self.result = event

    def seconds(self) -> float:
        """Return how long the chapter has been running."""
        return time.monotonic() - self.started

    def ended(self) -> bool:
        """Tell whether the process has ended; one that exceeds the chapter's limit is ended here."""
        if time.monotonic() > self.deadline and self.process.poll() is None:
            self.kill()
            text = f"the chapter took longer than {self.limit:g} s and was stopped in cell {self.cell} of {self.of}"
            self.result = {"status": "timed out", "message": text, "traceback": ""}
        if self.process.poll() is None:
            return False
        self.listener.join(timeout=10)
        return True

    def watch(self, screen) -> None:
        """Wait for the end of the chapter and show its line meanwhile; leave no process behind, whatever happens."""
        try:
            while not self.ended():
                screen.refresh([self], [])
                time.sleep(0.1)
        finally:
            self.kill()
        self.close()

    def kill(self) -> None:
        """End the kernel, so that the process saves what there is and ends too; end it as well if it does not."""
        import psutil

        for patience in (10, None):
            try:
                tree = psutil.Process(self.process.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                tree = []
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if patience is None:
                self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
                break
        self.listener.join(timeout=10)

    def close(self) -> None:
        """Write into the outcome what became of the chapter; the log is kept only if something went wrong."""
        crash = f"the process ended with code {self.process.returncode}; see {self.log}"
        result = self.result or {"status": "failed", "message": crash, "traceback": ""}
        self.outcome.status, self.outcome.message = result["status"], result["message"]
        self.outcome.traceback, self.outcome.minutes = result["traceback"], round(self.seconds() / 60, 3)
        self.outcome.date = datetime.now(UTC).isoformat(timespec="seconds")
        if result["status"] == "ok" or result["traceback"]:
            self.log.unlink()
        if self.target.exists() and not _is_json(self.target):
            self.target.unlink()  # ended while it was written: half a notebook is none
        if result["status"] not in ("ok", "failed") and self.target.exists():
            _mark_stop(self.target, self.cell, result)


def _environment(jobs: int) -> dict[str, str]:
    """Return the environment of a kernel: figures shown, this environment's kernel, threads shared among jobs."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MPLBACKEND", "COURSE_STRICT")}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    if jobs > 1:
        threads = str(max(1, cores() // jobs))
        environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return environment


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _mark_stop(target: Path, cell: int, result: dict) -> None:
    """Put the reason into the cell at which a partial notebook stopped; papermill calls every cell completed."""
    notebook = json.loads(target.read_text(encoding="utf-8"))
    code = [c for c in notebook["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]
    for number, entry in enumerate(code, start=1):
        if number >= cell:
            entry["metadata"].setdefault("papermill", {})["status"] = "failed" if number == cell else "pending"
        if number == cell:
            error = {"output_type": "error", "ename": result["status"], "evalue": result["message"]}
            entry["outputs"].append(error | {"traceback": [f"{result['status']}: {result['message']}"]})
    write_json(target, notebook)


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the kernel itself prints goes to the log, not among the events
    work(json.loads(sys.argv[1]), lambda **event: print(json.dumps(event), file=channel, flush=True))
