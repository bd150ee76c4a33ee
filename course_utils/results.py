"""Headline numbers of a chapter: recorded in its output, held against expected bands, stored for full runs.

The numbers travel inside the executed notebook, as an output of their own type, so plain
papermill, nbval and `course run` all find them in the same place.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

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


def bands(chapter: str, profile: str = "quick", course: Path = COURSE_FILE) -> dict[str, tuple[float, float]]:
    """Return the expected band (low, high) of every number of a chapter in one profile.

    Parameters
    ----------
    chapter
        The two digits of the chapter, e.g. ``"02"``, or its whole name.
    profile
        ``"quick"`` or ``"full"``.
    course
        Another course file, for tests.

    Raises
    ------
    ValueError
        If ``course.yml`` has no such chapter, or the chapter no such profile.
    """
    names = []
    for entry in read_course(course):
        names.append(entry["name"])
        if entry["name"] == chapter or entry["name"].split("_")[0] == chapter:
            if profile not in entry["profiles"]:
                known = ", ".join(sorted(entry["profiles"]))
                raise ValueError(f"profile {profile!r} is unknown; chapter {chapter} has {known}")
            numbers = entry.get("numbers") or {}
            return {name: tuple(n[profile]) for name, n in numbers.items() if profile in n}
    raise ValueError(f"course.yml has no chapter {chapter!r}; it has {', '.join(names)}")


def in_band(value: float, band: tuple[float, float]) -> bool:
    """Tell whether low ≤ value ≤ high; a NaN lies in no band."""
    return band[0] <= value <= band[1]


def record(chapter: str, profile: str = "quick", **numbers: float) -> None:
    """Record the headline numbers of a chapter and show each beside its expected band.

    Parameters
    ----------
    chapter
        The two digits of the chapter, e.g. ``"02"``.
    profile
        Which bands to compare with; a notebook passes its parameter ``profile``.
    numbers
        Named scalars.

    Raises
    ------
    TypeError
        If a value is not one number.
    OutOfBand
        If the environment variable COURSE_STRICT is 1 and a number lies outside its band.
    """
    values = {name: _scalar(name, value) for name, value in numbers.items()}
    expected = bands(chapter, profile)
    lines = [_line(name, value, expected.get(name)) for name, value in values.items()]
    outside = [name for name, value in values.items() if name in expected and not in_band(value, expected[name])]
    header = f"{'number':<34} {'value':>11}   expected ({profile})"
    _emit(NUMBERS_MIME, {"chapter": chapter, "profile": profile, "numbers": values}, "\n".join([header, *lines]))
    if outside and os.environ.get("COURSE_STRICT") == "1":
        raise OutOfBand(
            f"chapter {chapter}: " + "; ".join(f"{n} = {values[n]:.6g}, expected {expected[n]}" for n in outside)
        )


def keep_series(chapter: str, **arrays) -> None:
    """Keep small arrays (curves, tables over seeds) of a chapter, so that a full run stores them.

    Parameters
    ----------
    chapter
        The two digits of the chapter.
    arrays
        Named arrays, lists or nested lists of numbers; kept with six significant digits.

    Raises
    ------
    ValueError
        If one has more than 5,000 entries: stored results are small.
    """
    kept = {}
    for name, values in arrays.items():
        array = np.asarray(values, dtype=float)
        if array.size > 5000:
            raise ValueError(f"series {name!r} has {array.size} entries; keep at most 5,000 (a summary of it)")
        kept[name] = np.vectorize(_round, otypes=[float])(array).tolist()
    shapes = ", ".join(f"{name} {np.shape(values)}" for name, values in kept.items())
    _emit(SERIES_MIME, {"chapter": chapter, "series": kept}, f"kept for the full run: {shapes}")


def keep_scoreboard(chapter: str, table: Mapping[str, Mapping[str, object]], course: Path = COURSE_FILE) -> None:
    """Keep every model's value of every metric, over seeds, as the series ``scoreboard`` of a chapter.

    Parameters
    ----------
    chapter
        The two digits of the chapter.
    table
        model → metric → one number for each seed; the names are those under ``scoreboard`` in ``course.yml``, and every
        model has every metric.
    course
        Another course file, for tests.

    Raises
    ------
    ValueError
        If ``course.yml`` announces no scoreboard, a model or metric is missing or unknown, a value is not finite, or
        the numbers of seeds differ.
    """
    models, metrics = announced_scoreboard(chapter, course)
    _same_names("models", models, table)
    rows = []
    for model in models:
        _same_names(f"metrics of {model!r}", [metric["name"] for metric in metrics], table[model])
        rows.append([np.atleast_1d(np.asarray(table[model][metric["name"]], dtype=float)) for metric in metrics])
    seeds = {len(values) for row in rows for values in row}
    if len(seeds) != 1:
        raise ValueError(f"every entry of the scoreboard needs equally many seeds, got {sorted(seeds)}")
    values = np.array(rows)
    if not np.isfinite(values).all():
        i, j, _ = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"{metrics[j]['name']} of {models[i]!r} is {values[i, j].tolist()}: not finite")
    keep_series(chapter, scoreboard=values)


def announced_scoreboard(chapter: str, course: Path = COURSE_FILE) -> tuple[list[str], list[dict]]:
    """Return the models and metrics (``name``, ``label``, ``unit``, ``better``) that ``course.yml`` announces.

    Raises
    ------
    ValueError
        If the chapter announces no scoreboard.
    """
    for entry in read_course(course):
        if entry["name"].split("_")[0] == chapter and "scoreboard" in entry:
            return entry["scoreboard"]["models"], entry["scoreboard"]["metrics"]
    raise ValueError(f"course.yml announces no scoreboard for chapter {chapter!r}")


@dataclass(frozen=True)
class Scoreboard:
    """Every model judged by every metric; ``values`` is (models, metrics, seeds), false if nothing is stored."""

    models: list[str]
    metrics: list[dict]
    values: np.ndarray

    def __bool__(self) -> bool:
        return self.values.size > 0

    def ranks(self) -> np.ndarray:
        """Return (models, metrics) ranks of the means, 1 for the best; NaN for a metric of which no end is better."""
        from scipy.stats import rankdata

        signs = np.array([{"high": -1.0, "low": 1.0}.get(metric["better"], np.nan) for metric in self.metrics])
        return rankdata(signs * self.values.mean(2), axis=0, nan_policy="propagate")


def scoreboard(chapter: str = "07", folder: Path = FULL_RESULTS, course: Path = COURSE_FILE) -> Scoreboard:
    """Read the scoreboard of a stored full run; an empty one, which is false, if there is none."""
    models, metrics = announced_scoreboard(chapter, course)
    return Scoreboard(models, metrics, full(chapter, folder).series.get("scoreboard", np.zeros((0, 0, 0))))


def _same_names(what: str, expected: list[str], found: Mapping) -> None:
    if set(expected) != set(found):
        missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        raise ValueError(f"{what} are not those of course.yml: missing {missing}, unknown {unknown}")


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
        data = self.parameters.get("dataset", "embedded data")
        return (
            f"stored full run: {data}, {self.minutes:.0f} min on {self.machine.get('processor', 'an unnamed machine')}"
        )


def full(chapter: str, folder: Path = FULL_RESULTS) -> FullRun:
    """Read the stored full run of a chapter (``notebooks/full_results/NN.json``).

    Parameters
    ----------
    chapter
        The two digits of the chapter, or its whole name.
    folder
        Where the files lie.

    Returns
    -------
    FullRun
        With ``numbers``, ``series`` (as arrays), ``parameters``, ``machine``, ``versions``,
        ``minutes``; an empty one, which is false, if the file is not there.
    """
    path = Path(folder) / f"{chapter.split('_')[0]}.json"
    if not path.exists():
        return FullRun()
    stored = json.loads(path.read_text(encoding="utf-8"))
    known = {name: stored[name] for name in ("numbers", "parameters", "machine", "versions", "minutes")}
    return FullRun(series={name: np.asarray(values) for name, values in stored["series"].items()}, **known)


def from_notebook(notebook: Mapping) -> tuple[dict[str, float], dict[str, list]]:
    """Collect what ``record`` and ``keep_series`` left in the outputs of an executed notebook.

    Parameters
    ----------
    notebook
        A notebook as nbformat reads it.

    Returns
    -------
    tuple
        Numbers and series, by name; of a name recorded twice, the later value.
    """
    numbers, series = {}, {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            numbers.update(_payload(data, NUMBERS_MIME).get("numbers", {}))
            series.update(_payload(data, SERIES_MIME).get("series", {}))
    return numbers, series


def _payload(data: Mapping, mime: str) -> dict:
    payload = data.get(mime, {})
    return json.loads(payload) if isinstance(payload, str) else payload


def _emit(mime: str, payload: dict, text: str) -> None:
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:  # a plain Python program
        print(text)
        return
    display({"text/plain": text, mime: payload}, raw=True)


def _line(name: str, value: float, band: tuple[float, float] | None) -> str:
    if band is None:
        return f"{name:<34} {value:>11.5g}   no band yet"
    verdict = "ok" if in_band(value, band) else "OUTSIDE"
    return f"{name:<34} {value:>11.5g}   {band[0]:g} … {band[1]:g}  {verdict}"


def _scalar(name: str, value) -> float:
    try:
        if not isinstance(value, str):
            return float(value)  # of an array or tensor, only if it holds one number
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TypeError(f"{name} = {value!r} is not one number; give a scalar, or keep_series for arrays")


def _round(value: float) -> float:
    return float(f"{value:.6g}")
