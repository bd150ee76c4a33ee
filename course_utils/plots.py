"""Figures from arrays or tensors: every function returns a matplotlib ``Figure``; nothing here computes results.

A returned figure is closed in pyplot, so a notebook shows it once, as the value of the cell. ``axis`` draws into axes
that are there. The colours of Okabe & Ito, and the ten for classes, can be told apart with the common kinds of colour
blindness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: One colour for each thing that recurs in the course.
COLOURS = {"data": "#333333", "truth": "#333333", "pixels": "#6E6E6E", "pca": "#E69F00", "linear": "#56B4E9"}
COLOURS |= {"autoencoder": "#0072B2", "model": "#0072B2", "train": "#0072B2", "vae": "#009E73"}
COLOURS |= {"valid": "#D55E00", "wrong": "#D55E00", "other": "#CC79A7"}

#: Ten classes, 0 … 9: found by a search for ten whose nearest pair is far apart in normal and in colour-blind eyes.
CLASS_COLOURS: tuple[str, ...] = ("#4801D1", "#9BC201", "#5B234A", "#5DBFF2", "#363800")
CLASS_COLOURS += ("#C4B19D", "#506855", "#B96D92", "#7E812F", "#5770FC")

#: Fonts with Korean letters, of which one is on most machines.
HANGUL = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "AppleGothic", "Apple SD Gothic Neo")

#: Markers for the lines of one figure, so that colour is never the only difference.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def use_style() -> None:
    """Set the style of the course for every figure that follows: sizes readable at half size, light grid."""
    style: dict[Any, Any] = {"font.size": 12, "axes.titlesize": 12, "lines.linewidth": 2, "legend.frameon": False}
    style |= {"axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.7, "axes.axisbelow": True}
    style |= {"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True}
    there = set(font_manager.get_font_names())  # the first of these draws what its predecessor lacks, as Hangul
    fonts = [font for font in ("DejaVu Sans", *HANGUL) if font in there]
    plt.rcParams.update(style | {"font.family": fonts} | {"image.cmap": "gray", "figure.dpi": 100})


def show_images(
    images: Any, *, columns: int = 10, titles: Sequence[str] | None = None, title: str = "", scale: float = 0.9
) -> Figure:
    """Show images (N, C, H, W) or (N, H, W), uint8, or floats of which [0, 1] is shown, in rows of ``columns``.

    ``scale`` is the width of an image in inches. No images, or different sizes, are a ``ValueError``.
    """
    pictures = [as_picture(image) for image in images]
    sizes = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes) != 1:
        raise ValueError(f"pictures of different sizes: {sizes}" if sizes else "there are no images to show")
    height, width = sizes[0]
    columns, space = min(columns, len(pictures)), round((0.35 if titles else 0.08) * width)
    rows, depth = -(-len(pictures) // columns), 3 if any(picture.ndim == 3 for picture in pictures) else 1
    tiles = np.ones((rows, columns, space + height, space + width, depth))
    for k, picture in enumerate(pictures):
        tiles[k // columns, k % columns, space:, space:] = picture.reshape(height, width, -1)
    canvas = tiles.swapaxes(1, 2).reshape(rows * (space + height), -1, depth)[:, space:]
    inch = scale / (width + space)
    size = (canvas.shape[1] * inch + 0.1, canvas.shape[0] * inch + (0.35 if title else 0.05))
    figure, axis = plt.subplots(figsize=size)  # one picture draws much faster than axes for each image
    axis.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set(xticks=[], yticks=[], title=title)
    for k, text in enumerate(titles or ()):
        x, y = k % columns * (width + space) + width / 2, k // columns * (space + height) + space - 0.5
        axis.text(x, y, text, ha="center", va="bottom", fontsize=10)
    return _done(figure)


def show_rows(rows: Mapping[str, Any], *, columns: int = 10, title: str = "", scale: float = 0.9) -> Figure:
    """Show sets of images, name → images as in ``show_images``, as labelled rows: originals above reconstructions.

    All rows are cut to ``columns``, or to the shortest of them. No rows, or an empty row, are a ``ValueError``.
    """
    empty = [name for name, images in rows.items() if len(images) == 0]
    if empty or not rows:
        raise ValueError(f"rows without images: {empty}" if empty else "there are no rows to show")
    columns = min(columns, *(len(images) for images in rows.values()))
    pictures = [as_picture(image) for images in rows.values() for image in images[:columns]]
    figure = show_images(pictures, columns=columns, title=title, scale=scale)
    figure.set_figwidth(figure.get_figwidth() + 0.1 * max(map(len, rows)))  # inches for the names
    axis = figure.axes[0]
    bottom, top = axis.get_ylim()
    axis.set_yticks(np.linspace(top, bottom, len(rows) + 1)[1:] - len(pictures[0]) / 2, list(rows))
    axis.tick_params(axis="y", length=0)
    return figure


def plot_curves(
    x: Any,
    curves: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str,
    colours: Mapping[str, str] | None = None,
    log: str = "",
    title: str = "",
    axis: Axes | None = None,
) -> Figure:
    """Draw curves over x (K,): name → (K,), or (runs, K), of which the mean and a band of one deviation are drawn.

    ``colours`` name → colour, where names of ``COLOURS`` find theirs by themselves; ``log`` is "x", "y" or "xy" for
    logarithmic axes. A curve not as long as x is a ``ValueError``.
    """
    x = _as_array(x)
    runs = _runs(curves, len(x), colours)
    figure, axis = plt.subplots(figsize=(6.5, 4)) if axis is None else (axis.figure, axis)
    for (name, mean, spread, colour), marker in zip(runs, cycle(MARKERS), strict=False):
        axis.plot(x, mean, color=colour, marker=marker, markersize=5, label=name)
        axis.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    scales = {f"{name}scale": "log" if name in log else "linear" for name in "xy"}
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, **scales)
    if "x" in log:
        axis.set_xticks(x, [f"{value:g}" for value in x])
        axis.minorticks_off()
    axis.legend()
    return _done(figure)


def plot_bars(
    groups: Sequence[str],
    bars: Mapping[str, Any],
    *,
    ylabel: str,
    xlabel: str = "",
    colours: Mapping[str, str] | None = None,
    form: str = "",
    log: bool = False,
    title: str = "",
    axis: Axes | None = None,
) -> Figure:
    """Draw bars side by side in G groups: name → (G,), or (runs, G), of which mean and standard deviation are drawn.

    ``form`` writes each height above its bar, e.g. ".2f"; ``log`` makes the vertical axis logarithmic; ``colours`` are
    as in ``plot_curves``. Other than G heights are a ``ValueError``.
    """
    runs = _runs(bars, len(groups), colours)
    figure, axis = plt.subplots(figsize=(6.5, 4)) if axis is None else (axis.figure, axis)
    step = 0.8 / len(runs)
    for k, (name, mean, spread, colour) in enumerate(runs):
        places = np.arange(len(groups)) + step * (k - (len(runs) - 1) / 2)
        drawn = axis.bar(places, mean, 0.95 * step, yerr=spread if np.any(spread) else None, color=colour, label=name)
        if form:
            axis.bar_label(drawn, fmt=f"{{:{form}}}", padding=1, fontsize=9)
    axis.set_xticks(range(len(groups)), groups, fontsize=10)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale="log" if log else "linear")
    axis.legend()
    return _done(figure)


def plot_latents(codes: Any, labels: Any, *, axis: Axes | None = None, title: str = "", limit: int = 3000) -> Figure:
    """Draw codes (N, 2), coloured by labels (N,) in 0 … 9, with each label at the median of its codes.

    At most ``limit`` points are drawn, taken evenly from all. Other shapes are a ``ValueError``.
    """
    codes, labels = _as_array(codes), _as_array(labels)
    if codes.shape != (len(labels), 2) or labels.ndim != 1:
        raise ValueError(f"codes have shape {codes.shape}, labels {labels.shape}; expected (N, 2) and (N,)")
    figure, axis = plt.subplots(figsize=(5.2, 5)) if axis is None else (axis.figure, axis)
    shown = np.linspace(0, len(codes) - 1, min(limit, len(codes))).astype(int)  # evenly: data may be sorted by class
    colours = np.array(CLASS_COLOURS)[labels[shown].astype(int) % 10]
    axis.scatter(codes[shown, 0], codes[shown, 1], c=colours, s=7, alpha=0.7, linewidths=0)
    for label in np.unique(labels).astype(int):
        middle = np.median(codes[labels == label], axis=0)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": CLASS_COLOURS[label % 10]}
        axis.text(middle[0], middle[1], str(label), ha="center", va="center", fontweight="bold", bbox=box)
    axis.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
    return _done(figure)


def plot_decoded_grid(images: Any, z1: Any, z2: Any, *, axis: Axes | None = None, title: str = "") -> Figure:
    """Show images (len(z2) · len(z1), 1, H, W) or (…, H, W), row after row, each at the place of its code.

    ``z1`` and ``z2``, two or more evenly spaced coordinates of columns and rows; another number is a ``ValueError``.
    """
    z1, z2 = _as_array(z1), _as_array(z2)
    if min(len(z1), len(z2)) < 2:
        raise ValueError(f"a grid of {len(z2)} × {len(z1)}; it needs at least two columns and two rows")
    pictures = [as_picture(image) for image in images]
    if len(pictures) != len(z1) * len(z2):
        raise ValueError(f"{len(pictures)} images for a grid of {len(z2)} × {len(z1)}")
    figure, axis = plt.subplots(figsize=(6, 6)) if axis is None else (axis.figure, axis)
    canvas = np.vstack([np.hstack(pictures[r * len(z1) : (r + 1) * len(z1)]) for r in reversed(range(len(z2)))])
    half1, half2 = (z1[1] - z1[0]) / 2, (z2[1] - z2[0]) / 2
    extent = (z1[0] - half1, z1[-1] + half1, z2[0] - half2, z2[-1] + half2)
    axis.imshow(canvas, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    axis.grid(False)
    axis.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
    return _done(figure)


def as_picture(image: Any) -> np.ndarray:
    """Turn one image (C, H, W), (H, W) or (H, W, 3), else ``ValueError``, into (H, W) or (H, W, 3) floats in [0, 1]."""
    array = _as_array(image)
    array = array / 255.0 if array.dtype == np.uint8 else array.astype(float)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        raise ValueError(f"cannot show an image of shape {array.shape}; give (C, H, W) with C = 1 or 3, or (H, W)")
    return array.clip(0, 1)


def _runs(named: Mapping[str, Any], length: int, colours: Mapping[str, str] | None) -> list[tuple[str, Any, Any, str]]:
    """Return name, mean, standard deviation (0 of one run) and colour of each (length,) or (runs, length)."""
    found = []
    for k, (name, values) in enumerate(named.items()):
        runs = np.atleast_2d(_as_array(values))
        if runs.shape[1] != length:
            raise ValueError(f"{name!r} has {runs.shape[1]} values, expected {length}")
        spread = runs.std(0, ddof=1) if len(runs) > 1 else 0.0
        found.append((name, runs.mean(0), spread, (colours or {}).get(name) or COLOURS.get(name) or f"C{k}"))
    return found


def _as_array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _done(figure: Any) -> Figure:
    plt.close(figure)
    return figure
