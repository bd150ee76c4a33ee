"""Lectures: a chapter's notebook as reveal slides, chosen and shortened by what its cells' metadata say.

A cell becomes part of a lecture through ``slideshow.slide_type``, as JupyterLab's property inspector writes it; what a
slide needs beside that stands in the dictionary ``lecture`` of the same cell (``KEYS``). Cells without are left out.
"""

from __future__ import annotations

import base64
import difflib
import io
import json
import re
import struct
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from course_utils.tools import notebook as notebooks
from course_utils.tools import vendor
from course_utils.tools.chapter import Chapter
from course_utils.tools.notebook import EXERCISE, widget_views
from course_utils.tools.notebook import source as text_of
from course_utils.tools.pages import fill, write_page

#: Space leads through the slides in one line, so that a sub-slide is a slide like others.
SLIDE_TYPES = ("slide", "subslide", "fragment", "notes", "skip", "-")
#: What ``lecture`` may hold: title of the slide; text in place of the cell's; speaker notes; minutes; which lines of
#: code and which outputs are shown; the cell whose figure stands for a slider that has no state to move it; the part
#: of a figure that is shown, as "left top right bottom" in percent; the cell after whose slide this one comes.
KEYS: dict[str, type | tuple[type, ...]] = {"title": str, "text": str, "notes": str, "minutes": (int, float)}
KEYS |= dict.fromkeys(("code", "outputs", "twin", "crop", "after"), str)
OUTPUTS = ("figures", "text", "all", "none")
COLUMNS = 80  # of shown code
WIDEST = 95  # columns of shown output, which is a little smaller
BODY = (1168, 570)  # width and height, in pixels, of a slide below its title
LARGEST = 1.7  # times its own size: more would only blur a figure
#: What a lecture loads: npm package → what of it is copied beside the slides.
SCRIPTS = {
    "reveal.js": ("dist/reveal.js", "dist/reveal.css", "dist/theme", "plugin/notes", "LICENSE"),
    "requirejs": ("require.js",),
    "@jupyter-widgets/html-manager": ("dist/embed-amd.js", "LICENSE"),
    "mathjax": (
        *("MathJax.js", "LICENSE", "config/TeX-AMS_SVG-full.js", "extensions/TeX", "jax/element", "jax/input/TeX"),
        *("jax/output/SVG/jax.js", "jax/output/SVG/autoload", "jax/output/SVG/fonts/TeX"),
    ),
}


class LectureError(ValueError):
    """A cell's metadata cannot become a slide; the message names the cell, the value and what is possible."""


@dataclass
class Slide:
    """One slide: its cells in order, the first of which carries title, minutes and notes."""

    title: str
    minutes: float
    notes: str
    exercise: re.Match[str] | None
    after: str  # the cell after whose slide it comes, if that is not the order of the notebook
    cells: list[dict] = field(default_factory=list)
    start: float = 0.0  # minutes since the beginning of the lecture
    layout: str = ""  # a class of ``slides.css``
    parts: list[dict[str, Any]] = field(default_factory=list)  # what is shown, each with text, or code and outputs


def lecture_of(cell: dict) -> tuple[str, dict[str, Any]]:
    """Return how a cell takes part in the lecture, and its dictionary ``lecture``; what means nothing is refused."""
    kind = cell["metadata"].get("slideshow", {}).get("slide_type", "skip") or "-"
    lecture = cell["metadata"].get("lecture", {})
    where = _name(cell)
    if kind not in SLIDE_TYPES:
        raise LectureError(f"{where}: slide_type {kind!r} is none of {', '.join(SLIDE_TYPES)}")
    if not isinstance(lecture, dict):
        raise LectureError(f"{where}: lecture is {lecture!r}, not a dictionary of {', '.join(KEYS)}")
    for key, value in lecture.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0)[0]
            raise LectureError(f"{where}: lecture has the key {key!r}; the nearest is {near!r} ({', '.join(KEYS)})")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise LectureError(f"{where}: lecture.{key} is {value!r}, which is a {type(value).__name__}")
    if lecture.get("outputs", "none").split()[0] not in OUTPUTS:
        raise LectureError(f"{where}: lecture.outputs {lecture['outputs']!r} is none of {', '.join(OUTPUTS)}")
    return kind, lecture


