"""The report of a run: ``index.html`` and one page per executed notebook, readable without a network.

Pages load nothing: styles stand inside, figures are data URIs, and mathematics is MathML.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from course_utils.runtime import replacing
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Band, Chapter, Result, in_words, judge, read_chapters, read_results
from course_utils.tools.mathml import MARK, render_math, set_aside_math

#: Of a chapter that ran to its end; whatever else happened is a cross.
MARKS = {"ok": "✓", "out of band": "▲", "missing numbers": "▲", "skipped": "▲"}
GRADES = {"in band": "good", "outside": "bad", "not recorded": "bad"}


def write(output: Path, source: Path) -> Path:
    """Write the pages of what ``results.json`` in ``output`` describes beside it, and return its ``index.html``.

    ``source`` holds ``course.yml`` and the notebooks, for chapters not executed yet and for pictures.
    """
    results = read_results(output)
    chapters = {chapter.name: chapter for chapter in read_chapters(source)}
    sections = []
    for result in results:
        executed = output / f"{result.name}.ipynb"
        notebook = notebooks.read(executed) if executed.exists() else None
        page = executed.with_suffix(".html")
        if notebook and not (page.exists() and page.stat().st_mtime >= executed.stat().st_mtime):
            write_page(page, notebook_page(notebook, f"{result.name.split('_')[0]} · {result.title}", source))
        sections.append(_section(result, notebook, chapters.get(result.name)))
    idle = [chapter.title for name, chapter in chapters.items() if name not in {result.name for result in results}]
    rest = f"<p class='quiet'>Not executed yet: {escape(', '.join(idle))}.</p>" if idle else ""
    body = f"<header><h1>Report of the course</h1>{_summary(results)}</header>{''.join(sections)}{rest}"
    write_page(output / "index.html", _page("Report of the course", body))
    return output / "index.html"


# ---------------------------------------------------------------- index.html


def _summary(results: Sequence[Result]) -> str:
    bad = [f"{result.title} ({result.status})" for result in results if result.status != "ok"]
    text = f"{len(results) - len(bad)} of {len(results)} chapters are fine"
    text += f"; look at {', '.join(bad)}." if bad else ", and every number that was compared with a band lies in it."
    lines = [f"<p class='lead'>{escape(text)}</p>"]
    if known := [result for result in results if result.machine]:
        last = max(known, key=lambda result: result.date)
        machine = last.machine
        facts = [last.date.replace("T", " ").replace("+00:00", " UTC")]
        facts += [f"{sum(result.minutes for result in results):.1f} minutes in all"]
        facts += [
            f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gb')} GB, "
            f"{machine.get('system')}, device {machine.get('device')}"
        ]
        facts += [", ".join(f"{name} {version}" for name, version in last.versions.items())]
        lines.append(f"<p class='quiet'>{escape(' · '.join(facts))}</p>")
    return "".join(lines)


def _section(result: Result, notebook: dict | None, chapter: Chapter | None) -> str:
    page, title, link = escape(f"{result.name}.html"), escape(result.title), ""
    if notebook:
        title, link = f"<a href='{page}'>{title}</a>", f"<p><a href='{page}'>Read the executed notebook</a></p>"
    facts = [f"{result.minutes:.1f} min", f"profile {result.profile}"]
    facts += [f"{name} = {value}" for name, value in result.parameters.items() if name != "profile"]
    traceback = f"<details open><summary>Traceback</summary><pre>{escape(result.traceback)}</pre></details>"
    parts = [
        f"<section><h2><span class='number'>{escape(result.name.split('_')[0])}</span> {title}</h2>",
        f"<p><span class='status {'good' if result.status == 'ok' else 'bad'}'>",
        f"{MARKS.get(result.status, '✕')} {escape(result.status)}</span> ",
        f"<span class='quiet'>{escape(' · '.join(facts))}</span></p>",
        f"<p>{escape(result.message)}</p>" if result.message else "",
        _numbers(result, chapter.numbers if chapter else {}),
        _scoreboard(notebook, chapter.scoreboard) if notebook and chapter and chapter.scoreboard else "",
        _strip(notebook, page) if notebook else "",
        traceback if result.traceback else "",
        f"{link}</section>",
    ]
    return "".join(parts)


def _numbers(result: Result, announced: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of a chapter's numbers, in the words and order of course.yml, each beside its band."""
    standings = judge(result.bands, result.numbers, overridden=result.overridden).each
    rows = []
    for name in [*(n for n in announced if n in standings), *(n for n in standings if n not in announced)]:
        words = announced.get(name, {})
        label = words.get("label") or name.replace("_", " ")
        label += f" ({words['unit']})" if words.get("unit") else ""
        value, band, grade = result.numbers.get(name), result.bands.get(name), GRADES.get(standings[name], "quiet")
        rows.append(
            f"<tr><th scope='row'>{escape(label)}</th>"
            f"<td class='figure'>{'–' if value is None else f'{value:.4g}'}</td>"
            f"<td>{_marker(value, band, grade)}</td>"
            f"<td class='quiet'>{in_words(band) if band else ''}</td>"
            f"<td class='{grade}'>{standings[name]}</td></tr>"
        )
    head = "<tr><th>number</th><th>value</th><th></th><th>expected</th><th></th></tr>"
    return f"<div class='scroll'><table>{head}{''.join(rows)}</table></div>" if rows else ""


