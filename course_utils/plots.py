"""Figures from arrays: every function returns a matplotlib ``Figure``.

Nothing here computes results, but for the mean and spread of several runs that ``plot_curves`` draws.

A returned figure is closed in pyplot, so a notebook shows it once, as the value of the cell.
The same things have the same colours through the whole course (``COLOURS``), chosen from the
palette of Okabe & Ito and, for the ten classes, from Paul Tol's "muted" set; both can be told
apart with the common kinds of colour blindness.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from scipy.special import ndtri

#: One colour for each thing that recurs.
COLOURS = {
    "data": "#333333",
    "pca": "#E69F00",
    "autoencoder": "#0072B2",
    "linear": "#56B4E9",
    "vae": "#009E73",
    "pixels": "#999999",
    "train": "#0072B2",
    "valid": "#D55E00",
    "model": "#0072B2",
    "truth": "#333333",
    "wrong": "#D55E00",
    "other": "#CC79A7",
}

#: Ten classes, 0 … 9.
CLASS_COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#777777",
)  # fmt: skip

#: Markers for the lines of one figure, so that colour is never the only difference.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def use_style() -> None:
    """Set the style of the course for every figure that follows: sizes readable at half size, light grid."""
    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "font.size": 12,
            "axes.titlesize": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.7,
            "axes.axisbelow": True,
            "lines.linewidth": 2,
            "legend.frameon": False,
            "image.cmap": "gray",
            "figure.constrained_layout.use": True,
        }
    )


def show_images(
    images, *, columns: int = 10, titles: Sequence[str] | None = None, title: str | None = None, scale: float = 0.9
) -> Figure:
    """Show images in a grid.

    Parameters
    ----------
    images
        (N, C, H, W) or (N, H, W), tensor or array; uint8, or floats of which [0, 1] is shown.
    columns
        Images per row.
    titles
        One short text above each image.
    title
        Of the whole figure.
    scale
        Width of one image in inches.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no images, or they differ in size.
    """
    pictures = [as_picture(image) for image in images]
    if not pictures:
        raise ValueError("there are no images to show")
    columns = min(columns, len(pictures))
    table = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    gap = 0.35 if titles else 0.08
    figure, axis, centres = _mosaic(table, scale=scale, gap=gap, title=title)
    for (x, top), text in zip(centres, titles or (), strict=False):
        axis.text(x, top, text, ha="center", va="bottom", fontsize=10)
    return _done(figure)


def show_rows(rows: Mapping[str, object], *, columns: int = 10, title: str | None = None, scale: float = 0.9) -> Figure:
    """Show several sets of images as labelled rows, e.g. originals above their reconstructions.

    Parameters
    ----------
    rows
        Name → images (N, C, H, W) or (N, H, W); the first ``columns`` of each are shown, fewer if
        the shortest row has fewer.
    columns, title, scale
        As in ``show_images``.

    Raises
    ------
    ValueError
        If there are no rows, one is empty, or the images differ in size.
    """
    if not rows:
        raise ValueError("there are no rows to show")
    for name, images in rows.items():
        if len(images) == 0:
            raise ValueError(f"the row {name!r} holds no images")
    columns = min(columns, *(len(images) for images in rows.values()))
    table = [[as_picture(image) for image in images[:columns]] for images in rows.values()]
    figure, axis, centres = _mosaic(table, scale=scale, gap=0.08, title=title, left=0.1 * max(map(len, rows)))
    height = table[0][0].shape[0]
    axis.set_yticks([top + height / 2 for _, top in centres[::columns]], list(rows))
    axis.tick_params(axis="y", length=0)
    return _done(figure)


def plot_history(
    history: Sequence[Mapping[str, float]], *, terms: Sequence[str] | None = None, unit: str = ""
) -> Figure:
    """Draw the terms of a history over epochs, training beside validation.

    Parameters
    ----------
    history
        What ``fit`` returned.
    terms
        Which terms, one panel each; all of them if not given.
    unit
        Written on the vertical axes, e.g. ``"nats"``.

    Raises
    ------
    ValueError
        If the history is empty or a term is not in it.
    """
    if not history:
        raise ValueError("the history is empty: no epoch was finished")
    beside = {"epoch", "seconds", "images_per_second"}
    known = [name for name in history[0] if name not in beside and not name.startswith("valid_")]
    for name in terms or ():
        if name not in known:
            raise ValueError(f"the history has no term {name!r}; it has {known}")
    terms = terms or known
    figure, axes = plt.subplots(1, len(terms), figsize=(4.5 * len(terms), 3.2), squeeze=False)
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes.flat, terms, strict=True):
        for key, label, style in ((name, "train", "-"), (f"valid_{name}", "valid", "--")):
            if key in history[0]:
                axis.plot(epochs, [row[key] for row in history], style, color=COLOURS[label], label=label)
        axis.set(xlabel="epoch", ylabel=f"{name} ({unit})" if unit else name)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    return _done(figure)


def plot_curves(
    x,
    curves: Mapping[str, object],
    *,
    xlabel: str,
    ylabel: str,
    colours: Mapping[str, str] | None = None,
    log: str = "",
    title: str | None = None,
    axis: Axes | None = None,
) -> Figure:
    """Draw named curves over x; of several runs, the mean with a band of one standard deviation.

    Parameters
    ----------
    x
        (K,) positions.
    curves
        Name → (K,) values, or (runs, K) values of several runs.
    xlabel, ylabel
        With units.
    colours
        Name → colour; names of ``COLOURS`` find theirs by themselves.
    log
        ``"x"``, ``"y"`` or ``"xy"`` for logarithmic axes.
    title
        Of the axes.
    axis
        Draw into these axes instead of a new figure.

    Raises
    ------
    ValueError
        If a curve is not as long as x.
    """
    x, tables = _as_array(x), {name: np.atleast_2d(_as_array(values)) for name, values in curves.items()}
    for name, runs in tables.items():
        if runs.shape[1] != len(x):
            raise ValueError(f"curve {name!r} has {runs.shape[1]} points, x has {len(x)}")
    figure, axis = plt.subplots(figsize=(6.5, 4)) if axis is None else (axis.figure, axis)
    for k, (name, runs) in enumerate(tables.items()):
        colour = (colours or {}).get(name) or COLOURS.get(name) or f"C{k}"
        mean, spread = runs.mean(0), runs.std(0, ddof=1) if len(runs) > 1 else 0
        axis.plot(x, mean, color=colour, marker=MARKERS[k % len(MARKERS)], markersize=5, label=name)
        axis.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title or "")
    axis.set_xscale("log" if "x" in log else "linear")
    axis.set_yscale("log" if "y" in log else "linear")
    if "x" in log:
        axis.set_xticks(x, [f"{value:g}" for value in x])
        axis.minorticks_off()
    axis.legend()
    return _done(figure)


def plot_bars(
    groups: Sequence[str],
    bars: Mapping[str, object],
    *,
    ylabel: str,
    xlabel: str = "",
    colours: Mapping[str, str] | None = None,
    form: str = "",
    log: bool = False,
    title: str | None = None,
    axis: Axes | None = None,
) -> Figure:
    """Draw bars side by side in G groups: name → (G,) heights, or (runs, G), of which mean and deviation are drawn.

    ``form`` writes each height above its bar, e.g. ".2f"; ``log`` is for the vertical axis; ``colours`` and ``axis`` are
    as in ``plot_curves``. As many heights as groups, else ``ValueError``.
    """
    tables = {name: np.atleast_2d(_as_array(values)) for name, values in bars.items()}
    for name, runs in tables.items():
        if runs.shape[1] != len(groups):
            raise ValueError(f"bars {name!r} have {runs.shape[1]} heights, but there are {len(groups)} groups")
    figure, axis = plt.subplots(figsize=(6.5, 4)) if axis is None else (axis.figure, axis)
    axis.set_yscale("log" if log else "linear")
    step = 0.8 / len(tables)
    for k, (name, runs) in enumerate(tables.items()):
        places = np.arange(len(groups)) + step * (k - (len(tables) - 1) / 2)
        spread = runs.std(0, ddof=1) if len(runs) > 1 else None
        colour = (colours or {}).get(name) or COLOURS.get(name) or f"C{k}"
        drawn = axis.bar(places, runs.mean(0), 0.95 * step, yerr=spread, color=colour, label=name)
        if form:
            axis.bar_label(drawn, fmt=f"{{:{form}}}", padding=1, fontsize=9)
    axis.set_xticks(range(len(groups)), groups, fontsize=10)
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title or "")
    axis.legend()
    return _done(figure)


def plot_latents(
    codes, labels, *, axis: Axes | None = None, title: str | None = None, classes=None, limit=3000
) -> Figure:
    """Draw two-dimensional codes, coloured by class, with the class written at its median.

    Parameters
    ----------
    codes
        (N, 2).
    labels
        (N,) whole numbers 0 … 9.
    axis, title
        Draw into these axes; a title for them.
    classes
        Names of the classes.
    limit
        Draw at most so many points, taken evenly from all.

    Raises
    ------
    ValueError
        If the codes are not two-dimensional, or there is not one label for each.
    """
    codes, labels = _as_array(codes), _as_array(labels)
    if codes.ndim != 2 or codes.shape[1] != 2:
        raise ValueError(f"codes have shape {codes.shape}, expected (N, 2)")
    if len(labels) != len(codes):
        raise ValueError(f"{len(codes)} codes, but {len(labels)} labels")
    figure, axis = plt.subplots(figsize=(5.2, 5)) if axis is None else (axis.figure, axis)
    shown = np.linspace(0, len(codes) - 1, min(limit, len(codes))).astype(int)  # evenly: data may be sorted by class
    colours = np.array(CLASS_COLOURS)[labels[shown].astype(int) % 10]
    axis.scatter(*codes[shown].T, c=colours, s=7, alpha=0.7, linewidths=0)
    for label in np.unique(labels):
        middle = np.median(codes[labels == label], axis=0)
        name = str(int(label)) if classes is None else classes[int(label)]
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": CLASS_COLOURS[int(label) % 10]}
        axis.text(*middle, name, ha="center", va="center", fontweight="bold", bbox=box)
    axis.set(xlabel="$z_1$", ylabel="$z_2$", title=title or "")
    return _done(figure)


def plot_decoded_grid(images, z1, z2, *, axis: Axes | None = None, title: str | None = None) -> Figure:
    """Show images decoded on a grid of two-dimensional codes, each at the place of its code.

    Parameters
    ----------
    images
        (len(z2) · len(z1), 1, H, W) or (…, H, W), row after row, z2 ascending.
    z1, z2
        The coordinates of the columns and of the rows, ascending and evenly spaced.
    axis, title
        Draw into these axes; a title for them.

    Raises
    ------
    ValueError
        If the grid has fewer than two columns or rows, or not as many places as there are images.
    """
    z1, z2 = _as_array(z1), _as_array(z2)
    if min(len(z1), len(z2)) < 2:
        raise ValueError(f"a grid of {len(z2)} × {len(z1)}; it needs at least two columns and two rows")
    pictures = [as_picture(image) for image in images]
    if len(pictures) != len(z1) * len(z2):
        raise ValueError(f"{len(pictures)} images for a grid of {len(z2)} × {len(z1)}")
    figure, axis = plt.subplots(figsize=(6, 6)) if axis is None else (axis.figure, axis)
    bands = [np.concatenate(pictures[r * len(z1) : (r + 1) * len(z1)], axis=1) for r in range(len(z2))]
    half1, half2 = (z1[1] - z1[0]) / 2, (z2[1] - z2[0]) / 2
    extent = (z1[0] - half1, z1[-1] + half1, z2[0] - half2, z2[-1] + half2)
    axis.imshow(np.concatenate(bands[::-1], axis=0), cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    axis.grid(False)
    axis.set(xlabel="$z_1$", ylabel="$z_2$", title=title or "")
    return _done(figure)


def normal_quantiles(count: int) -> torch.Tensor:
    """Return (count,) points that cut the standard normal into slices of equal probability, in their middle.

    The inverse of the normal distribution function at (i + ½)/count, float32, ascending.

    Raises
    ------
    ValueError
        If count is less than two.
    """
    if count < 2:
        raise ValueError(f"count = {count}; a grid needs at least two points a side")
    return torch.from_numpy(ndtri((np.arange(count) + 0.5) / count)).float()


def plot_manifold(
    decode: Callable[[torch.Tensor], object], *, count: int = 15, axis: Axes | None = None, title: str | None = None
) -> Figure:
    """Show what a decoder draws on a grid that is even in probability under a standard normal prior in the plane.

    Parameters
    ----------
    decode
        Turns codes (count², 2), float32 on the CPU, into images (count², 1, H, W) or (count², H, W) in [0, 1].
    count
        Images along each side. Equal steps mean equal probability, not equal distance: the outer ones are far out.
    axis, title
        Draw into these axes; a title for them.

    Raises
    ------
    ValueError
        If count is less than two, or ``decode`` does not return one image per code.

    References
    ----------
    Kingma & Welling 2013, arXiv 1312.6114, figure 4.
    """
    z = normal_quantiles(count)
    codes = torch.stack([z.repeat(count), z.repeat_interleave(count)], dim=1)  # row after row, z2 ascending
    places = np.arange(count)
    figure = plot_decoded_grid(decode(codes), places, places, axis=axis, title=title)
    axis = axis or figure.axes[0]
    ticks = np.linspace(0, count - 1, min(5, count)).round().astype(int)
    names = [f"{float(z[t]):.1f}" for t in ticks]
    axis.set_xticks(ticks, names)
    axis.set_yticks(ticks, names)
    axis.set_aspect("equal")
    return figure


def plot_arrows(
    points,
    arrows,
    *,
    background=None,
    axis: Axes | None = None,
    title: str | None = None,
    colour: str = COLOURS["model"],
    scale: float = 1.0,
) -> Figure:
    """Draw a vector at each of many points in the plane.

    Parameters
    ----------
    points, arrows
        (N, 2) and (N, 2), in the same units.
    background
        (M, 2) points drawn small and grey underneath, e.g. the data.
    axis, title
        Draw into these axes; a title for them.
    colour
        Of the arrows.
    scale
        Length of a drawn arrow as a multiple of the vector.

    Raises
    ------
    ValueError
        If points and arrows are not both (N, 2).
    """
    points, arrows = _as_array(points), _as_array(arrows)
    if points.ndim != 2 or points.shape[1] != 2 or points.shape != arrows.shape:
        raise ValueError(f"points {points.shape} and arrows {arrows.shape}: expected both (N, 2)")
    figure, axis = plt.subplots(figsize=(5, 5)) if axis is None else (axis.figure, axis)
    if background is not None:
        axis.scatter(*_as_array(background).T, s=4, color=COLOURS["pixels"], alpha=0.5, linewidths=0)
    axis.quiver(
        *points.T, *(scale * arrows.T), color=colour, angles="xy", scale_units="xy", scale=1, width=0.004, zorder=3
    )
    axis.set(xlabel="$x_1$", ylabel="$x_2$", title=title or "", aspect="equal")
    return _done(figure)


def plot_prerequisites(chapters: Sequence[Mapping]) -> Figure:
    """Draw chapters as boxes and what each needs as arrows; planned ones in grey.

    Parameters
    ----------
    chapters
        Dicts with ``name`` ("02_autoencoder"), ``title``, ``needs`` (names) and, if the chapter is
        not written yet, ``planned`` true. A chapter stands to the right of all it needs.

    Raises
    ------
    ValueError
        If a chapter needs one that is not in the list before it.
    """
    depth: dict[str, int] = {}
    for chapter in chapters:
        unknown = [name for name in chapter["needs"] if name not in depth]
        if unknown:
            raise ValueError(f"chapter {chapter['name']!r} needs {unknown}, not among the chapters before it")
        depth[chapter["name"]] = 1 + max((depth[name] for name in chapter["needs"]), default=-1)
    levels = [[name for name in depth if depth[name] == level] for level in range(max(depth.values()) + 1)]
    place = {n: (level, (len(names) - 1) / 2 - k) for level, names in enumerate(levels) for k, n in enumerate(names)}
    figure, axis = plt.subplots(figsize=(2.1 * len(levels), 0.3 + 0.85 * max(map(len, levels))))
    for chapter in chapters:
        x, y = place[chapter["name"]]
        colour = COLOURS["pixels"] if chapter.get("planned") else COLOURS["model"]
        style = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": "white", "edgecolor": colour, "zorder": 3}
        axis.add_patch(FancyBboxPatch((x - 0.38, y - 0.36), 0.76, 0.72, linewidth=1.6, **style))
        text = f"{chapter['name'].split('_')[0]}\n{textwrap.fill(chapter['title'], 16)}"
        axis.text(x, y, text, ha="center", va="center", fontsize=10, color=colour, zorder=4)
        for name in chapter["needs"]:
            start = (place[name][0] + 0.38, place[name][1])
            arrow = {"arrowstyle": "-|>", "color": COLOURS["pixels"], "shrinkA": 2, "shrinkB": 2}
            axis.annotate("", xy=(x - 0.38, y), xytext=start, arrowprops=arrow, zorder=1)
    heights = [y for _, y in place.values()]
    axis.set(xlim=(-0.5, len(levels) - 0.5), ylim=(min(heights) - 0.5, max(heights) + 0.5))
    axis.set_axis_off()
    return _done(figure)


def as_picture(image) -> np.ndarray:
    """Turn one image (C, H, W), (H, W) or (H, W, 3) into (H, W) or (H, W, 3) floats in [0, 1].

    Raises
    ------
    ValueError
        If the shape is none of these.
    """
    array = _as_array(image)
    array = array / 255.0 if array.dtype == np.uint8 else array.astype(float)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        raise ValueError(f"cannot show an image of shape {array.shape}; give (C, H, W) with C = 1 or 3, or (H, W)")
    return array.clip(0, 1)


def _mosaic(table: list[list[np.ndarray]], *, scale: float, gap: float, title: str | None, left: float = 0.0):
    """Put pictures (rows of equal-sized ones) into one image, which draws much faster than one axes each.

    ``gap`` is the space between them as a share of their width; ``left`` the inches kept for labels.
    Returns the figure, its axes and the middle of the upper edge of every picture, in pixels.
    """
    height, width = table[0][0].shape[:2]
    space, columns = round(gap * width), max(map(len, table))
    coloured = any(picture.ndim == 3 for row in table for picture in row)
    size = (len(table) * (height + space), columns * (width + space) - space)
    canvas, centres = np.ones((*size, 3) if coloured else size), []
    for i, row in enumerate(table):
        for j, picture in enumerate(row):
            if picture.shape[:2] != (height, width):
                raise ValueError(f"pictures of different sizes: {picture.shape[:2]} and {(height, width)}")
            top, start = i * (height + space) + space, j * (width + space)
            tile = picture[..., None] if coloured and picture.ndim == 2 else picture
            canvas[top : top + height, start : start + width] = tile
            centres.append((start + width / 2, top - 0.5))
    inch = scale / (width + space)
    figure, axis = plt.subplots(figsize=(size[1] * inch + left + 0.1, size[0] * inch + (0.35 if title else 0.05)))
    axis.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set(xticks=[], yticks=[], title=title or "")
    return figure, axis, centres


def _as_array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _done(figure: Figure) -> Figure:
    plt.close(figure)
    return figure