def slides_of(notebook: dict) -> list[Slide]:
    """Return the slides of a notebook, in order; each needs a title."""
    slides: list[Slide] = []
    for cell, (kind, lecture) in ((cell, lecture_of(cell)) for cell in notebook["cells"]):
        if kind == "skip":
            continue
        if kind in ("slide", "subslide"):
            slides.append(_begin(cell, lecture))
        elif not slides:
            raise LectureError(f"{_name(cell)}: {kind!r} goes on with a slide, but none has begun")
        elif kind == "notes":
            slides[-1].notes += "\n\n" + (lecture.get("text") or text_of(cell))
            continue
        elif lecture.get("notes"):
            slides[-1].notes += "\n\n" + lecture["notes"]
        slides[-1].cells.append(cell)
    return _moved(slides)


def _name(cell: dict) -> str:
    return f"cell {cell.get('id', '?')}"


def _moved(slides: list[Slide]) -> list[Slide]:
    """Put slides that name another, as exercises do, after that one, in their own order; then set the clock."""
    ordered = [slide for slide in slides if not slide.after]
    for slide in (slide for slide in slides if slide.after):
        named = [slide.after in [cell.get("id") for cell in other.cells] for other in ordered]
        places = [k for k, other in enumerate(ordered) if named[k] or other.after == slide.after]
        if not places:
            raise LectureError(f"slide {slide.title!r}: lecture.after {slide.after!r} is no cell of another slide")
        ordered.insert(places[-1] + 1, slide)
    for slide, before in zip(ordered[1:], ordered, strict=False):
        slide.start = before.start + before.minutes
    return ordered


def _begin(cell: dict, lecture: dict) -> Slide:
    if not lecture.get("title"):
        raise LectureError(f"{_name(cell)}: a slide needs lecture.title, the claim that it makes")
    exercise = EXERCISE.search(text_of(cell)) if cell["cell_type"] == "markdown" else None
    minutes, notes = float(lecture.get("minutes", 0)), lecture.get("notes", "")
    return Slide(lecture["title"], minutes, notes, exercise, lecture.get("after", ""))


def excerpt(source: str, lines: str) -> str:
    """Return the lines of code that a slide shows.

    ``lines`` is ``"show"``, ``"hide"``, or numbers from 1 such as ``"3-9"`` or ``"1-2, 7-9"``; ``…`` stands for what is
    left out between two ranges. A comment behind code that would reach beyond column 80 moves to a line above it.
    """
    if lines == "hide":
        return ""
    every = source.splitlines()
    parts = [every] if lines == "show" else [_range(every, part) for part in lines.split(",")]
    text = "\n…\n".join("\n".join(_fold(line) for line in part) for part in parts)
    indent = min((len(line) - len(line.lstrip()) for line in text.splitlines() if line.strip(" …")), default=0)
    return "\n".join(line if line == "…" else line[indent:] for line in text.splitlines()).strip("\n")


def _range(every: list[str], part: str) -> list[str]:
    match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= len(every):
        raise LectureError(f'lecture.code: {part!r} is no range of lines 1-{len(every)}; nor is it "show" or "hide"')
    return every[first - 1 : last]


def _fold(line: str) -> str:
    """Break a line of code that is too long: its comment goes above, arguments go on below."""
    code, mark, comment = line.partition("  # ")
    indent = line[: len(line) - len(line.lstrip())]
    if len(line) <= COLUMNS or not code.strip():
        return line
    if mark:
        return f"{indent}# {comment}\n{_fold(code)}"
    places = [k for k in range(len(indent) + 8, COLUMNS) if line[k - 2 : k] == ", " and _depth(line[:k]) > 0]
    if not places:
        return line
    place = min(places, key=lambda k: (_depth(line[:k]), -k))
    return f"{line[:place].rstrip()}\n{_fold(indent + '    ' + line[place:])}"


def _depth(code: str) -> int:
    return sum(code.count(bracket) for bracket in "([{") - sum(code.count(bracket) for bracket in ")]}")


def clock(minutes: float) -> str:
    """Write minutes as 12:30."""
    seconds = round(60 * minutes)
    return f"{seconds // 60}:{seconds % 60:02d}"


