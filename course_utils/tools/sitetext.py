"""The text of the web site, from the chapters: links to equations and papers, glossary, bibliography, exercises."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from course_utils.tools.report import PIECES

NUMBER = r"\d+\.\d+"
#: What no link may be put into: folded summaries, tags, links that are there already.
FIXED = re.compile(
    r"<summary>.*?</summary>|</?(?:a|b|br|details|div|i|img|p|span|sub|sup)\b[^>]*>|\[[^\]\n]*\]\([^)\n]*\)", re.DOTALL
)
_NAME = r"(?:(?:van der|van den|van|de)\s+)?[A-ZÀ-Ž][\w’'-]+"
#: Facco et al. 2017 · Doersch (2016) · Burda, Grosse and Salakhutdinov (2015) · Lee & Seung 1999
CITATION = re.compile(
    rf"(?P<first>{_NAME})(?P<more>(?:,\s+{_NAME})*(?:,?\s+(?:and|&)\s+{_NAME})?)(?P<others>\s+(?:et\s+al\.|and\s+others))?"
    r",?\s+(?P<open>\()?(?P<year>(?:19|20)\d\d)\b(?P<close>\))?"
)
MONTHS = calendar.month_name[1:]


def outside(text: str, change: Callable[[str], str], *patterns: re.Pattern) -> str:
    """Apply a change to a text, except to what one of the patterns matches."""
    if not patterns:
        return change(text)
    parts, end = [], 0
    for match in patterns[0].finditer(text):
        parts += [outside(text[end : match.start()], change, *patterns[1:]), match[0]]
        end = match.end()
    return "".join([*parts, outside(text[end:], change, *patterns[1:])])


def markdown_cells(notebook: dict) -> list[str]:
    """Return the texts of a notebook's Markdown cells."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


# ---------------------------------------------------------------- equations


def equation_numbers(notebook: dict) -> list[str]:
    """Return the numbers of the ``\\tag`` of a chapter, in their order."""
    return re.findall(rf"\\tag\{{({NUMBER})\}}", "\n".join(markdown_cells(notebook)))


def mark_equations(text: str) -> str:
    """Put a target such as ``(equation-5-3)=`` before each displayed formula that has a ``\\tag``."""

    def mark(match: re.Match) -> str:
        numbers = re.findall(rf"\\tag\{{({NUMBER})\}}", match[0])
        targets = "".join(f"(equation-{number.replace('.', '-')})=\n" for number in numbers)
        return f"\n\n{targets}{match[0]}\n\n" if targets else match[0]

    return re.sub(r"^\$\$.+?\$\$\.?", mark, text, flags=re.DOTALL | re.MULTILINE)


def link_equations(text: str, known: set[str]) -> str:
    """Turn each "(5.3)" in prose into a link to that equation, if there is one of that number."""

    def link(match: re.Match) -> str:
        return f"[{match[0]}](#equation-{match[1].replace('.', '-')})" if match[1] in known else match[0]

    return outside(text, lambda prose: re.sub(rf"\(({NUMBER})\)", link, prose), FIXED, PIECES)


# ---------------------------------------------------------------- bibliography


@dataclass
class Entry:
    """One work of ``docs/references.bib``: its key and its fields."""

    key: str
    fields: dict[str, str]

    @property
    def authors(self) -> list[str]:
        """Surnames, in order."""
        return [name.split(",")[0].strip() for name in self.fields["author"].split(" and ")]

    @property
    def years(self) -> set[str]:
        """The year of publication, and that of the arXiv number, by which many papers are cited."""
        arxiv = self.fields.get("eprint", "")
        return {self.fields["year"]} | ({f"20{arxiv[:2]}"} if arxiv else set())

    def fits(self, citation: re.Match) -> bool:
        """Say whether a match of ``CITATION`` names this work."""
        named = [citation["first"], *re.findall(_NAME, citation["more"])]
        named = [" ".join(name.split()) for name in named]
        rest = len(self.authors) - len(named)  # "et al." stands for two or more
        whole = (rest > 1 or self.authors[-1] == "others") if citation["others"] else rest == 0
        return whole and named == self.authors[: len(named)] and citation["year"] in self.years

    def words(self) -> str:
        """Return the entry as a line of Markdown."""
        names = [name.partition(",")[::2] for name in self.fields["author"].split(" and ")]
        authors = ", ".join(f"{given} {family}".strip() for family, given in names).replace(", others", " and others")
        get = self.fields.get
        parts = [
            get("journal") or get("booktitle") or get("publisher") or get("howpublished"),
            get("volume"),
            get("pages"),
        ]
        text = f"{authors}: *{self.fields['title']}.* " + ", ".join([*filter(None, parts), self.fields["year"]]) + "."
        if arxiv := get("eprint"):
            text += f" [arXiv {arxiv}](https://arxiv.org/abs/{arxiv})."
        if doi := get("doi"):
            text += f" [doi {doi}](https://doi.org/{doi})."
        return text + (f" <{get('url')}>" if get("url") else "") + (f" {get('note')}" if get("note") else "")


