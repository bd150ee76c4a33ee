"""Diagrams of models and mechanisms: boxes, the narrowing and widening shapes of networks, and arrows between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from course_utils.plots import COLOURS

#: Corners (x, y) of each shape, in half widths and half heights of its box.
SHAPES = {
    "box": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "narrowing": ((-1, -1), (1, -0.55), (1, 0.55), (-1, 1)),  # an encoder, read from the left
    "widening": ((-1, -0.55), (1, -1), (1, 1), (-1, 0.55)),  # a decoder
}

Place = tuple[float, float, float, float]  # centre and half sizes, in inches


def draw_diagram(
    boxes: Mapping[str, Sequence[Any]],
    arrows: Sequence[Sequence[Any]],
    *,
    size: tuple[float, float],
    title: str = "",
    fontsize: float = 13,
) -> Figure:
    """Draw labelled boxes and arrows between them on a figure of ``size`` (width, height) inches.

    ``boxes``: name → (x, y, text, colour) or (x, y, text, colour, shape), the centre in inches from the lower left
    corner, the colour one of ``COLOURS``, the shape one of ``SHAPES`` or "plain" for text alone. ``arrows``: (from, to)
    or (from, to, label) or (from, to, label, style), style "-" or "--". An unknown name of a box, colour or shape is a
    ``ValueError``.
    """
    figure, axis = plt.subplots(figsize=size, layout="none")
    axis.set_position((0, 0, 1, 1))
    axis.set(xlim=(0, size[0]), ylim=(0, size[1]))
    axis.set_axis_off()
    places = {name: _draw_box(axis, name, box, fontsize) for name, box in boxes.items()}
    for start, end, *rest in arrows:
        if unknown := [name for name in (start, end) if name not in places]:
            raise ValueError(f"an arrow leads to {unknown[0]!r}, which is none of {', '.join(places)}")
        label, style = rest[0] if rest else "", rest[1] if len(rest) > 1 else "-"
        _draw_arrow(axis, places[start], places[end], label, style, fontsize)
    if title:
        axis.text(size[0] / 2, size[1] - 0.08, title, ha="center", va="top", fontsize=fontsize + 1)
    plt.close(figure)
    return figure


def _draw_box(axis: Axes, name: str, box: Sequence[Any], fontsize: float) -> Place:
    x, y, text, colour = box[:4]
    shape = box[4] if len(box) > 4 else "box"
    if colour not in COLOURS or shape not in {*SHAPES, "plain"}:
        raise ValueError(f"box {name!r} has the colour {colour!r} and the shape {shape!r}; see COLOURS and SHAPES")
    letters = COLOURS[colour if shape == "plain" else "data"]  # dark in a coloured frame: easier to read
    words = axis.text(x, y, text, ha="center", va="center", fontsize=fontsize, color=letters, zorder=3)
    extent = words.get_window_extent()  # pixels
    half_width, half_height = extent.width / axis.figure.dpi / 2 + 0.12, extent.height / axis.figure.dpi / 2 + 0.1
    if shape in ("narrowing", "widening"):
        half_width, half_height = 1.15 * half_width, 1.45 * half_height  # the slanting sides leave less room
    if shape != "plain":
        corners = [(x + dx * half_width, y + dy * half_height) for dx, dy in SHAPES[shape]]
        axis.add_patch(Polygon(corners, facecolor="white", edgecolor=COLOURS[colour], linewidth=1.8, zorder=2))
    return x, y, half_width, half_height


def _draw_arrow(axis: Axes, start: Place, end: Place, label: str, style: str, fontsize: float) -> None:
    first, last = _edge(start, end), _edge(end, start)
    look = {"arrowstyle": "-|>", "color": COLOURS["data"], "linestyle": style, "linewidth": 1.3}
    axis.annotate("", xy=last, xytext=first, arrowprops=look | {"shrinkA": 2, "shrinkB": 2}, zorder=1)
    if label:
        x, y = (first[0] + last[0]) / 2, (first[1] + last[1]) / 2
        background = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        if abs(last[1] - first[1]) < abs(last[0] - first[0]):
            y += 0.14  # above a level arrow, on a steep one
        axis.text(x, y, label, ha="center", va="center", fontsize=fontsize - 1, zorder=4, bbox=background)


def _edge(place: Place, towards: Place) -> tuple[float, float]:
    """Return where the line from the middle of one box to that of another leaves the first."""
    x, y, half_width, half_height = place
    dx, dy = towards[0] - x, towards[1] - y
    share = min(half_width / abs(dx) if dx else np.inf, half_height / abs(dy) if dy else np.inf)
    return x + share * dx, y + share * dy
