"""The chapter table of the README, made from course.yml and the stored full results (`course list --markdown`)."""

from __future__ import annotations

import json
from pathlib import Path

from course_utils.tools import read_course


def chapter_table(source: Path) -> str:
    """Return a Markdown table: chapter, minutes, and the headline numbers of its stored full run.

    Parameters
    ----------
    source
        Folder with ``course.yml`` and ``full_results/``. Numbers marked ``headline: true`` are shown.

    Returns
    -------
    str
        One row per chapter; a chapter without a stored full run says so.
    """
    rows = ["| | chapter | read | run (quick / full) | full run: what came out |", "|---|---|---|---|---|"]
    for chapter in read_course(source):
        number = chapter["name"].split("_")[0]
        minutes = " / ".join(f"{chapter['profiles'][profile]['minutes']:g}" for profile in ("quick", "full"))
        link = f"[{chapter['title']}](notebooks/{chapter['name']}.ipynb)"
        rows.append(
            f"| {number} | {link} | {chapter['read_minutes']} min | {minutes} min | {_headline(source, chapter)} |"
        )
    return "\n".join(rows) + "\n"


def _headline(source: Path, chapter: dict) -> str:
    path = Path(source) / "full_results" / f"{chapter['name'].split('_')[0]}.json"
    if not path.exists():
        return "no full run stored yet"
    numbers = json.loads(path.read_text(encoding="utf-8"))["numbers"]
    words = []
    for name, entry in chapter["numbers"].items():
        if entry.get("headline") and name in numbers:
            unit = entry.get("unit", "")
            space = " " if unit and unit != "°" else ""
            value = f"{numbers[name]:#.3g}".removesuffix(".")  # three digits, and no bare point after whole numbers
            words.append(f"{entry['label']}: {value}{space}{unit}")
    return " · ".join(words)
