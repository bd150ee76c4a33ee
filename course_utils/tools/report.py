"""The report of a run: ``index.html`` and one page per executed notebook, readable without a network.

Pages load nothing: styles stand inside, figures are data URIs, and mathematics is MathML.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter

from course_utils.results import over_seeds, over_seeds_in_words
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Chapter, Result, in_words, judge, read_chapters, read_results
from course_utils.tools.pages import TEMPLATES, fill, highlighting, markdown_to_html, render_math, write_page

#: Of a chapter that ran to its end; whatever else happened is a cross.
MARKS = {"ok": "✓", "out of band": "▲", "missing numbers": "▲", "skipped": "▲"}
GRADES = {"in band": "good", "outside": "bad", "not recorded": "bad"}


def write(output: Path, source: Path) -> Path:
    """Write the pages of what ``results.json`` in ``output`` describes beside it, and return its ``index.html``.

    ``source`` holds ``course.yml`` and the notebooks, for chapters not executed yet and for pictures.
    """
    chapters, executed = read_chapters(source), {}
    results = read_results(output)
    for result in results:
        path = output / f"{result.name}.ipynb"
        with contextlib.suppress(FileNotFoundError, notebooks.NotebookError):  # a damaged one has no page
            executed[result.name] = notebooks.read(path)
            page = path.with_suffix(".html")
            if not (page.exists() and page.stat().st_mtime >= path.stat().st_mtime):
                title = f"{result.name.split('_')[0]} · {result.title}"
                write_page(page, notebook_page(executed[result.name], title, source))
    write_page(output / "index.html", index_page(results, chapters, executed))
    return output / "index.html"


def index_page(results: Sequence[Result], chapters: Sequence[Chapter], executed: Mapping[str, dict]) -> str:
    """Return the first page: of each chapter its status, numbers and figures; ``executed`` maps names to notebooks."""
    bad = [f"{result.title} ({result.status})" for result in results if result.status != "ok"]
    known = {chapter.name: chapter for chapter in chapters}
    end = f"; look at {', '.join(bad)}." if bad else ", and every number that was compared with a band lies in it."
    return fill(
        "report.html",
        title="Report of the course",
        lead=f"{len(results) - len(bad)} of {len(results)} chapters are fine{end}",
        last=max((result for result in results if result.machine), key=lambda result: result.date, default=None),
        minutes=sum(result.minutes for result in results),
        sections=[_section(result, known.get(result.name), executed.get(result.name)) for result in results],
        idle=[chapter.title for chapter in chapters if chapter.name not in {result.name for result in results}],
    )


def _section(result: Result, chapter: Chapter | None, executed: dict | None) -> dict[str, Any]:
    """Return what ``report.html`` shows of a chapter."""
    figures = notebooks.figures(executed) if executed else []
    return {
        "result": result,
        "mark": MARKS.get(result.status, "✕"),
        "executed": executed is not None,
        "rows": _rows(result, chapter),
        "board": _scoreboard(executed, chapter.scoreboard) if executed and chapter and chapter.scoreboard else None,
        "figures": [(figure, picture) for figure in figures if (picture := _thumbnail(figure.png))],
    }


def _rows(result: Result, chapter: Chapter | None) -> list[dict[str, Any]]:
    """Return a chapter's numbers, in the words and order of course.yml, each beside its band and its kept runs."""
    announced, counted = (chapter.numbers, chapter.counted) if chapter else ({}, frozenset())
    standings = judge(result.bands, result.numbers, overridden=result.overridden, counted=counted).each
    rows = []
    for name in [*(n for n in announced if n in standings), *(n for n in standings if n not in announced)]:
        words, value, band = announced.get(name, {}), result.numbers.get(name), result.bands.get(name)
        unit = f" ({words['unit']})" if words.get("unit") else ""
        rows.append(
            {
                "label": (words.get("label") or name.replace("_", " ")) + unit,
                "value": "–" if value is None else f"{value:.4g}",
                "band": in_words(band) if band else "",
                "kept": _over_seeds(chapter, name) if chapter and result.profile == "quick" else "",
                "position": None if value is None or band is None else _position(value, *band),
                "standing": standings[name],
                "grade": GRADES.get(standings[name], "quiet"),
            }
        )
    return rows


def _over_seeds(chapter: Chapter, name: str) -> str:
    values = over_seeds(chapter.number, name, chapter.path.parent / "spread")
    return over_seeds_in_words(values, chapter.numbers.get(name, {}).get("above")) if values.size else ""


def _position(value: float, low: float, high: float) -> float | None:
    """Return where a value stands if its band reaches from 40 to 100; far outside it stands at an edge, 3 or 137."""
    if value != value:
        return None
    place = 70.0 if high == low == value else 40 + 60 * (value - low) / ((high - low) or abs(low) or 1)
    return min(max(place, 3), 137)


def _scoreboard(executed: dict, announced: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the scoreboard that an executed chapter kept; nothing if it kept none."""
    from course_utils.tools.tables import scoreboard_cells

    values = notebooks.recorded(executed)[1].get("scoreboard")
    if values is None:
        return None
    head, rows = scoreboard_cells(dict(announced), values)
    return {"head": head, "rows": rows, "seeds": len(values[0][0])}


def _thumbnail(png: str, size: tuple[int, int] = (520, 300)) -> str:
    """Return a small WebP of a picture as a data URI; an empty string if it is no picture."""
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    except (OSError, ValueError):
        return ""
    paper = Image.new("RGB", picture.size, "white")
    paper.paste(picture, mask=picture.getchannel("A"))
    paper.thumbnail(size)
    buffer = io.BytesIO()
    paper.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        # A link to a notebook would lead nowhere from the folder of the report: say where the notebook lies.
        source = re.sub(r"\[([^\]]+)\]\(([\w/]+\.ipynb)\)", r"\1 (`notebooks/\2`)", source)
        return markdown_to_html(source, context["resources"]["metadata"]["path"])


def notebook_page(notebook: dict, title: str, source: Path) -> str:
    """Return an executed notebook as one HTML page that loads nothing; pictures in its text come from ``source``."""
    notebook = notebooks.for_readers(notebook)
    copy, figures = nbformat.reads(json.dumps(notebook), as_version=4), iter(notebooks.figures(notebook))
    for outputs in map(notebooks.outputs, copy.cells):
        outputs[:] = [output for output in outputs if notebooks.WIDGET_VIEW not in output.get("data", {})]
        for output in (output for output in outputs if "image/png" in output.get("data", {})):
            figure = next(figures)
            output["metadata"]["figure"] = {"number": figure.number, "title": figure.title()}
    exporter = _Exporter(template_name="basic", template_file=str(TEMPLATES / "executed.html.j2"))
    exporter.register_filter("without_scripts", _without_scripts)
    exporter.register_filter("formula", _formula)
    body, _ = exporter.from_notebook_node(copy, resources={"metadata": {"path": str(source)}})
    body = re.sub(r'href="([\w-]+)\.ipynb(#[^"]*)?"', r'href="\1.html\2"', body)
    dark = (line for line in highlighting("github-dark").splitlines() if line.startswith(".highlight"))
    return fill("executed.html", title=title, body=body, light=highlighting(), dark="\n".join(dark))


def _without_scripts(html: str) -> str:
    return re.sub(r"(?is)<script\b.*?</script\s*>|<link\b[^>]*>", "", html)


def _formula(tex: str) -> str:
    return render_math(tex.strip().strip("$").removeprefix("\\displaystyle"), block=True)