def read_references(path: Path) -> list[Entry]:
    """Read a .bib file that has one field per line.

    Raises
    ------
    ValueError
        If an entry lacks author, title or year, or a key stands twice; the message names it.
    """
    entries = []
    for key, body in re.findall(r"^@\w+\{([\w-]+),\s*$(.*?)^\}", path.read_text(encoding="utf-8"), re.M | re.DOTALL):
        fields = dict(re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", body, re.M))
        missing = [name for name in ("author", "title", "year") if name not in fields]
        if missing or key in {entry.key for entry in entries}:
            raise ValueError(f"{path}: the entry {key!r} " + (f"lacks {missing}" if missing else "stands twice"))
        entries.append(Entry(key, fields))
    return sorted(
        entries, key=lambda entry: (_letters(entry.authors[0].removeprefix("van der ")), entry.fields["year"])
    )


def citations(text: str) -> Iterator[re.Match]:
    """Yield the citations in prose, such as "Facco et al. 2017"; headings' lists of further reading are not prose."""
    found: list[re.Match] = []

    def collect(prose: str) -> str:
        found.extend(m for m in CITATION.finditer(prose) if m["first"] not in MONTHS)
        return prose

    outside(without_reading(text), collect, FIXED, PIECES)
    yield from found


def link_citations(text: str, entries: list[Entry]) -> str:
    """Turn each citation in prose into a link to its entry; those of unknown works stay as they are."""

    def link(match: re.Match) -> str:
        entry = next((entry for entry in entries if entry.fits(match)), None)
        if entry is None or match["first"] in MONTHS:
            return match[0]
        cut = match.start("open") if match["open"] else match.end("year")
        words = match[0][: cut - match.start()].rstrip()
        return f"[{words}](#reference-{entry.key}){match[0][len(words) :]}"

    reading = _reading(text)
    linked = outside(without_reading(text), lambda prose: CITATION.sub(link, prose), FIXED, PIECES)
    return linked.replace(_HOLE, reading, 1) if reading else linked


_HOLE = "\ue002"
_READING = re.compile(r"^#+ Further reading[^\n]*\n.*?(?=^#|\Z)", re.M | re.DOTALL)


def _reading(text: str) -> str:
    found = _READING.search(text)
    return found[0] if found else ""


def without_reading(text: str) -> str:
    """Return a text with a mark in place of its list of further reading."""
    return _READING.sub(_HOLE, text, count=1)


def further_reading(notebook: dict) -> list[str]:
    """Return the items of a chapter's list of further reading that name an author."""
    items = re.split(r"^- ", _reading("\n\n".join(markdown_cells(notebook))), flags=re.M)[1:]
    return [" ".join(item.split()) for item in items if re.match(r"[A-ZÀ-Ž]\.[ -]", item)]


def listed(entry: Entry, item: str) -> bool:
    """Say whether an item of further reading is this work."""
    return _letters(entry.fields["title"]) in _letters(item)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).casefold().strip()


def bibliography_page(entries: list[Entry], chapters: dict[str, dict]) -> str:
    """Return the page of all works, each with the chapters (name → notebook) that cite or recommend it."""
    uses: dict[str, list[str]] = {entry.key: [] for entry in entries}
    for name, notebook in chapters.items():
        cited = list(citations("\n\n".join(markdown_cells(notebook))))
        items = further_reading(notebook)
        for entry in entries:
            if any(entry.fits(match) for match in cited) or any(listed(entry, item) for item in items):
                uses[entry.key].append(name)
    lines = ["# Bibliography", "Works that the chapters cite or recommend."]
    for entry in entries:
        several = "s" if len(uses[entry.key]) > 1 else ""
        where = f" *Chapter{several} {chapter_links(uses[entry.key])}.*" if uses[entry.key] else ""
        lines.append(f"(reference-{entry.key})=\n{entry.words()}{where}")
    return "\n\n".join(lines) + "\n"


