"""What the tests of report, slides and site share: pictures, tiny notebooks, a slider with its state, the browser."""

import base64
import io
import json
import os
import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image

from course_utils.tools import vendor
from course_utils.tools.notebook import WIDGET_STATE, WIDGET_VIEW

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def png(width: int = 1200, height: int = 600) -> str:
    """A picture in base64."""
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height), (200, 30, 30, 128)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def texts_and_code(*cells: str | tuple[str, str]) -> dict:
    """A notebook of Markdown cells, given as text, and of cells of code, given as (source, printed)."""
    made = []
    for cell in cells:
        source, printed = (cell, None) if isinstance(cell, str) else cell
        made.append({"cell_type": "markdown" if printed is None else "code", "source": [source], "metadata": {}})
        if printed is not None:
            made[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [printed]}] if printed else []
    return {"cells": made}


def executed_with_slider(chapter: dict, identifier: str):
    """Return a copy of a chapter as `course run` leaves it: one cell shows a slider over three pictures."""
    import ipywidgets
    from ipywidgets.embed import embed_data
    from matplotlib.figure import Figure

    from course_utils import widgets

    def draw(value):
        figure = Figure(figsize=(4, 2))
        figure.subplots().plot([0, value])
        return figure

    unrelated = ipywidgets.IntSlider()
    slider = widgets.slider(draw, [1, 2, 3], name="value")
    data = embed_data(views=[slider, unrelated])
    copy = json.loads(json.dumps(chapter))
    copy["metadata"]["widgets"] = {WIDGET_STATE: data["manager_state"]}
    view = {"model_id": slider.model_id, "version_major": 2, "version_minor": 0}
    for made in copy["cells"]:
        if made["id"] == identifier:
            made["outputs"] = [{"output_type": "display_data", "data": {WIDGET_VIEW: view}, "metadata": {}}]
    return copy, slider, unrelated


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes, and complains of tags that do not match."""

    VOID = frozenset({"meta", "img", "br", "hr", "input", "link", "line", "rect"})

    def __init__(self, text: str):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def skip_without_browser(scripts) -> None:
    """Skip a test, with the reason, where Chromium, playwright or the scripts of these npm packages are missing."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    absent = [name for name in scripts if not vendor.cached(name).exists()]
    if absent:
        pytest.skip(f"not in build/vendor: {', '.join(absent)}; run `make vendor`")


def launch(playwright):
    """Start Debian's Chromium without a window; to root it refuses its sandbox."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if root else [])