def deck(notebook: dict, executed: dict | None = None, solutions: dict | None = None) -> dict[str, Any]:
    """Return what ``slides.html`` shows: title, slides, and the state of the widgets on them.

    ``executed`` is the same chapter from ``build/run``, whose widgets and their state are taken over where the cells
    agree; what solves an exercise in the notebook ``solutions`` is put into the notes of its slide.
    """
    slides = slides_of(notebook)
    if not slides:
        raise LectureError("no cell has slideshow metadata: the chapter has no lecture yet")
    views, state = _widgets(notebook, executed)
    twins = {cell.get("id"): cell for cell in notebook["cells"]}
    answers = answers_of(solutions) if solutions else {}
    whole = clock(slides[-1].start + slides[-1].minutes)
    for slide in slides:
        slide.parts = [part for cell in slide.cells for part in _parts(cell, views, twins)]
        slide.notes = f"**{clock(slide.start)} of {whole}** · {slide.minutes:g} min\n\n{slide.notes}"
        if slide.exercise:
            slide.parts.append({"text": _pause(slide.minutes, slide.exercise)})
            answer = answers.get(slide.exercise["number"], "in the folder `solutions`, which is not here.")
            slide.notes += f"\n\n**Expected answer:** {answer}"
        slide.layout = "title" if slide is slides[0] else _layout(slide.parts)
    outputs = [output for slide in slides for part in slide.parts for output in part.get("outputs", [])]
    shown = {output["view"]["model_id"] for output in outputs if "view" in output}
    widgets = {**state, "state": _reachable(state["state"], shown)} if shown else None
    return {"title": slides[0].title, "slides": slides, "widgets": widgets}


def _pause(minutes: float, exercise: re.Match[str]) -> str:
    now = f"**{minutes:g} minute{'s' * (minutes != 1)} now**"
    alone = f"{exercise['minutes']} minute{'s' * (exercise['minutes'] != '1')}"
    return f"Pause: {now} · in the notebook: difficulty {exercise['difficulty']}/5, {alone}"


def _parts(cell: dict, views: dict, twins: dict) -> list[dict[str, Any]]:
    """Return what a slide shows of a cell: its text, and its code with outputs; a step comes on a click."""
    kind, lecture = lecture_of(cell)
    step = kind == "fragment"
    if cell["cell_type"] != "code":
        return [{"text": lecture.get("text", text_of(cell)), "step": step}]
    try:
        code = excerpt(text_of(cell), lecture.get("code", "hide"))
        outputs = _outputs(cell, lecture, views, twins)
    except LectureError as error:
        raise LectureError(f"{_name(cell)}: {error}") from None
    parts = [{"text": lecture.get("text"), "step": step}, {"code": code, "outputs": outputs, "step": step}]
    return [part for part in parts if any(part.get(key) for key in ("text", "code", "outputs"))]


def _outputs(cell: dict, lecture: dict, views: dict, twins: dict) -> list[dict[str, Any]]:
    what, _, lines = lecture.get("outputs", "figures").partition(" ")
    if cell.get("id") in views and what in ("figures", "all"):
        return [{"view": views[cell["id"]]}]
    if "twin" in lecture and lecture["twin"] not in twins:
        raise LectureError(f"lecture.twin {lecture['twin']!r} is no cell of the chapter")
    outputs = notebooks.outputs(twins[lecture["twin"]] if "twin" in lecture else cell)
    pngs = ["".join(output["data"]["image/png"]) for output in outputs if "image/png" in output.get("data", {})]
    figures = [_figure(png, lecture.get("crop", "")) for png in pngs]
    texts = [_text("".join(output["text"]), lines) for output in outputs if output["output_type"] == "stream"]
    return {"figures": figures, "text": texts, "all": texts + figures, "none": []}[what]


def _text(text: str, lines: str) -> dict[str, Any]:
    every = (excerpt(text.strip("\n"), lines) if lines else text.strip("\n")).splitlines()
    folded = [textwrap.fill(line, WIDEST, subsequent_indent=" " * 8) if len(line) > WIDEST else line for line in every]
    return {"text": "\n".join(folded)}


def _figure(png: str, crop: str) -> dict[str, Any]:
    """Return a picture, or the part of it that is shown, as large as a slide may show it."""
    png = cut(png, crop) if crop else png
    width, height = (round(LARGEST * side) for side in png_size(png))
    return {"png": png, "width": width, "height": height}


def png_size(data: str) -> tuple[int, int]:
    """Return width and height, in pixels, of a PNG in base64."""
    return struct.unpack(">II", base64.b64decode("".join(data)[:64])[16:24])


