"""Headline numbers of a chapter: recorded in its output, held against expected bands, stored for full runs.

They travel in the executed notebook as outputs of their own types, where papermill, nbval and `course run` find them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike

from course_utils.runtime import ROOT

#: Output types under which numbers and series stand in an executed notebook.
NUMBERS_MIME = "application/vnd.course-utils.numbers+json"
SERIES_MIME = "application/vnd.course-utils.series+json"

COURSE_FILE = ROOT / "notebooks" / "course.yml"
FULL_RESULTS = ROOT / "notebooks" / "full_results"
SPREAD = ROOT / "notebooks" / "spread"
SPREAD_FORMAT = 1  # of its files


def read_course(path: Path = COURSE_FILE, part: str = "chapters") -> list[dict]:
    """Return the chapters of ``course.yml`` in order, or those ``"planned"`` but not written, each with ``name``."""
    return yaml.safe_load(Path(path).read_text(encoding="utf-8")).get(part, [])


def bands(number: str, profile: str = "quick", course: Path = COURSE_FILE) -> dict[str, tuple[float, float]]:
    """Return the band (low, high) of each number of a chapter ("02" or its whole name); unknown is ``ValueError``."""
    return {name: tuple(n[profile]) for name, n in _numbers(number, profile, course).items() if profile in n}


def _numbers(number: str, profile: str, course: Path) -> dict[str, dict[str, Any]]:
    chapters = {entry["name"]: entry for entry in read_course(course)}
    found = [entry for name, entry in chapters.items() if number in (name, name.split("_")[0])]
    if not found:
        raise ValueError(f"course.yml has no chapter {number!r}; it has {', '.join(chapters)}")
    if profile not in found[0]["profiles"]:
        known = ", ".join(sorted(found[0]["profiles"]))
        raise ValueError(f"profile {profile!r} is unknown; chapter {number} has {known}")
    return found[0].get("numbers") or {}


def in_band(value: float, band: Sequence[float]) -> bool:
    """Tell whether low ≤ value ≤ high; a NaN lies in no band."""
    return bool(band[0] <= value <= band[1])


@dataclass(frozen=True)
class FullRun:
    """Stored results of the full profile of one chapter; false if there are none yet."""

    numbers: dict[str, float] = field(default_factory=dict)
    series: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: dict = field(default_factory=dict)
    machine: dict = field(default_factory=dict)
    minutes: float = np.nan

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def __str__(self) -> str:
        if not self:
            return "no full run of this chapter is stored yet"
        data = self.parameters.get("dataset", "embedded data")
        machine = self.machine.get("processor", "an unnamed machine")
        return f"stored full run: {data}, {self.minutes:.0f} min on {machine}"


def full(number: str, folder: Path = FULL_RESULTS) -> FullRun:
    """Read the stored full run of a chapter, "02" or its whole name; an empty one, which is false, if there is none."""
    path = Path(folder) / f"{number.split('_')[0]}.json"
    if not path.exists():
        return FullRun()
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["series"] = {name: np.asarray(values) for name, values in stored.get("series", {}).items()}
    return FullRun(**{f.name: stored[f.name] for f in fields(FullRun) if f.name in stored})


def read_spread(number: str, folder: Path = SPREAD) -> list[dict[str, Any]]:
    """Return the runs of a chapter's quick profile over seeds that `course spread` kept; none if there are none.

    Each has ``seed``, ``numbers``, ``machine``, ``versions``, ``date``. A file of another form is a ``ValueError``.
    """
    path = Path(folder) / f"{number.split('_')[0]}.json"
    if not path.exists():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != SPREAD_FORMAT:
        words = f"has the form {content.get('format')}, this version reads {SPREAD_FORMAT}"
        raise ValueError(f"{path} {words}; move it away and run `course spread {number}` again")
    return content["runs"]


def over_seeds(number: str, name: str, folder: Path = SPREAD) -> np.ndarray:
    """Return the values (runs,) of one recorded number in the kept runs of a chapter."""
    return np.array([run["numbers"][name] for run in read_spread(number, folder) if name in run["numbers"]])


def over_seeds_in_words(values: ArrayLike, above: float | None = None) -> str:
    """Return "0.312 ± 0.014 (8)": mean, standard deviation, number of runs; "above 30: 7 of 10" if that is counted."""
    runs = np.asarray(values, dtype=float)
    if above is not None:
        return f"above {above:g}: {(runs > above).sum()} of {len(runs)}"
    if len(runs) < 2:
        return ""
    spread = runs.std(ddof=1)
    digits = int(np.clip(1 - np.floor(np.log10(max(spread, 1e-12))), 0, 4))  # two digits of the spread
    return f"{mean_std(runs, f'.{digits}f')} ({len(runs)})"


def mean_std(values: ArrayLike, form: str = ".1f") -> str:
    """Return "12.3 ± 0.4", mean and standard deviation (n − 1) of several runs in a format; of one run "12.3"."""
    runs = np.asarray(values, dtype=float)
    words = f"{runs.mean():{form}}"
    return f"{words} ± {runs.std(ddof=1):{form.lstrip('+')}}" if runs.size > 1 else words


@dataclass(frozen=True)
class ChapterResults:
    """The numbers of one chapter in one profile: those stored, those expected, and those that this run leaves."""

    number: str
    profile: str
    bands: Mapping[str, tuple[float, float]]
    stored: FullRun
    over_seeds: Mapping[str, str] = field(default_factory=dict)  # of the quick profile, in words

    def __str__(self) -> str:
        return str(self.stored)

    def beside(self, mine: ArrayLike, name: str) -> dict[str, np.ndarray]:
        """Return a table of this run and, where the stored full run has a series ``name``, that one, by their titles.

        A full run from before the chapter kept this series has none; the next one will.
        """
        stored = {"stored full run": self.stored.series[name]} if name in self.stored.series else {}
        return {"this run": np.asarray(mine)} | stored

    def record(self, **numbers: Any) -> None:
        """Record headline numbers and show each beside its expected band; what is not one number is a ``TypeError``.

        With COURSE_STRICT=1 in the environment, one outside its band is an ``AssertionError`` after all are recorded.
        """
        values = {name: _scalar(name, value) for name, value in numbers.items()}
        header = f"{'number':<34} {'value':>11}   {f'expected ({self.profile})':<24}"
        lines, outside = [header + " over seeds: mean ± std (runs)" if self.over_seeds else header.rstrip()], []
        for name, value in values.items():
            words = "no band"
            if band := self.bands.get(name):
                words = f"{band[0]:g} … {band[1]:g}  {'ok' if in_band(value, band) else 'OUTSIDE'}"
                outside += [] if in_band(value, band) else [f"{name} = {value:.6g}, expected {band}"]
            lines.append(f"{name:<34} {value:>11.5g}   {words:<24} {self.over_seeds.get(name, '')}".rstrip())
        _emit(NUMBERS_MIME, {"chapter": self.number, "profile": self.profile, "numbers": values}, "\n".join(lines))
        if outside and os.environ.get("COURSE_STRICT") == "1":
            raise AssertionError(f"chapter {self.number}: " + "; ".join(outside))

    def keep(self, **arrays: ArrayLike) -> None:
        """Keep arrays for the full run, with six digits; one of more than 5,000 entries is a ``ValueError``."""
        kept = {}
        for name, values in arrays.items():
            array = np.asarray(values, dtype=float)
            if array.size > 5000:
                raise ValueError(f"series {name!r} has {array.size} entries; keep at most 5,000 (a summary of it)")
            kept[name] = np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])(array).tolist()
        shapes = ", ".join(f"{name} {np.shape(values)}" for name, values in kept.items())
        _emit(SERIES_MIME, {"chapter": self.number, "series": kept}, f"kept for the full run: {shapes}")


def chapter(
    number: str,
    profile: str = "quick",
    *,
    course: Path = COURSE_FILE,
    folder: Path = FULL_RESULTS,
    spread: Path = SPREAD,
) -> ChapterResults:
    """Return the results of a chapter, e.g. "02", from a course file, stored full runs and runs over seeds."""
    words: dict[str, str] = {}
    for name, facts in _numbers(number, profile, course).items() if profile == "quick" else ():
        values = over_seeds(number, name, spread)
        words |= {name: over_seeds_in_words(values, facts.get("above"))} if values.size else {}
    return ChapterResults(number, profile, bands(number, profile, course), full(number, folder), words)


def _emit(mime: str, payload: dict, text: str) -> None:
    from IPython import display, get_ipython

    if get_ipython() is None:
        print(text)  # a plain Python program
    else:
        display.display({"text/plain": text, mime: payload}, raw=True)


def _scalar(name: str, value: Any) -> float:
    with suppress(TypeError, ValueError, RuntimeError):
        if not isinstance(value, str):
            return float(value)  # of an array or tensor, only if it holds one number
    raise TypeError(f"{name} = {value!r} is not one number; give a scalar, or use keep for arrays")
