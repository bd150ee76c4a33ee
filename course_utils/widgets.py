"""Interactive figures that also live on a web page without Python, each with a static twin.

All frames are drawn beforehand; a slider linked in the browser (``jslink``) chooses which one is
seen. So nothing waits for the kernel while the slider moves.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

Draw = Callable[..., Figure]


def slider(draw: Draw, values: Sequence, *, name: str = "", label: Callable = str, start: int = 0) -> ipywidgets.VBox:
    """Let a slider choose among figures.

    Parameters
    ----------
    draw
        ``draw(value)`` returns the figure for one value.
    values
        One frame each; twenty to forty make a smooth slider.
    name
        Written before the slider.
    label
        Turns a value into the text beside the slider.
    start
        Number of the frame that is seen first.

    Returns
    -------
    ipywidgets.VBox
        A slider, the chosen value in words, and the frame.

    Raises
    ------
    ValueError
        If there are no values, or ``start`` is none of them.
    """
    values = list(values)
    if not 0 <= start < len(values):
        raise ValueError(f"start = {start}, but there are {len(values)} frames")
    frames = [ipywidgets.Image(value=_png(draw(value)), format="png") for value in values]
    words = [ipywidgets.Label(value=label(value)) for value in values]
    control = ipywidgets.IntSlider(value=start, min=0, max=len(values) - 1, description=name, readout=False)
    control.style.description_width = "initial"
    stacks = [ipywidgets.Stack(children, selected_index=start) for children in (words, frames)]
    for stack in stacks:
        ipywidgets.jslink((control, "value"), (stack, "selected_index"))
    return ipywidgets.VBox([ipywidgets.HBox([control, stacks[0]]), stacks[1]])


def static_twin(draw: Draw, values: Sequence, *, label: Callable = str, columns: int = 3, width: float = 3.6) -> Figure:
    """Show a few frames of a slider side by side, for paper, PDF and pages without scripts.

    Parameters
    ----------
    draw, label
        As in ``slider``.
    values
        The few values worth printing.
    columns
        Frames per row.
    width
        Of one frame, in inches.

    Returns
    -------
    Figure
    """
    if not len(values):
        raise ValueError("there are no values to draw")
    pictures = [plt.imread(io.BytesIO(_png(draw(value)))) for value in values]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    aspect = pictures[0].shape[0] / pictures[0].shape[1]
    figure, axes = plt.subplots(rows, columns, figsize=(columns * width, rows * (width * aspect + 0.3)), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, value, picture in zip(axes.flat, values, pictures, strict=False):
        axis.imshow(picture)
        axis.set_title(label(value))
    plt.close(figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()
