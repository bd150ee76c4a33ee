"""Tables of the README, made from course.yml and the stored full results.

`course list --markdown` prints that of the chapters, `course scoreboard --markdown` that of the models.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
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


def scoreboard_table(source: Path) -> str:
    """Return a Markdown table of every model and metric of the stored scoreboard; a sentence if none is stored.

    Parameters
    ----------
    source
        Folder with ``course.yml`` and ``full_results/``.

    Returns
    -------
    str
        One row per model, mean ± standard deviation over the seeds, in the order of ``course.yml``.
    """
    for chapter in read_course(source):
        path = Path(source) / "full_results" / f"{chapter['name'].split('_')[0]}.json"
        if "scoreboard" in chapter and path.exists():
            series = json.loads(path.read_text(encoding="utf-8"))["series"]
            if "scoreboard" in series:
                return _markdown(*scoreboard_cells(chapter["scoreboard"], series["scoreboard"]))
    return "No scoreboard is stored yet.\n"


def scoreboard_cells(announced: dict, values: Sequence) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a scoreboard in words.

    Parameters
    ----------
    announced
        What ``course.yml`` says: ``models``, and ``metrics`` with ``label``, ``unit``, ``better``.
    values
        (models, metrics, seeds).
    """
    arrows = {"high": "↑", "low": "↓"}
    head = ["model"]
    for metric in announced["metrics"]:
        unit = f" ({metric['unit']})" if metric.get("unit") else ""
        head.append(f"{metric['label']}{unit} {arrows.get(metric['better'], '')}".strip())
    rows = [
        [model, *(_with_spread(seeds) for seeds in row)] for model, row in zip(announced["models"], values, strict=True)
    ]
    return head, rows


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _with_spread(seeds: Sequence[float]) -> str:
    """Return mean ± standard deviation, to the first digit of the spread; three digits of a single value."""
    mean = statistics.fmean(seeds)
    spread = statistics.stdev(seeds) if len(seeds) > 1 else 0.0
    scale = spread or abs(mean) / 100 or 1.0
    digits = min(max(0, -math.floor(math.log10(scale))), 3)
    words = f"{mean:.{digits}f}".replace("-", "−")
    return f"{words} ± {spread:.{digits}f}" if spread else words
