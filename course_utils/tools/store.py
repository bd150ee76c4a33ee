"""Put the outputs of a fresh execution into the notebooks themselves, and nothing that a tool left behind."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import tempfile
from pathlib import Path

from course_utils.tools import write_text
from course_utils.tools.execute import Outcome, collect, judge
from course_utils.tools.worker import Worker

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
WIDGET_TEXT = "interactive figure: run the notebook from the top to use it"
#: How far a channel (0 … 255) may move where a palette of 256 colours would do almost exactly.
PALETTE_ERROR = 8


def store(outcome: Outcome, notebook: Path, *, cell_seconds: float | None = None, screen=None) -> bool:
    """Execute a notebook and put the outputs into it, if it ran and its numbers lie in their bands.

    Only outputs and execution counts of the file change, besides metadata that tools leave behind.
    """
    import nbformat

    folder = Path(tempfile.mkdtemp(prefix="course-store-"))
    try:
        worker = Worker(outcome, notebook.resolve(), folder / notebook.name, cell_seconds=cell_seconds)
        worker.watch(screen)
        if outcome.status == "ok":
            collect(outcome, folder / notebook.name)
            judge(outcome)
        if outcome.status == "ok":
            executed = json.loads((folder / notebook.name).read_text(encoding="utf-8"))
            cleaned = with_outputs(json.loads(notebook.read_text(encoding="utf-8")), executed)
            write_text(notebook, nbformat.writes(nbformat.reads(json.dumps(cleaned), as_version=4)) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    verdict = "stored" if outcome.status == "ok" else f"not stored: {outcome.status}"
    screen.line("\n".join(filter(None, [f"{notebook.name:<34} {verdict}  {outcome.message}", outcome.traceback])))
    return outcome.status == "ok"


def with_outputs(notebook: dict, executed: dict) -> dict:
    """Return a notebook with the outputs of its executed copy, and with none of the tools' metadata."""
    skip = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [cell for cell in executed["cells"] if not skip & set(cell["metadata"].get("tags", []))]
    count = 0
    for cell, ran in zip(notebook["cells"], cells, strict=True):
        for key in ("papermill", "execution", "ExecuteTime"):
            cell["metadata"].pop(key, None)
        if cell["cell_type"] == "code":
            count += bool("".join(cell["source"]).strip())
            cell["execution_count"] = count if "".join(cell["source"]).strip() else None
            cell["outputs"] = clean_outputs(ran["outputs"], cell["execution_count"])
    for key in ("papermill", "widgets"):
        notebook["metadata"].pop(key, None)
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"]["language_info"] = {"name": "python"}
    return notebook


def clean_outputs(outputs: list[dict], count: int | None) -> list[dict]:
    """Join pieces of a stream, put a sentence for a widget, drop an SVG that a PNG doubles, shrink the PNG."""
    kept: list[dict] = []
    for output in outputs:
        output = dict(output)
        if output["output_type"] == "stream":
            text = "".join(output["text"])
            if kept and kept[-1].get("name") == output["name"]:
                text = "".join(kept.pop()["text"]) + text
            output["text"] = re.sub(r"^.*\r(?!\n)", "", text, flags=re.MULTILINE).splitlines(keepends=True)
        data = output.get("data", {})
        if data.pop(WIDGET_MIME, None) is not None:
            data["text/plain"] = WIDGET_TEXT
        if "image/png" in data:
            data.pop("image/svg+xml", None)
            data["image/png"] = small_png("".join(data["image/png"]))
        if output["output_type"] == "execute_result":
            output["execution_count"] = count
        kept.append(output)
    return kept


def small_png(text: str) -> str:
    """Return a picture in fewer bytes that looks the same.

    Matplotlib writes every figure with red, green, blue and opacity. A channel of opacity that is full everywhere is
    left out, a figure in shades of grey keeps one channel, one of about 256 colours gets a palette. So no value moves
    by more than ``PALETTE_ERROR``, and without a palette none at all. Size and resolution stay.

    Parameters
    ----------
    text
        A PNG in base64, as a notebook holds it.

    Returns
    -------
    str
        The smallest of these in base64; ``text`` itself if nothing is smaller, or if it is no picture without opacity.
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


def _versions(picture) -> list:
    """Return a picture in full colour, and those of its two smaller forms, grey and palette, that look the same."""
    from PIL import Image, ImageChops

    palette = picture.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    small = [(picture.convert("L"), 0), (palette, PALETTE_ERROR)]

    def error(version) -> int:
        return max(high for _, high in ImageChops.difference(picture, version.convert("RGB")).getextrema())

    return [picture, *(version for version, most in small if error(version) <= most)]