def chapter_links(names: list[str]) -> str:
    """Return links to chapters from a page in the root of the site."""
    return ", ".join(f"[{name.split('_')[0]}](chapters/{name}.ipynb)" for name in names)


# ---------------------------------------------------------------- glossary


def glossary_rows(notebook: dict) -> list[tuple[str, str]]:
    """Return the pairs (English, Korean) of a chapter's glossary."""
    text = "\n\n".join(markdown_cells(notebook))
    found = re.search(r"^#+ Glossary[^\n]*\n(.*?)(?=^#|\Z)", text, re.M | re.DOTALL)
    rows = re.findall(r"^\|\s*(.+?)\s*\|\s*(.+?)\s*\|\s*$", found[1] if found else "", re.M)
    return [row for row in rows[1:] if set(row[0]) - set("-: ")]


def glossary_page(chapters: dict[str, dict]) -> str:
    """Return one table of all terms, sorted, with the chapters (name → notebook) that list them."""
    terms: dict[str, tuple[list[str], list[str], str]] = {}
    for name, notebook in chapters.items():
        for english, korean in glossary_rows(notebook):
            words, where, _ = terms.setdefault(english.casefold(), ([], [], english))
            words += [korean] if korean not in words else []
            where += [name] if name not in where else []
    lines = [
        "# Glossary",
        "",
        "Terms of the chapters in English and Korean. Where chapters translate differently, both stand here.",
        "",
    ]
    lines += ["| English | 한국어 | chapter |", "|---|---|---|"]
    for _, (korean, where, english) in sorted(terms.items()):
        lines.append(f"| {english} | {' · '.join(korean)} | {chapter_links(where)} |")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- exercises


def pieces(notebook: dict) -> Iterator[tuple[str, str, dict]]:
    """Yield what a notebook holds in order: ("heading", text, {}), ("text", text, {}) and ("code", source, cell)."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            yield "code", source, cell
            continue
        for part in re.split(r"(?m)^(#+ .*)$", source):
            if part.strip():
                yield ("heading" if re.match(r"#+ ", part) else "text"), part.strip(), {}


def exercises_page(title: str, name: str, chapter: dict, solutions: dict) -> str:
    """Return the exercises of a chapter, each with its first cell and its solution folded away."""
    solved = _by_exercise(solutions)
    lines = [f"# Exercises of chapter {name.split('_')[0]}: {title}"]
    lines += [f"From chapter [{name.split('_')[0]}](../chapters/{name}.ipynb), where the checks run."]
    for number, parts in _by_exercise(chapter).items():
        heading, _, effort = parts[0][1].lstrip("# ").partition(" · ")
        lines += [f"## {heading}", f"*{effort}*"] if effort else [f"## {heading}"]
        lines += [_as_markdown(*part) for part in _until_code(parts[1:])]
        answer = [_as_markdown(*part) for part in solved.get(number, [])[1:]]
        if answer:
            lines += ["<details><summary>Solution</summary>", *answer, "</details>"]
    return "\n\n".join(lines) + "\n"


def _by_exercise(notebook: dict) -> dict[str, list]:
    """Return number → pieces, from the exercise's heading to the next heading."""
    found: dict[str, list] = {}
    current: list = []
    for piece in pieces(notebook):
        if piece[0] == "heading":
            number = re.match(rf"#+ Exercise ({NUMBER})", piece[1])
            current = found.setdefault(number[1], []) if number else []
        current.append(piece)
    return found


def _until_code(parts: list) -> list:
    """Return the parts up to the first cell of code, the one to fill in; what follows belongs to the chapter."""
    for place, (kind, _, _) in enumerate(parts):
        if kind == "code":
            return parts[: place + 1]
    return parts


def _as_markdown(kind: str, source: str, cell: dict) -> str:
    if kind != "code":
        return source
    printed = "".join("".join(output.get("text", "")) for output in cell["outputs"]).strip()
    attempted = printed and not printed.startswith("○")
    return f"```python\n{source}\n```" + (f"\n\n<pre class='printed'>{escape(printed)}</pre>" if attempted else "")