def cut(png: str, crop: str) -> str:
    """Return a part of a picture, both PNG in base64; ``crop`` is "left top right bottom" in percent of its sides."""
    from PIL import Image

    try:
        left, top, right, bottom = (float(part) for part in crop.split())
    except ValueError:
        left = right = top = bottom = 0
    if not (0 <= left < right <= 100 and 0 <= top < bottom <= 100):
        raise LectureError(f'lecture.crop {crop!r} is not "left top right bottom" in percent, such as "0 0 50 100"')
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        (width, height), buffer = picture.size, io.BytesIO()
        first = round(left * width / 100), round(top * height / 100)
        last = round(right * width / 100), round(bottom * height / 100)
        picture.crop((*first, *last)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _layout(parts: list[dict[str, Any]]) -> str:
    """Return how parts are set: words alone are larger; one figure stands beside its text where it grows by that."""
    outputs = [output for part in parts for output in part.get("outputs", [])]
    text = "\n".join(part["text"] for part in parts if part.get("text"))
    code = any(part.get("code") for part in parts)
    if not outputs:
        return "below" if code else "words"
    if len(outputs) == 1 and "png" in outputs[0] and text and not code and "$$" not in text:
        width, height = outputs[0]["width"], outputs[0]["height"]
        lines = sum(1 + len(line) // 90 for line in text.splitlines())
        below = min(BODY[0] / width, (BODY[1] - 40 * lines) / height)
        return "beside" if min(0.6 * BODY[0] / width, BODY[1] / height) > below else "below"
    widest = max((len(line) for output in outputs for line in output.get("text", "").splitlines()), default=0)
    return "below wide" if widest > COLUMNS else "below"


def answers_of(solutions: dict) -> dict[str, str]:
    """Return, for each exercise such as ``"2.1"``, what solves it: the code, and what the notebook says below it."""
    answers: dict[str, str] = {}
    for number, parts in notebooks.exercise_parts(solutions).items():
        for kind, text, _ in parts[1:]:
            if kind == "code" and "check." in text:
                code = re.sub(r"\n*^check\..*", "", text, flags=re.M | re.S)
                answers[number] = f"\n\n<pre style='white-space: pre-wrap'>{escape(code)}</pre>\n"
            elif kind == "text" and number in answers:
                answers[number] += f"\n{text}"
    return answers


def _widgets(notebook: dict, executed: dict | None) -> tuple[dict[str, dict], dict]:
    """Return the views of cells that show a widget, by cell id, and the state of all widgets."""
    state = notebooks.widget_state(executed) if executed else {}
    sources = {cell.get("id"): text_of(cell) for cell in notebook["cells"]}
    found: dict[str, dict] = {}
    for cell in executed["cells"] if executed and state else ():
        views = [view for view in widget_views(cell) if view["model_id"] in state["state"]]
        if views and sources.get(cell.get("id")) == text_of(cell):
            found[cell["id"]] = views[-1]
    return found, state


def _reachable(state: dict[str, dict], shown: set[str]) -> dict[str, dict]:
    """Return of all widget models those that the shown ones are made of; jslinks count as parts of what they move."""
    made_of = {key: set(re.findall(r"IPY_MODEL_(\w+)", json.dumps(model["state"]))) for key, model in state.items()}
    links = [key for key, model in state.items() if model.get("model_name") in ("LinkModel", "DirectionalLinkModel")]
    kept: set[str] = set()
    while shown - kept:
        kept |= shown
        shown = set().union(*(made_of[key] for key in kept), (key for key in links if made_of[key] & kept)) & set(state)
    return {key: model for key, model in state.items() if key in kept}


def write(
    chapters: Sequence[Chapter], source: Path, output: Path, executed: Path, scripts: Mapping[str, Path]
) -> list[str]:
    """Write the lectures of chapters, their index, and the scripts that they load; return a line about each chapter.

    ``source`` holds the notebooks, and their solutions in a folder below; ``executed`` may hold executed copies, which
    bring widgets along; ``scripts`` is what ``vendor.fetch`` returns. ``output`` can be copied anywhere as a whole.
    """
    lines = []
    for name in (chapter.name for chapter in chapters):
        notebook = notebooks.read(source / f"{name}.ipynb")
        others = (folder / f"{name}.ipynb" for folder in (executed, source / "solutions"))
        try:
            made = deck(notebook, *(notebooks.read(path) if path.exists() else None for path in others))
        except LectureError as error:
            raise LectureError(f"{name}: {error}") from None
        write_page(output / f"{name}.html", fill("slides.html", **made))
        moving = "sliders move" if made["widgets"] else "still figures for sliders"
        lines.append(f"{name}: {_summary(notebook)}, {moving}")
    vendor.copy(scripts, SCRIPTS, output / "vendor")
    stored = (source / f"{path.stem}.ipynb" for path in sorted(output.glob("[0-9]*.html")))
    rows = [(path.stem, notebooks.read(path)) for path in stored if path.exists()]
    lectures = [(name, slides_of(notebook)[0].title, _summary(notebook)) for name, notebook in rows]
    write_page(output / "index.html", fill("lectures.html", lectures=lectures))
    return lines


def _summary(notebook: dict) -> str:
    slides = slides_of(notebook)
    pauses = sum(slide.exercise is not None for slide in slides)
    minutes = slides[-1].start + slides[-1].minutes
    return f"{len(slides)} slides, {minutes:g} minutes, {pauses} exercises as pauses"
