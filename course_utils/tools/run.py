"""Run chapters on any executor, show where they are, judge their numbers, and keep ``results.json``."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_utils.runtime import cores, replacing
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import RAN, Plan, Result, judge, read_chapters, read_results, write_results
from course_utils.tools.kernel import ENDINGS, Ended, Task, Watch, execute
from course_utils.tools.kernel import Timing as Timing  # of an Ended, for those who read one
from course_utils.tools.screen import Screen


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after every kernel has been ended; ``code`` is the exit code that goes with it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


def task_of(
    plan: Plan, cell_seconds: float | None = None, *, jobs: int = 1, environment: Mapping[str, str] | None = None
) -> Task:
    """Return the task of a plan; without ``cell_seconds`` a cell may take ten times the stated minutes, at least 300 s.

    A whole chapter may take twice as long as a cell; ``jobs`` kernels share the cores of this machine.
    """
    limit = cell_seconds or max(300.0, 600 * plan.minutes)
    path = plan.chapter.path.resolve()
    threads = str(max(1, cores() // jobs))
    own = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} if jobs > 1 else {}
    values = path.name, path.read_bytes(), dict(plan.parameters), limit, 2 * limit
    return Task(*values, own | dict(environment or {}), str(path.parent))


def result_of(plan: Plan, ended: Ended) -> Result:
    """Judge what became of a plan."""
    facts: dict[str, Any] = {name: getattr(ended, name) for name in ("traceback", "date", "machine", "versions")}
    facts["minutes"] = round(ended.seconds / 60, 3)
    if ended.ending != "ran":
        return Result.of(plan, ENDINGS[ended.ending], ended.message, **facts)
    verdict = judge(plan.bands, ended.numbers, overridden=plan.overridden)
    return Result.of(plan, verdict.status, verdict.message, numbers=ended.numbers, **facts)


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
    task = task_of(plan, cell_seconds, environment=environment)
    ((_, ended),) = _executed([(plan, task)], {plan.name: plan.minutes}, screen)
    return result_of(plan, ended), ended


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
    order = [chapter.name for chapter in read_chapters(source)]
    stored = {result.name: result for result in read_results(output)}
    minutes = {plan.name: plan.minutes for plan in plans}
    results: dict[str, Result] = {}
    tasks: list[tuple[Plan, Task]] = []
    code = 0

    def keep(result: Result, shown: Result | None = None) -> None:
        stored[result.name] = result
        write_results(output, list(stored.values()), order)
        results[result.name] = shown = shown or result
        took = "" if shown.status == "skipped" else f"  {shown.minutes:.1f} min"
        said = "".join(f"  · {text}" for text in (shown.message, _keep_full(result, source, output)) if text)
        screen.line(f"{shown.name:<28} {shown.status}{took}{said}")

    for plan in plans:
        last = stored.get(plan.name)
        if not plan.key:
            keep(Result.of(plan, "failed", f"there is no notebook {plan.chapter.path}"))
        elif resume and last and (same := resumed(plan, last, output)):
            keep(same, replace(same, status="skipped", message=f"unchanged since it succeeded on {same.date[:10]}"))
        else:
            tasks.append((plan, task_of(plan, cell_seconds, jobs=jobs)))
            if last and last.status == "ok" and (last.profile, last.overridden) == (plan.profile, plan.overridden):
                minutes[plan.name] = last.minutes
    try:
        for plan, ended in _executed(tasks, minutes, screen, jobs, executor):
            _write_executed(output / f"{plan.name}.ipynb", ended)
            keep(result_of(plan, ended))
    except Interrupted as error:
        code = error.code
    every = [results.get(plan.name) or Result.of(plan, "waiting") for plan in plans]
    return every, code or int(any(result.status not in ("ok", "skipped") for result in every))


def resumed(plan: Plan, last: Result, output: Path) -> Result | None:
    """Return the last result, judged by today's bands, if it answers the plan so that the chapter need not run."""
    same = last.status in RAN and (last.profile, last.key) == (plan.profile, plan.key)
    verdict = judge(plan.bands, last.numbers, overridden=plan.overridden)
    if not same or verdict.status != "ok" or not (output / f"{plan.name}.ipynb").exists():
        return None
    return replace(last, status="ok", message=verdict.message, bands=plan.bands, overridden=plan.overridden)


def _executed(
    tasks: Sequence[tuple[Plan, Task]],
    minutes: Mapping[str, float],
    screen: Screen,
    jobs: int = 1,
    executor: Executor | None = None,
) -> Iterator[tuple[Plan, Ended]]:
    """Execute tasks and yield what became of each; if a signal stops them, ``Interrupted`` is raised after the last."""
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
                    yield futures.pop(future), _value(future)
                _show(screen, {plan.name: watches[plan.name] for plan in futures.values()}, minutes)
        finally:
            for future, plan in futures.items():
                future.cancel()
                watches[plan.name].stop("interrupted")
            if executor is None:
                pool.shutdown()
        for future, plan in futures.items():
            if not future.cancelled():
                lost = Ended("interrupted", "given up while it ran elsewhere")
                yield plan, _value(future) if future.done() else lost
    if caught:
        raise Interrupted(caught[0])


def _value(future: Future) -> Ended:
    try:
        return future.result()
    except Exception as error:  # of the executor: execute itself raises nothing
        return Ended("not run", f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM meanwhile, so that neither falls into the middle of something; a second one acts."""
    caught: list[int] = []
    usual: dict[int, Any] = {}

    def note(number: int, _: object) -> None:
        caught.append(number)
        signal.signal(number, usual[number])

    if threading.current_thread() is threading.main_thread():
        usual |= {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _show(screen: Screen, watches: Mapping[str, Watch], minutes: Mapping[str, float]) -> None:
    lines = {}
    for name, watch in watches.items():
        if watch.began:
            left = 60 * minutes[name] - watch.seconds()
            time_left = f"about {_clock(left)} left" if left > 0 else f"{_clock(-left)} longer than expected"
            cell = f"cell {watch.cell} of {watch.of}" if watch.cell else "starting"
            lines[name] = f"{name:<28} {cell:<14} {_clock(watch.seconds())} elapsed, {time_left}"
    rest = [minutes[name] for name in watches if name not in lines]
    screen.refresh(lines, f"{len(rest)} more, about {sum(rest):.0f} min after that" if rest else "")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _write_executed(path: Path, ended: Ended) -> None:
    """Keep an executed notebook, and what its kernel printed if that may say why it died."""
    log = b"" if ended.ending in ("ran", "raised") else ended.log.encode()
    for suffix, content in ((".ipynb", ended.notebook), (".log", log), (".html", b"")):
        path.with_suffix(suffix).unlink(missing_ok=True)
        if content:
            with replacing(path.with_suffix(suffix)) as file:
                file.write(content)


def _keep_full(result: Result, source: Path, output: Path) -> str:
    """Store the numbers of a full run; ones that do not stand the comparison go beside it, under another name."""
    if result.profile != "full" or result.overridden or result.status not in RAN:
        return ""
    series = notebooks.recorded(notebooks.read(output / f"{result.name}.ipynb"))[1]
    if not (result.numbers or series):
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
