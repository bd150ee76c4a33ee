"""Interactive figures that also live on a web page without Python, each with a static twin.

All frames are drawn beforehand; a slider linked in the browser (``jslink``) chooses which one is seen. So nothing waits
for the kernel while the slider moves.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from PIL import Image

from course_utils.plots import as_picture

Draw = Callable[[Any], Figure]
Label = Callable[[Any], str]


def slider(draw: Draw, values: Iterable[Any], *, name: str = "", label: Label = str, start: int = 0) -> ipywidgets.VBox:
    """Let a slider choose among the figures ``draw(value)``, one for each value; twenty to forty make a smooth slider.

    ``name`` stands before the slider, ``label(value)`` beside it; frame number ``start`` is seen first, a number that
    is no frame is a ``ValueError``.
    """
    values = list(values)
    if not 0 <= start < len(values):
        raise ValueError(f"start = {start}, but there are {len(values)} frames")
    frames = ipywidgets.Stack([ipywidgets.Image(value=_png(draw(value)), format="png") for value in values])
    frames.selected_index = start
    control = _control(name, [label(value) for value in values], start, [frames])
    control.children[0].style.description_width = "initial"
    return ipywidgets.VBox([control, frames])


def static_twin(
    draw: Draw, values: Sequence[Any], *, label: Label = str, columns: int = 3, width: float = 3.6
) -> Figure:
    """Show a few frames of a slider side by side, ``columns`` in a row, for paper, PDF and pages without scripts.

    ``draw`` and ``label`` are those of ``slider``, ``values`` the few worth printing (none is a ``ValueError``);
    ``width`` is that of one frame in inches.
    """
    if not len(values):
        raise ValueError("there are no values to draw")
    pictures = [plt.imread(io.BytesIO(_png(draw(value)))) for value in values]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = width * pictures[0].shape[0] / pictures[0].shape[1] + 0.3
    figure, axes = plt.subplots(rows, columns, figsize=(columns * width, rows * height), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, value, picture in zip(axes.flat, values, pictures, strict=False):
        axis.imshow(picture)
        axis.set_title(label(value))
    plt.close(figure)
    return figure


def latent_explorer(
    decode: Callable[[torch.Tensor], Any],
    *,
    values: Sequence[float],
    base: Any = None,
    dims: tuple[int, int] = (0, 1),
    size: int = 224,
) -> ipywidgets.VBox:
    """Move through two dimensions of a latent space with two sliders and see what the decoder draws.

    ``decode`` turns codes (N, d), float32 on the CPU, into images (N, C, H, W) or (N, H, W) in [0, 1]. Each slider has
    the positions ``values`` (two or more, ascending; fifteen make a smooth walk of 225 pictures, all decoded beforehand
    in one batch) and moves one of the dimensions ``dims`` of the code ``base`` (d,), zeros of length 2 if not given.
    The picture is ``size`` screen pixels wide. Wrong dims or a wrong number of images are a ``ValueError``. The static
    twin is ``plots.plot_manifold`` or ``plots.plot_decoded_grid``.
    """
    base = torch.zeros(2) if base is None else torch.as_tensor(base, dtype=torch.float32).detach().cpu()
    grid = torch.as_tensor([float(value) for value in values])
    count, middle = len(grid), len(grid) // 2
    if count < 2:
        raise ValueError(f"{count} values; a slider needs at least two")
    if len(set(dims)) != 2 or not all(0 <= dim < len(base) for dim in dims):
        raise ValueError(f"dims = {dims} are not two different dimensions of a code of length {len(base)}")
    codes = base.repeat(count * count, 1)
    codes[:, dims[0]], codes[:, dims[1]] = grid.repeat_interleave(count), grid.repeat(count)
    pictures = decode(codes)
    if len(pictures) != len(codes):
        raise ValueError(f"decode returned {len(pictures)} images for {len(codes)} codes")
    frames = [ipywidgets.Image(value=_small_png(picture), format="png", width=size) for picture in pictures]
    inner = [ipywidgets.Stack(frames[k : k + count], selected_index=middle) for k in range(0, len(frames), count)]
    outer = ipywidgets.Stack(inner, selected_index=middle)
    words = [f"{float(value):+.2f}" for value in values]
    stacks = zip(dims, ([outer], inner), strict=True)
    return ipywidgets.VBox([*(_control(f"z{dim + 1}", words, middle, moved) for dim, moved in stacks), outer])


def _control(name: str, words: list[str], start: int, stacks: list[ipywidgets.Stack]) -> ipywidgets.HBox:
    """Return a slider with a word beside it for each position, which chooses in every one of the stacks."""
    control = ipywidgets.IntSlider(value=start, min=0, max=len(words) - 1, readout=False, description=name)
    beside = ipywidgets.Stack([ipywidgets.Label(value=word) for word in words], selected_index=start)
    for stack in (beside, *stacks):
        ipywidgets.jslink((control, "value"), (stack, "selected_index"))
    return ipywidgets.HBox([control, beside])


def _small_png(picture: Any) -> bytes:
    """Encode one image at its own size, without the axes and the time that a figure costs."""
    buffer = io.BytesIO()
    Image.fromarray((as_picture(picture) * 255).round().astype("uint8")).save(buffer, format="png")
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()
