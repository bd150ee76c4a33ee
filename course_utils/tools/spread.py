"""The quick profile over seeds: every number of every run is kept, and the expected bands follow from them by a rule.

``notebooks/spread/NN.json`` holds the runs of a chapter. The band of a number is the prediction interval for one more
run with another seed, mean ± t · s · √(1 + 1/n), in which a Gaussian number lies 999 times of 1,000. That another
machine, where rounding alone turns a training another way, moves a number no more than another seed, which also deals
the data anew, is assumed and not measured: runs made there add to the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from course_utils.results import SPREAD_FORMAT, read_spread
from course_utils.runtime import replacing
from course_utils.tools.chapter import Band, Chapter, Result, plan
from course_utils.tools.run import run
from course_utils.tools.screen import Screen

OUTSIDE = 1e-3  # how often one more run of a Gaussian number, with another seed, leaves its band
SMALLEST = 2e-3  # half a band is at least this share of the mean: rounding differs between machines
GROUPS = 2.5  # values are two groups if the gap between them is so many times what is left of their range
WIDEST = 0.75  # a band that covers more than this share of what is possible excludes nothing


def add_runs(
    chapters: Sequence[Chapter],
    seeds: int,
    *,
    source: Path,
    output: Path,
    screen: Screen,
    jobs: int = 1,
    cell_seconds: float | None = None,
) -> int:
    """Run the quick profile with seeds 0 … seeds − 1 and keep what came out; what is kept already is not run again.

    A run is the same if cells, package, versions, data and device are. Returns the exit code of ``run``.
    """
    code = 0
    for seed in range(seeds):
        plans = [plan(chapter, "quick", {"seed": seed}) for chapter in chapters]
        kept = {entry["key"] for chapter in chapters for entry in read_spread(chapter.number, source / "spread")}
        plans = [asked for asked in plans if asked.key not in kept]
        place = output / f"seed_{seed}"
        options: dict[str, Any] = {"jobs": jobs, "resume": True, "cell_seconds": cell_seconds}
        screen.line(f"seed {seed}: {len(plans)} of {len(chapters)} chapters to run")
        results, ended = run(plans, source=source, output=place, screen=screen, **options)
        for result in results:
            if result.numbers and result.status in ("ok", "skipped"):
                keep(result, seed, source)
        code = max(code, ended)
        if ended > 1:
            return ended
    return code


def keep(result: Result, seed: int, source: Path) -> None:
    """Add a run to the file of its chapter, in the place of an earlier one with this seed on this kind of machine."""
    number = result.name.split("_")[0]
    entry = {"seed": seed, "key": result.key, "numbers": dict(result.numbers), "minutes": result.minutes}
    entry |= {"date": result.date, "machine": dict(result.machine), "versions": dict(result.versions)}
    others = [run for run in read_spread(number, source / "spread") if _identity(run) != _identity(entry)]
    runs = sorted([*others, entry], key=lambda run: (_identity(run)[1:], run["seed"]))
    content = {"format": SPREAD_FORMAT, "chapter": number, "profile": "quick", "runs": runs}
    with replacing(source / "spread" / f"{number}.json") as file:
        file.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _identity(entry: Mapping[str, Any]) -> tuple[int, str, str]:
    machine = entry["machine"]
    return entry["seed"], str(machine.get("device", "cpu")), str(machine.get("processor", ""))


def band(values: Sequence[float], unit: str = "", *, log: bool = False) -> Band:
    """Return the band in which one more run is expected, from at least three values; per cent stay in 0 … 100.

    ``log`` is for positive numbers that vary by factors, such as an angle near 0: the interval is that of logarithms.
    """
    if log:
        low, high = band(np.log(values).tolist())
        return float(f"{math.exp(low):.3g}"), float(f"{math.exp(high):.3g}")
    n = len(values)
    if n < 3:
        raise ValueError(f"a band needs at least 3 runs, there are {n}; run `course spread --seeds 8`")
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(1 - OUTSIDE / 2, n - 1)) * deviation * math.sqrt(1 + 1 / n)
    half = max(half, SMALLEST * abs(mean), 1e-12)
    step = 10.0 ** (math.floor(math.log10(half)) - 1)  # two digits of the half-width, rounded outwards
    low, high = math.floor((mean - half) / step) * step, math.ceil((mean + half) / step) * step
    low, high = (max(low, 0.0), min(high, 100.0)) if unit == "%" else (low, high)
    return float(f"{low:.10g}"), float(f"{high:.10g}")


def two_groups(values: Sequence[float]) -> float | None:
    """Return a value between two groups into which values fall, at least two each, or None: a mean describes neither.

    Eight values of a Gaussian fall apart like this once in two thousand times.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    if len(ordered) < 5:
        return None
    gaps = np.diff(ordered)[1:-1]  # with two values or more on either side
    widest = int(gaps.argmax()) + 1
    rest = ordered[-1] - ordered[0] - gaps.max()
    significant = gaps.max() > 0.02 * np.abs(ordered).max()
    return float(ordered[widest : widest + 2].mean()) if significant and gaps.max() > GROUPS * rest else None


