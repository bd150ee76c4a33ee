"""Put the outputs of a fresh execution into the notebooks themselves, and nothing that a tool left behind."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

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
    skip = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [cell for cell in executed["cells"] if not skip & set(notebooks.tags(cell))]
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
    kept: list[dict] = []
    for old in outputs:
        output = dict(old)
        if output["output_type"] == "stream":
            text = "".join(output["text"])
            if kept and kept[-1].get("name") == output["name"]:
                text = "".join(kept.pop()["text"]) + text
            output["text"] = re.sub(r"^.*\r(?!\n)", "", text, flags=re.MULTILINE).splitlines(keepends=True)
        if "data" in output:
            output["data"] = data = dict(output["data"])
            if data.pop(notebooks.WIDGET_VIEW, None) is not None:
                data["text/plain"] = notebooks.WIDGET_TEXT
            if "image/png" in data:
                data.pop("image/svg+xml", None)
                data["image/png"] = small_png("".join(data["image/png"]))
        if output["output_type"] == "execute_result":
            output["execution_count"] = count
        kept.append(output)
    return kept


def small_png(text: str) -> str:
    """Return a picture (a PNG in base64, as a notebook holds it) in fewer bytes that looks the same.

    Matplotlib writes every figure with red, green, blue and opacity. A channel of opacity that is full everywhere is
    left out, a figure in shades of grey keeps one channel, one of about 256 colours gets a palette. So no value moves
    by more than ``PALETTE_ERROR``, and without a palette none at all. Size and resolution stay. ``text`` itself comes
    back if nothing is smaller, or if it is no picture without transparent places.
    """
    from PIL import Image

    try:
        old = base64.b64decode(text)
        picture = Image.open(io.BytesIO(old))
        resolution = {"dpi": picture.info["dpi"]} if "dpi" in picture.info else {}
        if picture.mode not in ("RGB", "RGBA") or picture.convert("RGBA").getextrema()[3] != (255, 255):
            return text
    except (OSError, ValueError):
        return text
    buffers = []
    for version in _versions(picture.convert("RGB")):
        buffers.append(io.BytesIO())
        version.save(buffers[-1], "PNG", optimize=True, **resolution)
    new = min((buffer.getvalue() for buffer in buffers), key=len)
    return base64.b64encode(new).decode() + "\n" * text.endswith("\n") if len(new) < len(old) else text


def _versions(picture: Any) -> list:
    """Return a picture in full colour, and those of its two smaller forms, grey and palette, that look the same."""
    from PIL import Image, ImageChops

    palette = picture.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    small = [(picture.convert("L"), 0), (palette, PALETTE_ERROR)]

    def error(version: Any) -> int:
        return max(high for _, high in ImageChops.difference(picture, version.convert("RGB")).getextrema())

    return [picture, *(version for version, most in small if error(version) <= most)]
