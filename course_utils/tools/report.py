"""The report of a run: ``index.html`` and one page per executed notebook, readable without a network.

Pages load nothing: styles stand inside, figures are data URIs, and mathematics is converted to MathML, which
browsers show by themselves.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from course_utils.tools import read_course, read_results, write_text

MARKS = {"ok": "✓", "failed": "✕", "kernel died": "✕", "timed out": "✕", "interrupted": "✕"}
#: A formula that was set aside, also as it stands in an anchor.
MARK = "(?:\ue000|%EE%80%80)(\\d+)(?:\ue001|%EE%80%81)"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
MATHML = "{http://www.w3.org/1998/Math/MathML}"
#: How many parts an element of MathML must have.
ARGUMENTS = {f"{MATHML}mfrac": 2, f"{MATHML}msub": 2, f"{MATHML}msup": 2, f"{MATHML}msubsup": 3}
#: Operators that take their index underneath in displayed formulas.
LIMITS = {"max", "min", "sup", "inf", "lim", "arg max", "arg min", "argmax", "argmin"}


def write(output: Path, source: Path) -> Path:
    """Write the report of what ``results.json`` in a folder describes.

    Parameters
    ----------
    output
        Folder with ``results.json`` and the executed notebooks; the pages are written beside them.
    source
        Folder with ``course.yml`` and the notebooks, for chapters not executed yet and for pictures.

    Returns
    -------
    Path
        The page ``index.html``.
    """
    entries = list(read_results(output).values())
    chapters = {chapter["name"]: chapter for chapter in read_course(source)}
    sections = []
    for entry in entries:
        executed = output / f"{entry['name']}.ipynb"
        notebook = json.loads(executed.read_text(encoding="utf-8")) if executed.exists() else None
        page = executed.with_suffix(".html")
        if notebook and not (page.exists() and page.stat().st_mtime >= executed.stat().st_mtime):
            write_text(page, notebook_page(notebook, f"{entry['name'].split('_')[0]} · {entry['title']}", source))
        sections.append(_section(entry, notebook, chapters.get(entry["name"], {})))
    executed_names = {entry["name"] for entry in entries}
    idle = [chapter["title"] for chapter in read_course(source) if chapter["name"] not in executed_names]
    rest = f"<p class='quiet'>Not executed yet: {escape(', '.join(idle))}.</p>" if idle else ""
    body = f"<header><h1>Report of the course</h1>{_summary(entries)}</header>{''.join(sections)}{rest}"
    write_text(output / "index.html", _page("Report of the course", body))
    return output / "index.html"


# ---------------------------------------------------------------- index.html


def _summary(entries: list[dict]) -> str:
    bad = [f"{entry['title']} ({entry['status']})" for entry in entries if entry["status"] != "ok"]
    text = f"{len(entries) - len(bad)} of {len(entries)} chapters are fine"
    text += f"; look at {', '.join(bad)}." if bad else ", and every number that was compared with a band lies in it."
    minutes = sum(entry["minutes"] for entry in entries)
    lines = [f"<p class='lead'>{escape(text)}</p>"]
    known = [entry for entry in entries if entry["machine"]]
    if known:
        last = max(known, key=lambda entry: entry["date"])
        machine = last["machine"]
        where = f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gb')} GB, "
        where += f"{machine.get('system')}, device {machine.get('device')}"
        versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
        when = last["date"].replace("T", " ").replace("+00:00", " UTC")
        lines.append(f"<p class='quiet'>{escape(f'{when} · {minutes:.1f} minutes in all · {where} · {versions}')}</p>")
    return "".join(lines)


def _section(entry: dict, notebook: dict | None, chapter: dict) -> str:
    number, status = entry["name"].split("_")[0], entry["status"]
    mark, good = MARKS.get(status, "▲"), "good" if status == "ok" else "bad"
    page = f"{entry['name']}.html"
    title = escape(entry["title"])
    link = f"<p><a href='{escape(page)}'>Read the executed notebook</a></p>" if notebook else ""
    title = f"<a href='{escape(page)}'>{title}</a>" if notebook else title
    facts = [f"{entry['minutes']:.1f} min", f"profile {entry['profile']}"]
    facts += [f"{name} = {value}" for name, value in entry["parameters"].items() if name != "profile"]
    parts = [
        f"<section><h2><span class='number'>{escape(number)}</span> {title}</h2>",
        f"<p><span class='status {good}'>{mark} {escape(status)}</span> ",
        f"<span class='quiet'>{escape(' · '.join(facts))}</span></p>",
        f"<p>{escape(entry['message'])}</p>" if entry["message"] else "",
        _numbers(entry, chapter.get("numbers") or {}),
        _scoreboard(notebook, chapter) if notebook else "",
        _strip(notebook, page) if notebook else "",
        f"<details open><summary>Traceback</summary><pre>{escape(entry['traceback'])}</pre></details>"
        if entry["traceback"]
        else "",
        f"{link}</section>",
    ]
    return "".join(parts)


def _numbers(entry: dict, announced: dict[str, dict]) -> str:
    """Return the table of a chapter's numbers, in the words and order of course.yml, each beside its band."""
    names = entry["numbers"] | entry["bands"]
    rows = []
    for name in [*(n for n in announced if n in names), *(n for n in names if n not in announced)]:
        words = announced.get(name, {})
        label = words.get("label") or name.replace("_", " ")
        label += f" ({words['unit']})" if words.get("unit") else ""
        value, band = entry["numbers"].get(name), entry["bands"].get(name)
        inside = band is not None and value is not None and band[0] <= value <= band[1]
        if entry["overridden"] and band is not None:
            verdict = "not compared"
        elif value is None or band is None:
            verdict = "not recorded" if value is None else "no band yet"
        else:
            verdict = "in band" if inside else "outside"
        grade = {"in band": "good", "outside": "bad", "not recorded": "bad"}.get(verdict, "quiet")
        rows.append(
            f"<tr><th scope='row'>{escape(label)}</th>"
            f"<td class='figure'>{'–' if value is None else f'{value:.4g}'}</td>"
            f"<td>{_marker(value, band)}</td>"
            f"<td class='quiet'>{f'{band[0]:g} … {band[1]:g}' if band else ''}</td>"
            f"<td class='{grade}'>{verdict}</td></tr>"
        )
    head = "<tr><th>number</th><th>value</th><th></th><th>expected</th><th></th></tr>"
    return f"<div class='scroll'><table>{head}{''.join(rows)}</table></div>" if rows else ""


