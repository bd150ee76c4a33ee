"""Tables as text and as Markdown; those of the README are made from course.yml and the stored full results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_utils.results import full, over_seeds, over_seeds_in_words
from course_utils.tools.chapter import read_chapters

Rows = Sequence[Sequence[str]]


def as_text(rows: Rows, align: str = "<") -> str:
    """Return rows of cells as lines, two spaces between the columns.

    ``align`` has "<" or ">" for each column; those it has none for stand to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = align.ljust(len(widths), ">")
    lines = ("  ".join(f"{cell:{side}{w}}" for cell, side, w in zip(row, sides, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(rows: Rows) -> str:
    """Return rows of cells, the first of them the head, as a Markdown table."""
    head, *body = rows
    return "".join("| " + " | ".join(cells) + " |\n" for cells in [head, ["---"] * len(head), *body])


def chapter_table(source: Path) -> str:
    """Return a Markdown table of the chapters and their minutes."""
    rows = [["", "chapter", "read", "run (quick / full)"]]
    for chapter in read_chapters(source):
        minutes = " / ".join(f"{chapter.minutes(profile):g}" for profile in ("quick", "full"))
        link = f"[{chapter.title}](notebooks/{chapter.path.name})"
        rows.append([chapter.number, link, f"{chapter.read_minutes} min", f"{minutes} min"])
    return as_markdown(rows)


def headline_table(source: Path) -> str:
    """Return a Markdown table of the headline numbers: in the stored full run, and over seeds in the quick profile."""
    rows = [["", "number", "full run", "quick run: mean ± std (seeds)"]]
    for chapter in read_chapters(source):
        stored = full(chapter.number, Path(source) / "full_results").numbers
        for name, facts in chapter.numbers.items():
            unit = f" ({facts['unit']})" if facts.get("unit") else ""
            value = (
                f"{stored[name]:#.3g}".removesuffix(".") if name in stored else ""
            )  # no bare point after whole numbers
            kept = over_seeds(chapter.number, name, Path(source) / "spread")
            quick = over_seeds_in_words(kept, facts.get("above")) if kept.size else ""
            if facts.get("headline") and (value or quick):
                rows.append([chapter.number, facts["label"] + unit, value.replace("-", "−"), quick.replace("-", "−")])
    return as_markdown(rows)


def scoreboards(source: Path) -> dict[str, list[list[str]]]:
    """Return, by chapter, head and rows of every stored scoreboard, mean ± standard deviation over seeds."""
    boards = {}
    for chapter in read_chapters(source):
        values = full(chapter.number, source / "full_results").series.get("scoreboard")
        if chapter.scoreboard and values is not None:
            head, rows = scoreboard_cells(chapter.scoreboard, values.tolist())
            boards[f"chapter {chapter.number}"] = [head, *rows]
    return boards


def scoreboard_cells(announced: Mapping[str, Any], values: Sequence) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a scoreboard in words.

    ``announced`` is what ``course.yml`` says: ``models``, and ``metrics`` with ``label``, ``unit``, ``better``;
    ``values`` are (models, metrics, seeds); a quick run may have the first models only.
    """
    arrows = {"high": "↑", "low": "↓"}
    head = ["model"]
    for metric in announced["metrics"]:
        unit = f" ({metric['unit']})" if metric.get("unit") else ""
        head.append(f"{metric['label']}{unit} {arrows.get(metric['better'], '')}".strip())
    models = zip(announced["models"][: len(values)], values, strict=True)
    return head, [[model, *(_with_spread(seeds) for seeds in row)] for model, row in models]


def _with_spread(seeds: Sequence[float]) -> str:
    """Return mean ± standard deviation, to the first digit of the spread; three digits of a single value."""
    mean = statistics.fmean(seeds)
    spread = statistics.stdev(seeds) if len(seeds) > 1 else 0.0
    scale = spread or abs(mean) / 100 or 1.0
    digits = min(max(0, -math.floor(math.log10(scale))), 3)
    words = f"{mean:.{digits}f}".replace("-", "−")
    return f"{words} ± {spread:.{digits}f}" if spread else words
