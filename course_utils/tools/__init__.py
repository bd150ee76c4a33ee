"""What runs the course: the command ``course`` and its parts; no notebook imports anything from here.

Modules here import PyTorch only inside functions, so that ``course doctor`` works where PyTorch does not.
This file holds what they share: where the course lies, and how its small files are read and written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

#: The root of the repository, the same as ``runtime.ROOT``, known here without importing PyTorch.
ROOT = Path(__file__).resolve().parents[2]


def cores() -> int:
    """Return the number of processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_course(source: Path) -> list[dict]:
    """Return the chapters of ``course.yml`` in a folder, without importing PyTorch as ``results`` does.

    Raises
    ------
    FileNotFoundError
        If the folder holds no ``course.yml``.
    """
    import yaml

    path = Path(source) / "course.yml"
    if not path.exists():
        raise FileNotFoundError(f"{source} holds no course.yml, which lists the chapters; give another --source")
    return yaml.safe_load(path.read_text(encoding="utf-8"))["chapters"]


def read_results(output: Path) -> dict[str, dict]:
    """Return the chapters in ``results.json`` by name; empty if there is none, or not a readable one."""
    try:
        entries = json.loads((Path(output) / "results.json").read_text(encoding="utf-8"))["chapters"]
    except (OSError, ValueError, KeyError):
        return {}
    return {entry["name"]: entry for entry in entries}


def write_json(path: Path, content) -> None:
    """Write JSON as ``write_text`` does."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write under a temporary name and rename: a reader sees the old file or the new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