def _scoreboard(notebook: dict, chapter: dict) -> str:
    """Return the scoreboard that an executed chapter kept, as a table; nothing if it announces or kept none."""
    from course_utils.results import from_notebook
    from course_utils.tools.table import scoreboard_cells

    values = from_notebook(notebook)[1].get("scoreboard") if "scoreboard" in chapter else None
    if values is None:
        return ""
    head, rows = scoreboard_cells(chapter["scoreboard"], values)
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for name, *cells in rows:
        figures = "".join(f"<td class='figure'>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr><th scope='row'>{escape(name)}</th>{figures}</tr>")
    seeds = len(values[0][0])
    words = (
        f"Scoreboard of this run, mean ± standard deviation over {seeds} seeds" if seeds > 1 else "Scoreboard, one seed"
    )
    return f"<p>{words}</p><div class='scroll'><table>{''.join(lines)}</table></div>"


def _marker(value: float | None, band) -> str:
    """Draw a band as a bar and the value as a stroke; a value far outside stands at the edge."""
    if value is None or band is None or value != value:
        return ""
    low, high = band
    position = 70.0 if high == low == value else 40 + 60 * (value - low) / ((high - low) or abs(low) or 1)
    position = min(max(position, 3), 137)
    grade = "good" if low <= value <= high else "bad"
    return (
        "<svg class='marker' viewBox='0 0 140 16' width='140' height='16' aria-hidden='true'>"
        "<line x1='0' y1='8' x2='140' y2='8' class='track'/>"
        "<rect x='40' y='4' width='60' height='8' rx='2' class='band'/>"
        f"<rect x='{position - 2:.1f}' y='0' width='4' height='16' rx='2' class='value {grade}'/></svg>"
    )


def _strip(notebook: dict, page: str) -> str:
    figures = []
    for number, (title, png) in enumerate(figures_of(notebook), start=1):
        if uri := _thumbnail(png):
            image = f"<img loading='lazy' alt='{escape(title)}' title='{escape(title)}' src='{uri}'>"
            figures.append(f"<a href='{escape(page)}#figure-{number}'>{image}</a>")
    return f"<div class='strip'>{''.join(figures)}</div>" if figures else ""


