"""A workbook: a person's own copy of the notebooks, which no update of the course and no command writes over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from course_utils.runtime import ROOT, replacing
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Chapter
from course_utils.tools.folders import BUILD, NotOurs

NOTE = ".workbook.json"  # in a workbook: of each notebook, the version of the course's that it was copied from
LAST = ROOT / ".workbook"  # where the workbook lies that was started last


def start(chapters: Sequence[Chapter], folder: Path, *, solutions: bool = True) -> list[str]:
    """Copy notebooks that a folder lacks, without outputs; return a line about each that was not copied, and why.

    What is there stays as it is. The folders of the course's own notebooks and products are ``NotOurs``.
    """
    folder = Path(folder).resolve()
    source = {place for chapter in chapters for place in (chapter.path.parent.resolve(), BUILD.resolve())}
    if source & {folder, *folder.parents}:
        raise NotOurs(f"{folder} belongs to the course; choose a folder of your own, such as {ROOT / 'my-course'}")
    lines, note = [], _read(folder / NOTE)
    for chapter in chapters:
        for place in (chapter.path, *([chapter.path.parent / "solutions" / chapter.path.name] if solutions else [])):
            if not place.exists():
                continue
            name = place.relative_to(chapter.path.parent).as_posix()
            fresh = without_outputs(notebooks.read(place))
            version = hashlib.sha256(notebooks.to_bytes(fresh)).hexdigest()
            if not (folder / name).exists():
                notebooks.write(folder / name, fresh)
                note[name] = version
            elif note.get(name, version) != version:
                lines.append(f"{name}: the course has another version now; yours is kept. Rename it to get the new one")
            else:
                lines.append(f"{name}: yours is kept")
    for path, text in ((folder / NOTE, json.dumps(note, indent=1)), (LAST, str(folder))):
        with replacing(path) as file:
            file.write(text.encode("utf-8"))
    return lines


def without_outputs(notebook: dict) -> dict:
    """Return a copy of a notebook as if it had never been run."""
    twin = notebooks.copy(notebook)
    for cell in notebooks.code_cells(twin):
        cell |= {"outputs": [], "execution_count": None}
    twin["metadata"].pop("widgets", None)
    return twin


def last() -> Path:
    """Return the workbook that was started last, or the course's own notebooks if there is none."""
    place = Path(LAST.read_text(encoding="utf-8")) if LAST.exists() else ROOT / "notebooks"
    return place if place.is_dir() else ROOT / "notebooks"


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