def says_nothing(band: Band, values: Sequence[float], unit: str = "", *, log: bool = False) -> bool:
    """Tell whether a band covers more than three quarters of what is possible.

    Possible are 0 … 100 in per cent, 120 dB (any factor up to a thousand, up or down), and else 0 … twice the mean; of
    logarithms, a factor of 1,000 from the low end to the high one.
    """
    if log:
        return math.log(band[1] / band[0]) > WIDEST * math.log(1000)
    return band[1] - band[0] > WIDEST * {"%": 100.0, "dB": 120.0}.get(unit, 2 * abs(float(np.mean(values))))


class Verdict(NamedTuple):
    """What the kept runs say of one number: its values, the band that follows, and what is wrong with it."""

    chapter: str
    number: str
    values: list[float]
    band: Band | None
    fault: str


def verdicts(chapter: Chapter, source: Path) -> Iterator[Verdict]:
    """Yield what the runs of a chapter say of each of its numbers that ``course.yml`` gives a band or a threshold."""
    runs = read_spread(chapter.number, source / "spread")
    for name, facts in chapter.numbers.items():
        values = [run["numbers"][name] for run in runs if name in run["numbers"]]
        if not values or not {"quick", "above"} & set(facts):
            continue
        if "above" in facts:
            yield Verdict(chapter.name, name, values, None, "")
            continue
        unit, log = str(facts.get("unit", "")), bool(facts.get("log"))
        derived, between, fault = band(values, unit, log=log), two_groups(values), ""
        if between is not None:
            fault = f"its values fall into two groups; give it `above: {between:.3g}` in place of a band"
        elif says_nothing(derived, values, unit, log=log):
            fault = "its band excludes nothing; average it over more networks, or count what happens how often"
        yield Verdict(chapter.name, name, values, derived, fault)


def edited(chapters: Sequence[Chapter], source: Path) -> list[str]:
    """Say which quick bands of ``course.yml`` are not those that follow from the kept runs."""
    found = []
    for chapter in chapters:
        for verdict in verdicts(chapter, source):
            stands = chapter.bands("quick").get(verdict.number)
            if verdict.band and stands != verdict.band:
                found.append(f"{chapter.name}: {verdict.number} has the band {stands}, its runs say {verdict.band}")
    return found


def write_bands(chapters: Sequence[Chapter], source: Path) -> list[Verdict]:
    """Write the bands that follow from the kept runs into ``course.yml``; the rest of the file stays to the letter."""
    path, every = source / "course.yml", []
    text = path.read_text(encoding="utf-8")
    for chapter in chapters:
        found = list(verdicts(chapter, source))
        start = text.index(f"- name: {chapter.name}\n")
        end = text.find("\n  - name: ", start)
        block = text[start:] if end < 0 else text[start:end]
        for verdict in found:
            if verdict.band:
                block = _with_band(block, verdict)
        text = text[:start] + block + ("" if end < 0 else text[end:])
        every += found
    with replacing(path) as file:
        file.write(text.encode())
    return every


def _with_band(block: str, verdict: Verdict) -> str:
    low, high = verdict.band or (0, 0)
    line = re.compile(rf"^(\s+{re.escape(verdict.number)}: \{{.*\bquick: )\[[^\]]*\]", flags=re.MULTILINE)
    block, count = line.subn(rf"\g<1>[{low:.10g}, {high:.10g}]", block)
    if count != 1:
        raise ValueError(f"course.yml: found no `quick: […]` in one line with {verdict.number!r} of {verdict.chapter}")
    return block
