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
from course_utils.tools import folders
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import RAN, Plan, Result, judge, read_chapters, read_results, write_results
from course_utils.tools.kernel import Ended, Watch, execute
from course_utils.tools.kernel import Timing as Timing  # of an Ended, for those who read one
from course_utils.tools.screen import Screen


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP, after every kernel has been ended; ``code`` is the exit code that goes with it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


def perform(
    plan: Plan,
    *,
    screen: Screen,
    cell_seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Result, Ended]:
    """Execute one chapter and show its line meanwhile; nothing is written. ``environment`` is added to its kernel's.

    Ctrl-C, SIGTERM and SIGHUP are raised as ``Interrupted`` when the kernel is gone.
    """
    options = {"cell_seconds": cell_seconds, "environment": environment}
    (ended,) = _executed([plan], {plan.name: plan.minutes}, screen, options)
    return ended.result, ended


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
    """Run chapters of the course in ``source``; keep notebooks and ``results.json`` in ``output`` up to date.

    With ``resume`` those are skipped that ran before with the same key and whose numbers lie in today's bands; ``jobs``
    run at once, in threads or on another ``executor``. Returns the results (status "skipped", or "waiting" if it never
    began) and the exit code: 0 if every chapter is fine, 1 if not, 130 after Ctrl-C, 143 after SIGTERM. An ``output``
    that holds other files, or that another run is filling, is ``folders.NotOurs``.
    """
    with folders.taken(output, "run"):
        order = [chapter.name for chapter in read_chapters(source)]
        stored = {result.name: result for result in read_results(output)}
        minutes = {plan.name: plan.minutes for plan in plans}
        results: dict[str, Result] = {}
        left: list[Plan] = []
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
                keep(Result.of(plan, "failed", plan.fault))
            elif resume and last and (same := resumed(plan, last, output)):
                keep(same, replace(same, status="skipped", message=f"unchanged since it succeeded on {same.date[:10]}"))
            else:
                left.append(plan)
                if last and last.status == "ok" and (last.profile, last.overridden) == (plan.profile, plan.overridden):
                    minutes[plan.name] = last.minutes
        threads = str(max(1, cores() // jobs))
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} if jobs > 1 else {}
        options = {"cell_seconds": cell_seconds, "environment": environment}
        try:
            for ended in _executed(left, minutes, screen, options, jobs, executor):
                _write_executed(output / f"{ended.result.name}.ipynb", ended)
                keep(ended.result)
        except Interrupted as error:
            code = error.code
        every = [results.get(plan.name) or Result.of(plan, "waiting") for plan in plans]
        return every, code or int(any(result.status not in ("ok", "skipped") for result in every))


def resumed(plan: Plan, last: Result, output: Path) -> Result | None:
    """Return the last result, judged by today's bands, if it answers the plan so that the chapter need not run."""
    same = last.status in RAN and (last.profile, last.key) == (plan.profile, plan.key)
    verdict = judge(plan.bands, last.numbers, overridden=plan.overridden, counted=plan.counted)
    if not same or verdict.status != "ok" or not (output / f"{plan.name}.ipynb").exists():
        return None
    return replace(last, status="ok", message=verdict.message, bands=plan.bands, overridden=plan.overridden)


def _executed(
    plans: Sequence[Plan],
    minutes: Mapping[str, float],
    screen: Screen,
    options: Mapping[str, Any],
    jobs: int = 1,
    executor: Executor | None = None,
) -> Iterator[Ended]:
    """Execute plans and yield what became of each; if a signal stops them, ``Interrupted`` is raised after the last."""
    watches = {plan.name: Watch() for plan in plans}
    pool = executor or ThreadPoolExecutor(jobs)
    futures: dict[Future, Plan] = {}
    with _signals() as caught:
        try:
            for plan in plans:
                watch = watches[plan.name] if executor is None else None  # another process cannot share it
                futures[pool.submit(execute, plan, watch, **options)] = plan
            while futures and not caught:
                for future in wait(futures, timeout=0.1, return_when=FIRST_COMPLETED).done:
                    yield _value(future, futures.pop(future))
                _show(screen, {plan.name: watches[plan.name] for plan in futures.values()}, minutes)
        finally:
            for future, plan in futures.items():
                future.cancel()
                watches[plan.name].stop("interrupted")
            if executor is None:
                pool.shutdown()
        for future, plan in futures.items():
            if not future.cancelled():
                yield _value(future, plan)
    if caught:
        raise Interrupted(caught[0])


def _value(future: Future, plan: Plan) -> Ended:
    if not future.done():
        return Ended("interrupted", Result.of(plan, "interrupted", "given up while it ran elsewhere"))
    try:
        return future.result()
    except Exception as error:  # of the executor: execute itself raises nothing
        return Ended("not run", Result.of(plan, "failed", f"{type(error).__name__}: {error}"))


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect signals that end a program, so that none falls into the middle of something; a second one acts."""
    caught: list[int] = []
    usual: dict[int, Any] = {}

    def note(number: int, _: object) -> None:
        caught.append(number)
        signal.signal(number, usual[number])

    if threading.current_thread() is threading.main_thread():
        every = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        usual |= {number: signal.signal(number, note) for number in every}
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
