"""One chapter, one shape at a time: ``Chapter`` (course.yml) → ``Plan`` (what is asked) → ``Result`` (what came out).

All three are values that nobody changes. ``judge`` compares numbers with a plan; run, resume and report share it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from course_utils.results import in_band, read_course
from course_utils.runtime import ROOT, replacing
from course_utils.tools import notebook as notebooks

#: What chapters import; a change in it, except in its tools, makes ``--resume`` run them again.
PACKAGE = ROOT / "course_utils"
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "scikit-image", "matplotlib", "mlxtend")
#: Statuses with which a chapter ran to its end, so that its numbers can be judged anew.
RAN = ("ok", "out of band", "missing numbers")
Band = tuple[float, float]


@dataclass(frozen=True)
class Chapter:
    """What ``course.yml`` says of one chapter, and where its notebook lies."""

    name: str
    title: str
    path: Path
    read_minutes: float | None = None
    needs: Sequence[str] = ()
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scoreboard: Mapping[str, Any] | None = None

    @property
    def number(self) -> str:
        """The digits before the name, e.g. "02"."""
        return self.name.split("_")[0]

    def minutes(self, profile: str) -> float | None:
        """Return the stated minutes of a profile, if there are any."""
        return (self.profiles.get(profile) or {}).get("minutes")

    @property
    def counted(self) -> frozenset[str]:
        """Numbers with a threshold, ``above``, in place of a band: how often they pass it is counted over seeds."""
        return frozenset(name for name, facts in self.numbers.items() if "above" in facts)

    def bands(self, profile: str) -> dict[str, Band]:
        """Return the expected band of every number in a profile."""
        return {name: tuple(facts[profile]) for name, facts in self.numbers.items() if profile in facts}


class NoCourse(FileNotFoundError):
    """There is no course.yml, or none that can be read; the message names it."""


def read_chapters(source: Path) -> list[Chapter]:
    """Return the chapters of ``course.yml`` in a folder; ``NoCourse`` if it has none, or a damaged one."""
    path = Path(source) / "course.yml"
    if not path.exists():
        raise NoCourse(f"{source} holds no course.yml, which lists the chapters; give another --source")
    known = {each.name for each in fields(Chapter)}
    chapters = []
    try:
        for entry in read_course(path):
            own = {key: value for key, value in entry.items() if key in known and value is not None}
            chapters.append(Chapter(**{"title": entry["name"], "path": path.with_name(f"{entry['name']}.ipynb")} | own))
            for profile in chapters[-1].profiles:
                float(chapters[-1].minutes(profile) or 0)
                [(low, high) for low, high in chapters[-1].bands(profile).values()]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NoCourse(f"{path} is damaged ({type(error).__name__}: {reason}); mend it, or take that of git") from error
    return chapters


@dataclass(frozen=True)
class Plan:
    """What is asked of one chapter: its parameters, what is expected, and a key for all that decides its numbers.

    ``notebook`` and ``key`` are empty if there is none, or one with a ``fault``. With ``overridden`` parameters the
    numbers are not compared.
    """

    chapter: Chapter
    profile: str
    parameters: Mapping[str, Any]
    overridden: bool
    bands: Mapping[str, Band]
    notebook: bytes
    key: str
    fault: str = ""

    @property
    def name(self) -> str:
        """The name of the chapter."""
        return self.chapter.name

    @property
    def counted(self) -> frozenset[str]:
        """Numbers that one run does not judge: those of the quick profile that are counted over seeds."""
        return self.chapter.counted - set(self.bands)

    @property
    def minutes(self) -> float:
        """The minutes that ``course.yml`` states; two if it states none."""
        return float(self.chapter.minutes(self.profile) or 2)

    @property
    def cell_seconds(self) -> float:
        """The seconds that a cell may take if nothing else is said: ten times the stated minutes, at least 300 s."""
        return max(300.0, 600 * self.minutes)


def plan(chapter: Chapter, profile: str, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Plan one chapter in a profile ("quick" injects nothing of its own), with parameters given by hand."""
    parameters = dict((chapter.profiles.get(profile) or {}).get("parameters") or {})
    if profile != "quick":
        parameters["profile"] = profile
    parameters |= overrides or {}
    asked = (chapter, profile, parameters, bool(overrides), chapter.bands(profile))
    try:
        content = chapter.path.read_bytes()
        return Plan(*asked, content, _key(notebooks.parse(content, chapter.path), parameters, chapter.path.parent))
    except FileNotFoundError:
        return Plan(*asked, b"", "", f"there is no notebook {chapter.path}")
    except (OSError, notebooks.NotebookError) as error:
        return Plan(*asked, b"", "", str(error))


