"""Headline numbers of a chapter: recorded in its output, held against expected bands, stored for full runs.

The numbers travel inside the executed notebook, as an output of their own type, so plain papermill, nbval and
`course run` all find them in the same place.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
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


class OutOfBand(AssertionError):
    """A recorded number lies outside its expected band (raised only if COURSE_STRICT=1)."""


def read_course(path: Path = COURSE_FILE) -> list[dict]:
    """Return the chapters of ``course.yml`` in order, each a dict with at least ``name``."""
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))["chapters"]


def read_planned(path: Path = COURSE_FILE) -> list[dict]:
    """Return the chapters that are announced but not written yet, each with ``name``, ``title``, ``needs``."""
    return yaml.safe_load(Path(path).read_text(encoding="utf-8")).get("planned", [])


def bands(number: str, profile: str = "quick", course: Path = COURSE_FILE) -> dict[str, tuple[float, float]]:
    """Return the expected band (low, high) of every number of a chapter ("02" or its whole name) in one profile.

    A chapter or a profile that ``course.yml`` does not have is a ``ValueError``, which names those it has.
    """
    names = []
    for entry in read_course(course):
        names.append(entry["name"])
        if number in (entry["name"], entry["name"].split("_")[0]):
            if profile not in entry["profiles"]:
                known = ", ".join(sorted(entry["profiles"]))
                raise ValueError(f"profile {profile!r} is unknown; chapter {number} has {known}")
            numbers = entry.get("numbers") or {}
            return {name: tuple(n[profile]) for name, n in numbers.items() if profile in n}
    raise ValueError(f"course.yml has no chapter {number!r}; it has {', '.join(names)}")


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
    versions: dict = field(default_factory=dict)
    minutes: float = math.nan

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def __str__(self) -> str:
        if not self:
            return "no full run of this chapter is stored yet"
        data, machine = (
            self.parameters.get("dataset", "embedded data"),
            self.machine.get("processor", "an unnamed machine"),
        )
        return f"stored full run: {data}, {self.minutes:.0f} min on {machine}"


def full(number: str, folder: Path = FULL_RESULTS) -> FullRun:
    """Read the stored full run of a chapter, "02" or its whole name; an empty one, which is false, if there is none."""
    path = Path(folder) / f"{number.split('_')[0]}.json"
    if not path.exists():
        return FullRun()
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["series"] = {name: np.asarray(values) for name, values in stored.get("series", {}).items()}
    return FullRun(**{f.name: stored[f.name] for f in fields(FullRun) if f.name in stored})


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
    course: Path = COURSE_FILE

    def __str__(self) -> str:
        return str(self.stored)

    def beside(self, mine: ArrayLike, name: str) -> dict[str, np.ndarray]:
        """Return a table of this run and, if a full run is stored, its series ``name``, each under its title."""
        return {"this run": np.asarray(mine)} | ({"stored full run": self.stored.series[name]} if self.stored else {})

    def record(self, **numbers: Any) -> None:
        """Record headline numbers (scalars) and show each beside its expected band.

        What is not one number is a ``TypeError``. With the environment variable COURSE_STRICT=1, a number outside its
        band is an ``OutOfBand``, after all are recorded.
        """
        values = {name: _scalar(name, value) for name, value in numbers.items()}
        header = f"{'number':<34} {'value':>11}   expected ({self.profile})"
        lines = [header, *(_line(name, value, self.bands.get(name)) for name, value in values.items())]
        _emit(NUMBERS_MIME, {"chapter": self.number, "profile": self.profile, "numbers": values}, "\n".join(lines))
        outside = [name for name in values if name in self.bands and not in_band(values[name], self.bands[name])]
        if outside and os.environ.get("COURSE_STRICT") == "1":
            words = (f"{name} = {values[name]:.6g}, expected {self.bands[name]}" for name in outside)
            raise OutOfBand(f"chapter {self.number}: " + "; ".join(words))

    def keep(self, **arrays: ArrayLike) -> None:
        """Keep small arrays of numbers (curves, tables over seeds) for the full run, with six significant digits.

        One of more than 5,000 entries is a ``ValueError``: stored results are small.
        """
        kept = {}
        for name, values in arrays.items():
            array = np.asarray(values, dtype=float)
            if array.size > 5000:
                raise ValueError(f"series {name!r} has {array.size} entries; keep at most 5,000 (a summary of it)")
            kept[name] = np.vectorize(lambda value: float(f"{value:.6g}"), otypes=[float])(array).tolist()
        shapes = ", ".join(f"{name} {np.shape(values)}" for name, values in kept.items())
        _emit(SERIES_MIME, {"chapter": self.number, "series": kept}, f"kept for the full run: {shapes}")

    def keep_scoreboard(self, table: Mapping[str, Mapping[str, ArrayLike]]) -> None:
        """Keep model → metric → one number for each seed as the series ``scoreboard`` (models, metrics, seeds).

        The names are those that ``course.yml`` announces. One missing or unknown, a value that is not finite, or
        different numbers of seeds are a ``ValueError``.
        """
        models, metrics = announced_scoreboard(self.number, self.course)
        names = [metric["name"] for metric in metrics]
        _same_names("models", models, table)
        for model in models:
            _same_names(f"metrics of {model!r}", names, table[model])
        rows = [[np.atleast_1d(np.asarray(table[model][name], dtype=float)) for name in names] for model in models]
        seeds = sorted({len(values) for row in rows for values in row})
        if len(seeds) != 1:
            raise ValueError(f"every entry of the scoreboard needs equally many seeds, got {seeds}")
        board = np.array(rows)
        for i, j in np.argwhere(~np.isfinite(board).all(axis=2))[:1]:
            raise ValueError(f"{names[j]} of {models[i]!r} is {board[i, j].tolist()}: not finite")
        self.keep(scoreboard=board)


def chapter(
    number: str, profile: str = "quick", *, course: Path = COURSE_FILE, folder: Path = FULL_RESULTS
) -> ChapterResults:
    """Return the results of a chapter, e.g. "02"; unknown chapters and profiles are a ``ValueError``, as in ``bands``.

    ``course`` and ``folder`` are another course file and another place of the stored full runs, for tests.
    """
    return ChapterResults(number, profile, bands(number, profile, course), full(number, folder), course)


def announced_scoreboard(number: str, course: Path = COURSE_FILE) -> tuple[list[str], list[dict]]:
    """Return the models and metrics (``name``, ``label``, ``unit``, ``better``) that ``course.yml`` announces.

    A chapter that announces none is a ``ValueError``.
    """
    for entry in read_course(course):
        if entry["name"].split("_")[0] == number and "scoreboard" in entry:
            return entry["scoreboard"]["models"], entry["scoreboard"]["metrics"]
    raise ValueError(f"course.yml announces no scoreboard for chapter {number!r}")


@dataclass(frozen=True)
class Scoreboard:
    """Every model judged by every metric; ``values`` is (models, metrics, seeds)."""

    models: Sequence[str]
    metrics: Sequence[Mapping[str, str]]
    values: np.ndarray

    def ranks(self) -> np.ndarray:
        """Return (models, metrics) ranks of the means, 1 for the best; NaN for a metric of which no end is better."""
        from scipy.stats import rankdata

        signs = np.array([{"high": -1.0, "low": 1.0}.get(metric["better"], np.nan) for metric in self.metrics])
        return rankdata(signs * self.values.mean(2), axis=0, nan_policy="propagate")


def _same_names(what: str, expected: Sequence[str], found: Mapping) -> None:
    if set(expected) != set(found):
        missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        raise ValueError(f"{what} are not those of course.yml: missing {missing}, unknown {unknown}")


def _emit(mime: str, payload: dict, text: str) -> None:
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(text)  # a plain Python program
    else:
        display({"text/plain": text, mime: payload}, raw=True)


def _line(name: str, value: float, band: tuple[float, float] | None) -> str:
    if band is None:
        return f"{name:<34} {value:>11.5g}   no band yet"
    verdict = "ok" if in_band(value, band) else "OUTSIDE"
    return f"{name:<34} {value:>11.5g}   {band[0]:g} … {band[1]:g}  {verdict}"


def _scalar(name: str, value: Any) -> float:
    try:
        if not isinstance(value, str):
            return float(value)  # of an array or tensor, only if it holds one number
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(f"{name} = {value!r} is not one number; give a scalar, or use keep for arrays")
