"""Interactive figures that also live on a web page without Python, each with a static twin.

All frames are drawn beforehand; a slider linked in the browser chooses one, so nothing waits for the kernel meanwhile.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import traitlets
from matplotlib.figure import Figure

Draw = Callable[[Any], Figure]
Label = Callable[[Any], str]
if OLD := not hasattr(ipywidgets, "Stack"):  # version 7, which a hosted notebook may have: the kernel moves the slider

    class Stack(ipywidgets.VBox):
        selected_index = traitlets.Int(0)

        @traitlets.observe("children", "selected_index")
        def _show(self, _: Any) -> None:
            for place, child in enumerate(self.children):
                child.layout.display = None if place == self.selected_index else "none"

    ipywidgets.Stack = Stack  # also for the chapters that stack by themselves


def slider(draw: Draw, values: Iterable[Any], *, name: str = "", label: Label = str, start: int = 0) -> ipywidgets.VBox:
    """Let a slider choose among the figures ``draw(value)``, one for each value; twenty to forty make a smooth slider.

    ``name`` stands before the slider, ``label(value)`` beside it; frame ``start`` (else ``ValueError``) is seen first.
    """
    values = list(values)
    if not 0 <= start < len(values):
        raise ValueError(f"start = {start}, but there are {len(values)} frames")
    frames = ipywidgets.Stack([ipywidgets.Image(value=_png(draw(value)), format="png") for value in values])
    frames.selected_index = start
    handle = control(name, [label(value) for value in values], start, [frames])
    handle.children[0].style.description_width = "initial"
    return ipywidgets.VBox([handle, frames])


def static_twin(
    draw: Draw, values: Sequence[Any], *, label: Label = str, columns: int = 3, width: float = 3.6
) -> Figure:
    """Show a few frames of a slider side by side, ``columns`` in a row, for paper, PDF and pages without scripts.

    ``draw`` and ``label`` are those of ``slider``, ``values`` one or more to print, ``width`` is of a frame, in inches.
    """
    if not len(values):
        raise ValueError("there are no values to draw")
    pictures = [plt.imread(io.BytesIO(_png(draw(value)))) for value in values]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = width * pictures[0].shape[0] / pictures[0].shape[1] + 0.3
    figure, axes = plt.subplots(rows, columns, figsize=(columns * width, rows * height), squeeze=False)
    for axis, value, picture in zip(axes.flat, values, pictures, strict=False):
        axis.imshow(picture)
        axis.set_title(label(value))
    for axis in axes.flat:
        axis.set_axis_off()
    plt.close(figure)
    return figure


def control(name: str, words: list[str], start: int, stacks: list[ipywidgets.Stack]) -> ipywidgets.HBox:
    """Return a slider with a word beside it for each position, which chooses in every one of the stacks."""
    handle = ipywidgets.IntSlider(value=start, min=0, max=len(words) - 1, readout=False, description=name)
    beside = ipywidgets.Stack([ipywidgets.Label(value=word) for word in words], selected_index=start)
    for stack in (beside, *stacks):
        (traitlets.link if OLD else ipywidgets.jslink)((handle, "value"), (stack, "selected_index"))
    return ipywidgets.HBox([handle, beside])


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()