def _key(notebook: dict, parameters: Mapping[str, Any], folder: Path) -> str:
    """Return a hash of what decides a chapter's numbers: cells, parameters, package, versions, data files, device."""
    cells = [[cell["cell_type"], notebooks.source(cell)] for cell in notebook["cells"]]
    digest = hashlib.sha256(json.dumps([cells, dict(parameters)], sort_keys=True, default=str).encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] != "tools":
            digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    around = [[_version(name) for name in LIBRARIES], _data_files(parameters, folder)]
    digest.update(json.dumps([*around, os.environ.get("COURSE_DEVICE", "")]).encode())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} missing"


def _data_files(parameters: Mapping[str, Any], folder: Path) -> list[str]:
    """Return path, size and time of the files of every parameter that is a path, as seen from the notebook's folder."""
    places = [folder / value for value in parameters.values() if isinstance(value, str) and value]
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]


@dataclass(frozen=True)
class Result:
    """What came out of one chapter: a row of ``results.json``."""

    name: str
    status: str
    title: str = ""
    profile: str = "quick"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    overridden: bool = False
    bands: Mapping[str, Band] = field(default_factory=dict)
    key: str = ""
    message: str = ""
    minutes: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)
    traceback: str = ""
    date: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, asked: Plan, status: str, message: str = "", **facts: Any) -> Result:
        """Return the result of a plan."""
        same = {name: getattr(asked, name) for name in ("profile", "parameters", "overridden", "bands", "key")}
        return cls(asked.name, status, asked.chapter.title, message=message, **same, **facts)


def read_results(folder: Path) -> list[Result]:
    """Return what ``results.json`` in a folder holds, also one of an earlier version; nothing if it cannot be read."""
    known = {each.name for each in fields(Result)}
    results = []
    try:
        for row in json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))["chapters"]:
            own = {name: value for name, value in row.items() if name in known}
            bands = {name: tuple(band) for name, band in row.get("bands", {}).items()}
            results.append(Result(**own | {"bands": bands}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return results


def write_results(folder: Path, results: Sequence[Result], order: Sequence[str]) -> None:
    """Write ``results.json``, its chapters in the given order of names and others at the end."""
    names = [*order, *(result.name for result in results)]
    rows = [asdict(result) for result in sorted(results, key=lambda result: names.index(result.name))]
    with replacing(Path(folder) / "results.json") as file:
        file.write((json.dumps({"chapters": rows}, indent=1, ensure_ascii=False, default=str) + "\n").encode())


@dataclass(frozen=True)
class Verdict:
    """How recorded numbers stand against their bands: "ok", "out of band" or "missing numbers", and in words why."""

    status: str
    message: str
    #: Number → "in band", "outside", "not recorded", "no band yet", "counted over seeds" or "not compared".
    each: Mapping[str, str]


def judge(
    bands: Mapping[str, Band],
    numbers: Mapping[str, float],
    *,
    overridden: bool = False,
    counted: Collection[str] = (),
) -> Verdict:
    """Compare the numbers of a chapter that ran to its end with their bands; overridden parameters void the bands.

    One run says nothing of ``counted`` numbers, except whether they were recorded.
    """
    others = sorted(set(counted) - set(bands))
    outside = [name for name in bands if name in numbers and not in_band(numbers[name], bands[name])]
    missing = [name for name in [*bands, *others] if name not in numbers]
    unknown = [name for name in numbers if name not in bands and name not in others]
    each = dict.fromkeys(bands, "in band") | dict.fromkeys(outside, "outside")
    each |= dict.fromkeys(others, "counted over seeds") | dict.fromkeys(missing, "not recorded")
    each |= dict.fromkeys(unknown, "no band yet")
    if overridden:
        each |= dict.fromkeys(bands, "not compared")
        return Verdict("ok", "not compared: parameters overridden", each)
    words = [f"{name} = {numbers[name]:.6g}, expected {in_words(bands[name])}" for name in outside]
    for name in missing:
        expected = f", expected {in_words(bands[name])}" if name in bands else ""
        words.append(f"{name} was not recorded{expected}")
    words += [f"no band yet: {', '.join(unknown)}"] if unknown else []
    return Verdict("out of band" if outside else "missing numbers" if missing else "ok", "; ".join(words), each)


def in_words(band: Band) -> str:
    """Write a band as "low … high"."""
    return f"{band[0]:g} … {band[1]:g}"
