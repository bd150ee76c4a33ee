"""Put the outputs of a fresh execution into the notebooks themselves, and nothing that a tool left behind."""

from __future__ import annotations

import base64
import io

import nbformat
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from PIL import Image, ImageChops, ImageStat

from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Plan
from course_utils.tools.run import perform
from course_utils.tools.screen import Screen

#: How far a channel (0 … 255) may move where a palette of 256 colours would do almost exactly.
PALETTE_ERROR = 8


def store(plan: Plan, *, screen: Screen, cell_seconds: float | None = None) -> bool:
    """Execute a notebook and put the outputs into it, if it ran and its numbers lie in their bands; tell whether.

    Only outputs and execution counts of the file change, besides metadata that tools leave behind.
    """
    path = plan.chapter.path
    result, ended = perform(plan, screen=screen, cell_seconds=cell_seconds)
    good = result.status == "ok"
    if good:
        notebooks.write(path, with_outputs(notebooks.read(path), notebooks.parse(ended.notebook)))
    verdict = "stored" if good else f"not stored: {result.status}"
    screen.line("\n".join(filter(None, [f"{path.name:<34} {verdict}  {result.message}", result.traceback])))
    return good


def with_outputs(notebook: dict, executed: dict) -> dict:
    """Return a notebook with the outputs of its executed copy, and with none of the tools' metadata."""
    notebook = notebooks.copy(notebook)
    cells = [cell for cell in executed["cells"] if "injected-parameters" not in notebooks.tags(cell)]
    count = 0
    for cell, ran in zip(notebook["cells"], cells, strict=True):
        for key in ("papermill", "execution", "ExecuteTime"):
            cell["metadata"].pop(key, None)
        if cell["cell_type"] == "code":
            empty = not notebooks.source(cell).strip()
            count += not empty
            cell["execution_count"] = None if empty else count
            cell["outputs"] = clean_outputs(ran["outputs"], cell["execution_count"])
    for key in ("papermill", "widgets"):
        notebook["metadata"].pop(key, None)
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"]["language_info"] = {"name": "python"}
    return notebook


def clean_outputs(outputs: list[dict], count: int | None) -> list[dict]:
    """Join pieces of a stream, put a sentence for a widget, drop an SVG that a PNG doubles, shrink the PNG."""
    pieces = [nbformat.from_dict(output) for output in outputs]
    for output in pieces:
        if output.output_type == "stream":
            output.text = "".join(output.text)
        if output.output_type == "execute_result":
            output.execution_count = count
        data = output.get("data", {})
        if data.pop(notebooks.WIDGET_VIEW, None) is not None:
            data["text/plain"] = notebooks.WIDGET_TEXT
        if "image/png" in data:
            data.pop("image/svg+xml", None)
            data["image/png"] = small_png("".join(data["image/png"]))
    cell, _ = CoalesceStreamsPreprocessor().preprocess_cell(nbformat.from_dict({"outputs": pieces}), {}, 0)
    return cell.outputs


def small_png(text: str) -> str:
    """Return a picture (a PNG in base64, as a notebook holds it) in fewer bytes that looks the same.

    Matplotlib writes every figure with red, green, blue and opacity. One that is nowhere transparent is kept in full
    colour without opacity, in one channel if it is grey, or with a palette of 256 colours if that moves no value by
    more than ``PALETTE_ERROR``, whichever is smallest. ``text`` itself comes back if nothing is.
    """
    try:
        old = base64.b64decode(text)
        picture = Image.open(io.BytesIO(old))
        resolution = {"dpi": picture.info["dpi"]} if "dpi" in picture.info else {}
        if picture.mode not in ("RGB", "RGBA") or picture.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            return text
    except (OSError, ValueError):
        return text
    full = picture.convert("RGB")
    palette = full.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    smallest = old
    for version, most in ((full, 0), (full.convert("L"), 0), (palette, PALETTE_ERROR)):
        version.save(buffer := io.BytesIO(), "PNG", optimize=True, **resolution)
        moved = ImageStat.Stat(ImageChops.difference(full, version.convert("RGB"))).extrema
        if max(largest for _, largest in moved) <= most:
            smallest = min(smallest, buffer.getvalue(), key=len)
    return text if smallest is old else base64.b64encode(smallest).decode() + "\n" * text.endswith("\n")
