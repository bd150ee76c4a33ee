"""Interactive figures that also live on a web page without Python, each with a static twin.

All frames are drawn beforehand; a slider linked in the browser (``jslink``) chooses which one is
seen. So nothing waits for the kernel while the slider moves.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from PIL import Image

from course_utils.plots import as_picture

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


def latent_explorer(
    decode: Callable[[torch.Tensor], object],
    *,
    values: Sequence[float],
    base=None,
    dims: tuple[int, int] = (0, 1),
    size: int = 224,
) -> ipywidgets.VBox:
    """Move through two dimensions of a latent space with two sliders and see what the decoder draws.

    Its static twin is ``plots.plot_manifold`` or ``plots.plot_decoded_grid``. All len(values)² pictures are decoded
    beforehand in one batch, so the sliders also move on a web page without a kernel.

    Parameters
    ----------
    decode
        Turns codes (N, d), float32 on the CPU, into images (N, C, H, W) or (N, H, W) in [0, 1].
    values
        Positions of each slider, ascending; fifteen make a smooth walk of 225 pictures.
    base
        (d,) the code whose two dimensions move; zeros of length 2 if not given.
    dims
        Which two dimensions the sliders move.
    size
        Width of the picture on the screen, in pixels.

    Returns
    -------
    ipywidgets.VBox
        Two sliders with their values, and the picture.

    Raises
    ------
    ValueError
        If there are fewer than two values, the dimensions are not two different ones of the code, or ``decode`` does
        not return one image per code.
    """
    values = [float(value) for value in values]
    base = torch.zeros(2) if base is None else torch.as_tensor(base, dtype=torch.float32).detach().cpu()
    count, grid = len(values), torch.tensor(values)
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
    inner = [ipywidgets.Stack(frames[k : k + count], selected_index=count // 2) for k in range(0, len(frames), count)]
    outer = ipywidgets.Stack(inner, selected_index=count // 2)
    rows = [_position(values, f"z{dims[0] + 1}", [outer]), _position(values, f"z{dims[1] + 1}", inner)]
    return ipywidgets.VBox([*rows, outer])


def _position(values: list[float], name: str, stacks: list[ipywidgets.Stack]) -> ipywidgets.HBox:
    """Return a slider over values, starting in the middle, that chooses in every one of the stacks."""
    middle = len(values) // 2
    control = ipywidgets.IntSlider(value=middle, min=0, max=len(values) - 1, readout=False, description=name)
    words = ipywidgets.Stack([ipywidgets.Label(value=f"{value:+.2f}") for value in values], selected_index=middle)
    for stack in (words, *stacks):
        ipywidgets.jslink((control, "value"), (stack, "selected_index"))
    return ipywidgets.HBox([control, words])


def _small_png(picture) -> bytes:
    """Encode one image at its own size, without the axes and the time that a figure costs."""
    buffer = io.BytesIO()
    Image.fromarray((as_picture(picture) * 255).round().astype("uint8")).save(buffer, format="png")
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()