def _marker(value: float | None, band: Band | None, grade: str) -> str:
    """Draw a band as a bar and the value as a stroke; a value far outside stands at the edge."""
    if value is None or band is None or value != value:
        return ""
    low, high = band
    position = 70.0 if high == low == value else 40 + 60 * (value - low) / ((high - low) or abs(low) or 1)
    position = min(max(position, 3), 137)
    return (
        "<svg class='marker' viewBox='0 0 140 16' width='140' height='16' aria-hidden='true'>"
        "<line x1='0' y1='8' x2='140' y2='8' class='track'/>"
        "<rect x='40' y='4' width='60' height='8' rx='2' class='band'/>"
        f"<rect x='{position - 2:.1f}' y='0' width='4' height='16' rx='2' class='value {grade}'/></svg>"
    )


def _scoreboard(notebook: dict, announced: Mapping[str, Any]) -> str:
    """Return the scoreboard that an executed chapter kept, as a table; nothing if it kept none."""
    from course_utils.tools.tables import scoreboard_cells

    values = notebooks.recorded(notebook)[1].get("scoreboard")
    if values is None:
        return ""
    head, rows = scoreboard_cells(dict(announced), values)
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for name, *cells in rows:
        figures = "".join(f"<td class='figure'>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr><th scope='row'>{escape(name)}</th>{figures}</tr>")
    seeds, words = len(values[0][0]), "Scoreboard, one seed"
    if seeds > 1:
        words = f"Scoreboard of this run, mean ± standard deviation over {seeds} seeds"
    return f"<p>{words}</p><div class='scroll'><table>{''.join(lines)}</table></div>"


def _strip(notebook: dict, page: str) -> str:
    figures = []
    for figure in notebooks.figures(notebook):
        if uri := _thumbnail(figure.png):
            title = escape(figure.title())
            image = f"<img loading='lazy' alt='{title}' title='{title}' src='{uri}'>"
            figures.append(f"<a href='{page}#figure-{figure.number}'>{image}</a>")
    return f"<div class='strip'>{''.join(figures)}</div>" if figures else ""


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


# ---------------------------------------------------------------- one page per notebook


def notebook_page(notebook: dict, title: str, source: Path) -> str:
    """Return an executed notebook as one HTML page that loads nothing; pictures in its text come from ``source``."""
    import nbformat
    from nbconvert import HTMLExporter

    formulas: list[str] = []
    copy, figures = nbformat.reads(json.dumps(notebook), as_version=4), notebooks.figures(notebook)
    for cell in copy["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = set_aside_math(cell["source"], formulas)
        outputs = notebooks.outputs(cell)
        outputs[:] = [output for output in outputs if notebooks.WIDGET_VIEW not in output.get("data", {})]
        for output in outputs:
            _static(output.get("data", {}))
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(copy)
    body = re.sub(r'\b(id|href|title|alt)="[^"]*"', lambda m: re.sub(MARK, "", m[0]), body)
    body = re.sub(MARK, lambda m: formulas[int(m[1])], body)
    body = re.sub(r'href="([\w-]+)\.ipynb(#[^"]*)?"', r'href="\1.html\2"', body)
    body = re.sub(r'(<img\b[^>]*?\bsrc=")([^":]+)"', lambda m: f'{m[1]}{_embedded(source / m[2])}"', body)
    names = (
        f'<img id="figure-{figure.number}" alt="{escape(figure.title())}" src="data:image/png' for figure in figures
    )
    nameless = r'<img alt="No description has been provided for this image"[^>]*? src="data:image/png'
    body = re.sub(nameless, lambda m: next(names, m[0]), body)
    back = "<nav><a href='index.html'>Report of the course</a></nav>"
    return _page(title, f"{back}<article>{body}</article>{back}", extra=_both_schemes())


def _static(data: dict) -> None:
    """Leave of an output only what a page without scripts can show."""
    data.pop("application/javascript", None)
    if "text/latex" in data and "text/html" not in data and "image/png" not in data:
        tex = "".join(data.pop("text/latex")).strip()
        data["text/html"] = render_math(tex.strip("$").removeprefix("\\displaystyle"), block=True)
    if "text/html" in data:
        data["text/html"] = re.sub(r"(?is)<script\b.*?</script\s*>|<link\b[^>]*>", "", "".join(data["text/html"]))


def _embedded(path: Path) -> str:
    """Return a picture that the text names as a data URI; its name, if it is not there."""
    kind = {".svg": "svg+xml", ".jpg": "jpeg"}.get(path.suffix.lower(), path.suffix.lower().lstrip("."))
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}" if path.is_file() else path.name


# ---------------------------------------------------------------- the frame of all pages