def figures_of(notebook: dict) -> Iterator[tuple[str, str]]:
    """Yield each PNG output of a notebook (base64), with the heading it stands under."""
    heading, number = "", 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            found = re.findall(r"^#{1,6}\s+(.+?)\s*$", "".join(cell["source"]), flags=re.MULTILINE)
            heading = found[-1] if found else heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                number += 1
                yield f"Figure {number}" + (f": {heading}" if heading else ""), "".join(output["data"]["image/png"])


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
    """Return an executed notebook as one HTML page that loads nothing.

    Parameters
    ----------
    notebook
        As nbformat writes it.
    title
        The title of the page.
    source
        Folder from which relative pictures in the text are embedded.
    """
    import nbformat
    from nbconvert import HTMLExporter

    formulas: list[str] = []
    copy = json.loads(json.dumps(notebook))
    for cell in copy["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = set_aside_math("".join(cell["source"]), formulas)
        cell.get("outputs", [])[:] = [o for o in cell.get("outputs", []) if WIDGET_MIME not in o.get("data", {})]
        for output in cell.get("outputs", []):
            _static(output.get("data", {}))
    exporter = HTMLExporter(template_name="basic")
    node = nbformat.reads(json.dumps(copy), as_version=4)
    body, _ = exporter.from_notebook_node(node)
    body = re.sub(r'\b(id|href|title|alt)="[^"]*"', lambda m: re.sub(MARK, "", m[0]), body)
    body = re.sub(MARK, lambda m: formulas[int(m[1])], body)
    body = re.sub(r'href="([\w-]+)\.ipynb(#[^"]*)?"', r'href="\1.html\2"', body)
    body = re.sub(r'(<img\b[^>]*?\bsrc=")([^":]+)"', lambda m: f'{m[1]}{_embedded(source / m[2])}"', body)
    body = _name_figures(body, [heading for heading, _ in figures_of(copy)])
    back = "<nav><a href='index.html'>Report of the course</a></nav>"
    return _page(title, f"{back}<article>{body}</article>{back}", extra=_highlighting())


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


def _name_figures(body: str, titles: list[str]) -> str:
    """Give each PNG output an anchor, and a text in place of nbconvert's remark that it has none."""
    numbers = iter(range(1, len(titles) + 1))

    def name(match: re.Match) -> str:
        number = next(numbers, None)
        if number is None:
            return match[0]
        return f'<img id="figure-{number}" alt="{escape(titles[number - 1])}" src="data:image/png'

    return re.sub(r'<img alt="No description has been provided for this image"[^>]*? src="data:image/png', name, body)


# ---------------------------------------------------------------- mathematics

#: Code (fences, spans, elements) first, so that a dollar inside it is left alone; then formulas.
PIECES = re.compile(
    r"(?P<code>^ {0,3}(?P<fence>`{3,}|~{3,}).*?^ {0,3}(?P=fence)[`~]*\s*?$"
    r"|(?<!`)(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)"
    r"|<(?P<tag>pre|code)\b.*?</(?P=tag)>|\\\$)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?P<bare>\\begin\{(?P<environment>align|equation|gather)\*?\}.+?\\end\{(?P=environment)\*?\})"
    r"|\$(?P<inline>(?!\s)(?:\\.|[^$\\\n]|\n(?!\s*\n))+?(?<!\s))\$(?!\d)",
    flags=re.DOTALL | re.MULTILINE,
)


def set_aside_math(text: str, formulas: list[str]) -> str:
    """Replace each formula of a Markdown text by a mark (U+E000 number U+E001) that Markdown leaves alone.

    Parameters
    ----------
    text
        Markdown with ``$…$``, ``$$…$$`` and bare ``\\begin{align}`` environments.
    formulas
        The formulas as HTML are appended here; the number in a mark is an index into this list.
    """

    def mark(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        tex = match["block"] or match["bare"] or match["inline"]
        formulas.append(render_math(tex, block=match["inline"] is None))
        return f"\ue000{len(formulas) - 1}\ue001"

    return PIECES.sub(mark, text)


def render_math(tex: str, *, block: bool) -> str:
    """Return a formula as MathML, the number of its ``\\tag`` at the right margin; as code if that fails."""
    tags = re.findall(r"\\tag\*?\{([^}]*)\}", tex)
    formula = re.sub(r"\\tag\*?\{[^}]*\}", "", tex).strip()
    try:
        html = _mathml(formula, block)
    except Exception:  # the converter raises many kinds; whatever it cannot do is shown as it was written
        html = f"<code>{escape(formula)}</code>"
    if not block:
        return html
    number = "".join(f"<span class='tag'>({escape(tag)})</span>" for tag in tags)
    return f"<span class='equation'><span class='formula'>{html}</span>{number}</span>"


def _mathml(tex: str, block: bool) -> str:
    from latex2mathml.converter import convert

    tex = re.sub(r"\\(begin|end)\{(?:aligned|align|split|equation|gather|gathered)\*?\}", r"\\\1{align*}", tex)
    tex = re.sub(
        r"\\operatorname\*?\{([^{}]*)\}", lambda m: "\\operatorname{" + re.sub(r"\\[,;: ]", "\u2009", m[1]) + "}", tex
    )
    for pattern, text in ((r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}"), (r"\\\|", r"\\Vert ")):
        tex = re.sub(pattern, text, tex)
    root = ElementTree.fromstring(convert(tex, display="block" if block else "inline"))
    for element in root.iter():
        _mend(element, block)
    ElementTree.register_namespace("", MATHML[1:-1])
    return ElementTree.tostring(root, encoding="unicode").replace(f' xmlns="{MATHML[1:-1]}"', "")


def _mend(element: ElementTree.Element, block: bool) -> None:
    """Correct what the converter writes but browsers do not show; raise on a command that it did not know."""
    text = element.text or ""
    if text.startswith("\\") or len(element) != ARGUMENTS.get(element.tag, len(element)):
        raise ValueError(f"unknown command, or an argument missing: {text or element.tag}")
    if text == "~":
        element.tag, element.text = f"{MATHML}mo", "∼"
    variant = element.get("mathvariant")
    if variant and variant != "normal":
        del element.attrib["mathvariant"]
        element.text = "".join(_letter(character, variant) for character in text)
        if variant == "bold" and element.tag == f"{MATHML}mtext":
            element.set("style", "font-weight: bold")
    if "Α" <= text <= "Ω":
        element.set("mathvariant", "normal")  # capital Greek letters stand upright
    if text in ("‖", "|") and not element.get("stretchy"):
        element.set("stretchy", "false")
    under = {f"{MATHML}msub": f"{MATHML}munder", f"{MATHML}msubsup": f"{MATHML}munderover"}
    if block and element.tag in under and (element[0].text or "").replace("\u2009", " ") in LIMITS:
        element.tag = under[element.tag]
    _space(element)


def _space(element: ElementTree.Element) -> None:
    """Align the columns of a table, and set function names such as log apart from what follows."""
    tight = element.tag == f"{MATHML}mtable" and element.get("columnspacing")
    for cell in element.iter(f"{MATHML}mtd") if element.tag == f"{MATHML}mtable" else ():
        side = cell.get("columnalign", "center")
        cell.set("style", f"text-align: {side}" + (f"; padding-{side}: 0" if tight else ""))
    for child, after in zip(element, [*element[1:], None], strict=False):
        text = child.text or ""
        if element.tag == f"{MATHML}mrow" and child.tag[-2:] in ("mi", "mo") and len(text) > 1 and text.isalpha():
            bracket = after is not None and (after.text or "") in ("(", "[", "{")
            child.tag = f"{MATHML}mo"
            child.attrib.update(lspace="0.17em", rspace="0" if bracket else "0.17em")


def _letter(character: str, variant: str) -> str:
    """Return the bold italic or double-struck form of a character, where Unicode has one."""
    if variant == "double-struck" and character in "0123456789":
        return chr(0x1D7D8 + int(character))
    if variant == "bold-italic":
        for first, last, start in (("A", "Z", 0x1D468), ("a", "z", 0x1D482), ("Α", "Ω", 0x1D71C), ("α", "ω", 0x1D736)):
            if first <= character <= last:
                return chr(start + ord(character) - ord(first))
    return character


# ---------------------------------------------------------------- the frame of all pages


def _highlighting() -> str:
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    rules = "\n".join(line for line in dark.splitlines() if line.startswith(".highlight"))
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {rules} }}\n.highlight {{ background: none !important }}"


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
