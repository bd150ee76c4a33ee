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
import shutil
import struct
import textwrap
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from course_utils.tools import write_text
from course_utils.tools.report import MARK, set_aside_math
from course_utils.tools.slides_page import INDEX, STYLE, TEMPLATE

SLIDE_TYPES = ("slide", "subslide", "fragment", "notes", "skip", "-")
#: What ``lecture`` may hold: title of the slide; text in place of the cell's; speaker notes; minutes; which lines of
#: code and which outputs are shown; the cell whose figure stands for a slider that has no state to move it; the part
#: of a figure that is shown, as "left top right bottom" in percent; the cell after whose slide this one comes.
KEYS = {"title": str, "text": str, "notes": str, "minutes": (int, float)}
KEYS |= dict.fromkeys(("code", "outputs", "twin", "crop", "after"), str)
OUTPUTS = ("figures", "text", "all", "none")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
EXERCISE = re.compile(r"^#+ Exercise (\d+\.\d+)\s*[—:-]\s*(.+?)\s*·\s*difficulty (\d/5)\s*·\s*(\d+ minutes?)", re.M)
COLUMNS = 80  # of shown code
WIDEST = 95  # columns of shown output, which is a little smaller
BODY = (1168, 570)  # width and height, in pixels, of a slide below its title
LARGEST = 1.7  # times its own size: more would only blur a figure
#: What a lecture loads: npm package → (its folder in build/vendor, what of it is copied beside the slides).
SCRIPTS = {
    "reveal.js": ("reveal", ("dist/reveal.js", "dist/reveal.css", "dist/theme", "plugin/notes", "LICENSE")),
    "requirejs": ("requirejs", ("require.js",)),
    "@jupyter-widgets/html-manager": ("html-manager", ("dist/embed-amd.js", "LICENSE")),
    "mathjax": (
        "mathjax",
        ("MathJax.js", "LICENSE", "config/TeX-AMS_SVG-full.js", "extensions/TeX", "jax/element", "jax/input/TeX")
        + ("jax/output/SVG/jax.js", "jax/output/SVG/autoload", "jax/output/SVG/fonts/TeX"),
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
    below: bool  # a sub-slide: it stands below the one before
    exercise: re.Match | None
    after: str  # the cell after whose slide it comes, if that is not the order of the notebook
    cells: list[dict] = field(default_factory=list)
    start: float = 0.0  # minutes since the beginning of the lecture


# ---------------------------------------------------------------- what the metadata say


def lecture_of(cell: dict) -> tuple[str, dict]:
    """Return how a cell takes part in the lecture, and its dictionary ``lecture``, both checked.

    Raises
    ------
    LectureError
        For a kind of slide, a key, or a value that means nothing.
    """
    kind = cell["metadata"].get("slideshow", {}).get("slide_type", "skip") or "-"
    lecture = cell["metadata"].get("lecture", {})
    where = f"cell {cell.get('id', '?')}"
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
    """Return the slides of a notebook, in order.

    Raises
    ------
    LectureError
        If a slide has no title, or a cell goes on before a first slide has begun.
    """
    slides: list[Slide] = []
    for cell in notebook["cells"]:
        kind, lecture = lecture_of(cell)
        if kind == "skip":
            continue
        if kind in ("slide", "subslide"):
            slides.append(_begin(cell, kind, lecture, slides))
        elif not slides:
            raise LectureError(f"cell {cell.get('id', '?')}: {kind!r} goes on with a slide, but none has begun")
        elif kind == "notes":
            slides[-1].notes += "\n\n" + (lecture.get("text") or _source(cell))
            continue
        elif lecture.get("notes"):
            slides[-1].notes += "\n\n" + lecture["notes"]
        slides[-1].cells.append(cell)
    return _moved(slides)


def _moved(slides: list[Slide]) -> list[Slide]:
    """Put slides that name another, as exercises do, after that one, in their own order; then set the clock."""
    ordered = [slide for slide in slides if not slide.after]
    for slide in slides:
        if not slide.after:
            continue
        place = [k for k, other in enumerate(ordered) if slide.after in [cell.get("id") for cell in other.cells]]
        if not place:
            raise LectureError(f"slide {slide.title!r}: lecture.after {slide.after!r} is no cell of another slide")
        end = place[0] + 1
        while end < len(ordered) and ordered[end].after == slide.after:
            end += 1
        ordered.insert(end, slide)
    for slide, before in zip(ordered[1:], ordered, strict=False):
        slide.start = before.start + before.minutes
    return ordered


def _begin(cell: dict, kind: str, lecture: dict, slides: list[Slide]) -> Slide:
    if not lecture.get("title"):
        raise LectureError(f"cell {cell.get('id', '?')}: a {kind} needs lecture.title, the claim that it makes")
    exercise = EXERCISE.search(_source(cell)) if cell["cell_type"] == "markdown" else None
    minutes, notes, below = float(lecture.get("minutes", 0)), lecture.get("notes", ""), kind == "subslide"
    return Slide(lecture["title"], minutes, notes, below and bool(slides), exercise, lecture.get("after", ""))


def excerpt(source: str, lines: str) -> str:
    """Return the lines of code that a slide shows.

    Parameters
    ----------
    source
        Of the cell.
    lines
        ``"show"``, ``"hide"``, or numbers from 1 such as ``"3-9"`` or ``"1-2, 7-9"``; ``…`` stands for what is left out
        between two ranges. A comment behind code that would reach beyond column 80 moves to a line above it.

    Raises
    ------
    LectureError
        For a range that the cell does not have.
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


# ---------------------------------------------------------------- from a notebook to the notebook of its slides


def for_reveal(notebook: dict, executed: dict | None = None, solutions: dict | None = None) -> dict:
    """Return the notebook that nbconvert turns into slides: titles, short texts, excerpts, notes.

    Parameters
    ----------
    notebook
        A chapter as stored, as nbformat writes it.
    executed
        The same chapter from ``build/run``; its widgets and their state are taken over where the cells agree.
    solutions
        The notebook of its solutions; what solves an exercise is put into the notes of its slide.

    Returns
    -------
    dict
        For each slide a title cell, the cells of its body, and a cell of notes.
    """
    slides = slides_of(notebook)
    if not slides:
        raise LectureError("no cell has slideshow metadata: the chapter has no lecture yet")
    whole = slides[-1].start + slides[-1].minutes
    widgets, state = _widgets(notebook, executed)
    twins = {cell.get("id"): cell for cell in notebook["cells"]}
    answers = answers_of(solutions) if solutions else {}
    cells, shown, formulas = [], set(), []
    for number, slide in enumerate(slides):
        body = [part for cell in slide.cells for part in _body(cell, widgets, twins)]
        body += [_markdown(_about(slide))] if slide.exercise else []
        shown |= {view["model_id"] for part in body for view in _views(part)}
        layout = "title" if number == 0 else _layout(body)
        cells += [_heading(slide, layout), *_framed(body, layout), _notes(slide, whole, answers, formulas)]
    for place, cell in enumerate(cells):
        cell["id"] = f"part-{place}"
    metadata = {"title": slides[0].title, "formulas": formulas}  # of the notes, whose window sets no mathematics
    if shown:
        metadata["widgets"] = {WIDGET_STATE: {**state, "state": _reachable(state["state"], shown)}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _source(cell: dict) -> str:
    return "".join(cell["source"])


def _markdown(text: str, **metadata) -> dict:
    return {"cell_type": "markdown", "metadata": metadata, "source": text}


def _heading(slide: Slide, layout: str) -> dict:
    kind = "pause" if slide.exercise else layout
    slideshow = {
        "slide_type": "subslide" if slide.below else "slide",
        "data": {"kind": kind, "timing": str(round(60 * slide.minutes))},
    }
    return _markdown(f"## {slide.title}", slideshow=slideshow)


def _about(slide: Slide) -> str:
    difficulty, minutes = slide.exercise.groups()[2:]
    now = f"**{slide.minutes:g} minute{'s' * (slide.minutes != 1)} now**"
    return f"Pause: {now} · in the notebook: difficulty {difficulty}, {minutes}"


def _notes(slide: Slide, whole: float, answers: dict[str, str], formulas: list[str]) -> dict:
    text = f"**{clock(slide.start)} of {clock(whole)}** · {slide.minutes:g} min\n\n{slide.notes}"
    if slide.exercise:
        answer = answers.get(slide.exercise[1], "in the folder `solutions`, which is not here.")
        text += f"\n\n**Expected answer:** {answer}"
    return _markdown(set_aside_math(text, formulas), slideshow={"slide_type": "notes"})


def _body(cell: dict, widgets: dict, twins: dict) -> list[dict]:
    """Return the cells that one cell of the chapter becomes: text, code and outputs."""
    kind, lecture = lecture_of(cell)
    step = kind == "fragment"
    if cell["cell_type"] != "code":
        return [_markdown(lecture.get("text", _source(cell)), step=step)]
    parts = [_markdown(lecture["text"], step=step)] if lecture.get("text") else []
    try:
        code = excerpt(_source(cell), lecture.get("code", "hide"))
        outputs = _outputs(cell, lecture, widgets, twins)
    except LectureError as error:
        raise LectureError(f"cell {cell.get('id', '?')}: {error}") from None
    if code or outputs:
        metadata = {"step": step, "transient": {"remove_source": not code}}
        parts.append({"cell_type": "code", "metadata": metadata, "source": code, "outputs": outputs})
        parts[-1]["execution_count"] = None
    return parts


def _outputs(cell: dict, lecture: dict, widgets: dict, twins: dict) -> list[dict]:
    what, _, lines = lecture.get("outputs", "figures").partition(" ")
    if cell.get("id") in widgets and what in ("figures", "all"):
        return widgets[cell["id"]]
    outputs = cell["outputs"]
    if "twin" in lecture:
        if lecture["twin"] not in twins:
            raise LectureError(f"lecture.twin {lecture['twin']!r} is no cell of the chapter")
        outputs = twins[lecture["twin"]]["outputs"]
    figures = [_figure(out, lecture.get("crop", "")) for out in outputs if "image/png" in out.get("data", {})]
    texts = [_text(out, lines) for out in outputs if out["output_type"] == "stream"]
    return {"figures": figures, "text": texts, "all": texts + figures, "none": []}[what]


def _text(output: dict, lines: str) -> dict:
    text = "".join(output["text"]).strip("\n")
    text = excerpt(text, lines) if lines else text
    folded = [
        textwrap.fill(line, WIDEST, subsequent_indent=" " * 8) if len(line) > WIDEST else line
        for line in text.splitlines()
    ]
    return {"output_type": "stream", "name": "stdout", "text": "\n".join(folded)}


def png_size(data: str) -> tuple[int, int]:
    """Return width and height, in pixels, of a PNG in base64."""
    return struct.unpack(">II", base64.b64decode("".join(data)[:64])[16:24])


def _figure(output: dict, crop: str = "") -> dict:
    """Return the output with its picture alone, drawn as large as a slide may show it."""
    png = "".join(output["data"]["image/png"])
    png = cut(png, crop) if crop else png
    width, height = (round(LARGEST * side) for side in png_size(png))
    size = {"image/png": {"width": width, "height": height}}
    return {"output_type": "display_data", "data": {"image/png": png}, "metadata": size}


def cut(png: str, crop: str) -> str:
    """Return a part of a picture, both PNG in base64; ``crop`` is "left top right bottom" in percent of its sides."""
    from PIL import Image

    left, top, right, bottom = edges(crop)
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        (width, height), buffer = picture.size, io.BytesIO()
        box = [
            round(part * side / 100) for part, side in zip((left, top, right, bottom), 2 * (width, height), strict=True)
        ]
        picture.crop(box).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def edges(crop: str) -> tuple[float, ...]:
    """Read "left top right bottom" in percent; LectureError if that is no part of a picture."""
    try:
        left, top, right, bottom = (float(part) for part in crop.split())
    except ValueError:
        left = right = top = bottom = 0
    if not (0 <= left < right <= 100 and 0 <= top < bottom <= 100):
        raise LectureError(f'lecture.crop {crop!r} is not "left top right bottom" in percent, such as "0 0 50 100"')
    return left, top, right, bottom


def _layout(body: list[dict]) -> str:
    """Return how a body is set: words alone are larger; one figure stands beside its text where it grows by that."""
    outputs = [output for cell in body for output in cell.get("outputs", [])]
    pngs = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    text = "".join(_source(cell) for cell in body if cell["cell_type"] == "markdown")
    code = any(cell["cell_type"] == "code" and cell["source"] for cell in body)
    if len(pngs) == len(outputs) == 1 and text.strip() and not code and "$$" not in text:
        width, height = png_size(pngs[0])
        below = min(BODY[0] / width, (BODY[1] - 40 * sum(1 + len(line) // 90 for line in text.splitlines())) / height)
        return "beside" if min(0.6 * BODY[0] / width, BODY[1] / height) > below else "below"
    if not outputs:
        return "below" if code else "words"
    widest = max((len(line) for out in outputs for line in out.get("text", "").splitlines()), default=0)
    return "below wide" if widest > COLUMNS else "below"


def _framed(body: list[dict], layout: str) -> list[dict]:
    """Mark the first and the last cell of a body, where the template opens and closes its frame."""
    body = body or [_markdown("")]
    body[0]["metadata"]["frame_start"], body[-1]["metadata"]["frame_end"] = layout, True
    return body


def answers_of(solutions: dict) -> dict[str, str]:
    """Return, for each exercise such as ``"2.1"``, what solves it: the code, and what the notebook says below it."""
    answers, number = {}, None
    for cell in solutions["cells"]:
        before, *rest = re.split(r"^#+ (?=Exercise \d)", _source(cell), flags=re.M)
        if number and cell["cell_type"] == "code" and "check." in before:
            code = re.sub(r"\n*^check\..*", "", before, flags=re.M | re.S)
            answers[number] = f"\n\n<pre style='white-space: pre-wrap'>{escape(code)}</pre>\n"
        elif number in answers and cell["cell_type"] == "markdown":
            answers[number] += "\n" + before.strip()
        for part in rest:
            number = re.match(r"Exercise (\d+\.\d+)", part)[1]
    return answers


# ---------------------------------------------------------------- widgets


def _widgets(notebook: dict, executed: dict | None) -> tuple[dict[str, list], dict]:
    """Return the outputs of cells that show a widget, by cell id, and the state of all widgets."""
    state = (executed or {}).get("metadata", {}).get("widgets", {}).get(WIDGET_STATE)
    if not state:
        return {}, {}
    sources = {cell.get("id"): _source(cell) for cell in notebook["cells"]}
    found = {}
    for cell in executed["cells"]:
        views = [view for view in _views(cell) if view["model_id"] in state["state"]]
        if views and sources.get(cell.get("id")) == _source(cell):
            found[cell["id"]] = [
                {"output_type": "display_data", "data": {WIDGET_VIEW: view}, "metadata": {}} for view in views[-1:]
            ]
    return found, state


def _views(cell: dict) -> list[dict]:
    return [o["data"][WIDGET_VIEW] for o in cell.get("outputs", []) if WIDGET_VIEW in o.get("data", {})]


def _reachable(state: dict[str, dict], roots: set[str]) -> dict[str, dict]:
    """Return of all widget models those that the shown ones are made of; jslinks count as parts of what they move."""
    kept: dict[str, dict] = {}
    waiting = list(roots)
    links = [key for key, model in state.items() if model.get("model_name") in ("LinkModel", "DirectionalLinkModel")]
    while waiting:
        key = waiting.pop()
        if key in kept or key not in state:
            continue
        kept[key] = state[key]
        waiting += re.findall(r"IPY_MODEL_(\w+)", json.dumps(state[key]["state"]))
        if not waiting:
            waiting += [link for link in links if any(part in kept for part in _ends(state[link]))]
    return kept


def _ends(link: dict) -> list[str]:
    return re.findall(r"IPY_MODEL_(\w+)", json.dumps(link["state"]))


# ---------------------------------------------------------------- pages


def page(notebook: dict) -> str:
    """Return the notebook of ``for_reveal`` as a page that loads its scripts from the folder ``vendor`` beside it."""
    import nbformat
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(
        raw_template=TEMPLATE,
        reveal_url_prefix="vendor/reveal",
        reveal_theme="white",
        require_js_url="vendor/requirejs/require.js",
        widget_renderer_url="vendor/html-manager/dist/embed-amd.js",
        mathjax_url="vendor/mathjax/MathJax.js?config=TeX-AMS_SVG-full",
    )
    node = nbformat.from_dict(notebook)
    body, _ = exporter.from_notebook_node(node, resources={"lecture_style": STYLE + _highlighting()})
    body = re.sub(MARK, lambda match: notebook["metadata"]["formulas"][int(match[1])], body)
    return body.replace('alt="No description has been provided for this image"', 'alt="figure of this slide"')


def _highlighting() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="default").get_style_defs(".highlight")


def write(entries: list[dict], source: Path, output: Path, executed: Path, vendor: dict[str, Path]) -> list[str]:
    """Write the lectures of chapters, their index, and the scripts that they load.

    Parameters
    ----------
    entries
        Chapters of ``course.yml``.
    source
        Folder with the notebooks, and their solutions in a folder below.
    output
        Folder for the pages; it can be copied anywhere as a whole.
    executed
        Folder with executed copies, which bring widgets along; it need not exist.
    vendor
        npm package → folder, as ``vendor.fetch`` returns it.

    Returns
    -------
    list of str
        A line about each chapter.
    """
    lines = []
    for entry in entries:
        name = entry["name"]
        notebook, *others = (_read(path / f"{name}.ipynb") for path in (source, executed, source / "solutions"))
        try:
            lecture = for_reveal(notebook, *others)
        except LectureError as error:
            raise LectureError(f"{name}: {error}") from None
        write_text(output / f"{name}.html", page(lecture))
        moving = "sliders move" if "widgets" in lecture["metadata"] else "still figures for sliders"
        lines.append(f"{name}: {_summary(notebook)}, {moving}")
    copy_scripts(vendor, output / "vendor")
    every = [name for name in sorted(path.stem for path in output.glob("[0-9]*.html"))]
    notebooks = {name: _read(source / f"{name}.ipynb") for name in every}
    write_text(output / "index.html", _index({name: nb for name, nb in notebooks.items() if nb}))
    return lines


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _summary(notebook: dict) -> str:
    slides = slides_of(notebook)
    pauses = sum(slide.exercise is not None for slide in slides)
    minutes = slides[-1].start + slides[-1].minutes
    return f"{len(slides)} slides, {minutes:g} minutes, {pauses} exercises as pauses"


def _index(notebooks: dict[str, dict]) -> str:
    rows = [
        f"<li><a href='{name}.html'>{name[:2]} · {escape(slides_of(nb)[0].title)}</a><br>{_summary(nb)}</li>"
        for name, nb in notebooks.items()
    ]
    return INDEX.replace("ROWS", "\n".join(rows))


def copy_scripts(vendor: dict[str, Path], folder: Path) -> None:
    """Copy what the pages load from the folders of npm packages; what is there already stays."""
    for package, (name, parts) in SCRIPTS.items():
        for part in parts:
            origin, target = vendor[package] / part, folder / name / part
            if target.exists() or not origin.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, target)
            else:
                shutil.copyfile(origin, target)