def write_page(path: Path, text: str) -> None:
    """Write a page whole: a reader sees the old one or the new one."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def highlighting(style: str = "default") -> str:
    """Return the rules of CSS that colour code."""
    from pygments.formatters import HtmlFormatter

    return str(HtmlFormatter(style=style).get_style_defs(".highlight"))


def _both_schemes() -> str:
    dark = "\n".join(line for line in highlighting("github-dark").splitlines() if line.startswith(".highlight"))
    paper = ".highlight { background: none !important }"
    return f"{highlighting()}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n{paper}"


def _page(title: str, body: str, extra: str = "") -> str:
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{extra}{STYLE}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --quiet: #5c6570; --paper: #fdfdfc; --line: #d9dcdf; --soft: #f2f3f1;
  --good: #005a9c; --bad: #b34700; --band: #a9cbe4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e8; --quiet: #9aa4ae; --paper: #16191d; --line: #343a41;
  --soft: #20252a; --good: #7cc0f2; --bad: #ffa366; --band: #2f5875; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.6 system-ui, sans-serif;
  overflow-wrap: break-word }
main { max-width: 52rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1, h2, h3, h4 { line-height: 1.25; font-weight: 600; margin: 1.8em 0 .5em }
h1 { font-size: 1.8rem; margin-top: .6em } h2 { font-size: 1.35rem } h3 { font-size: 1.1rem }
a { color: var(--good); text-underline-offset: .15em }
section { border-top: 1px solid var(--line); margin-top: 2rem }
section h2 { margin: 1.2rem 0 .2rem } section h2 a { color: inherit; text-decoration: none }
section h2 a:hover { text-decoration: underline }
.number { color: var(--quiet); font-variant-numeric: tabular-nums; margin-right: .3em }
.lead { font-size: 1.15rem; margin: .4em 0 }
.quiet { color: var(--quiet); font-size: .9rem } header .quiet { max-width: 44rem }
.good { color: var(--good) } .bad { color: var(--bad); font-weight: 600 }
.status { font-weight: 600; margin-right: .6em }
.scroll, .output_subarea { overflow-x: auto } .scroll td { white-space: nowrap }
table { border-collapse: collapse; font-size: .92rem; margin: .8rem 0; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem 1.1rem .3rem 0; border-bottom: 1px solid var(--line); font-weight: 400 }
tr:first-child th { color: var(--quiet); font-size: .85rem } td.figure { text-align: right }
article table { display: block; overflow-x: auto }
article th, article tr:first-child th { font-weight: 600; color: inherit }
.marker { display: block } .track { stroke: var(--line); stroke-width: 1.5 } .band { fill: var(--band) }
.value.good { fill: var(--good) } .value.bad { fill: var(--bad) }
.value.quiet { fill: var(--quiet) }
.strip { display: flex; gap: .6rem; overflow-x: auto; padding: .4rem 0 .8rem } .strip a { flex: none }
.strip img { height: 150px; width: auto; display: block; background: #fff; border: 1px solid var(--line);
  border-radius: 4px }
pre { background: var(--soft); padding: .7rem .9rem; border-radius: 5px; overflow-x: auto; margin: .4rem 0;
  font: .84rem/1.5 ui-monospace, monospace }
code { font: .88em ui-monospace, monospace }
:not(pre) > code { background: var(--soft); padding: .1em .3em; border-radius: 3px }
nav { font-size: .9rem } .prompt, .anchor-link { display: none } article img { max-width: 100%; height: auto }
.output_png img, .output_jpeg img { background: #fff; border-radius: 5px; display: block; margin: .6rem 0 }
.output_area pre { background: none; border-left: 3px solid var(--line); border-radius: 0; padding: .2rem .9rem }
.output_error pre { border-left-color: var(--bad) } .output_stderr pre { color: var(--quiet) }
blockquote { margin: 1rem 0; padding: .1rem 1rem; border-left: 3px solid var(--band); color: var(--quiet) }
details { border: 1px solid var(--line); border-radius: 5px; padding: .5rem .9rem; margin: .8rem 0 }
summary { cursor: pointer }
.equation { display: flex; align-items: center; gap: 1rem; margin: 1rem 0 }
.formula { flex: 1; min-width: 0; text-align: center; overflow-x: auto; overflow-y: hidden; padding: .2rem 0 }
.tag { color: var(--quiet); white-space: nowrap; margin-left: auto }
math { font-size: 1.1em; font-family: "STIX Two Math", "Latin Modern Math", "Cambria Math", "Libertinus Math",
  "TeX Gyre Termes Math", "DejaVu Math TeX Gyre", math }
math[display=block] { margin: 0 } mtd { padding: .25em .4em }
.ansi-red-fg, .ansi-red-intense-fg { color: var(--bad) } .ansi-bold { font-weight: 600 }
.ansi-green-fg, .ansi-cyan-fg, .ansi-blue-fg { color: var(--good) }
@media (max-width: 40rem) { body { font-size: 16px } th, td { padding-right: .7rem } .strip img { height: 120px } }
"""
