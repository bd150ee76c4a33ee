"""The text of the web site, from the chapters: links to equations and papers, glossary, bibliography, exercises."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course_utils.tools.notebook import exercise_parts, markdown_texts, outputs
from course_utils.tools.pages import fill

NUMBER = r"\d+\.\d+"
TAG = re.compile(rf"\\tag\{{({NUMBER})\}}")
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
#: What no link may be put into: those, folded summaries, tags, links that are there already.
FIXED = re.compile(
    r"<summary>.*?</summary>|</?(?:a|b|br|details|div|i|img|p|span|sub|sup)\b[^>]*>|\[[^\]\n]*\]\([^)\n]*\)|"
    + PIECES.pattern,
    flags=re.DOTALL | re.MULTILINE,
)
_NAME = r"(?:(?:van der|van den|van|de)\s+)?[A-ZÀ-Ž][\w’'-]+"
#: Facco et al. 2017 · Doersch (2016) · Burda, Grosse and Salakhutdinov (2015) · Lee & Seung 1999
CITATION = re.compile(
    rf"(?!(?:{'|'.join(calendar.month_name[1:])})\b)"
    rf"(?P<first>{_NAME})(?P<more>(?:,\s+{_NAME})*(?:,?\s+(?:and|&)\s+{_NAME})?)(?P<others>\s+(?:et\s+al\.|and\s+others))?"
    r",?\s+(?P<open>\()?(?P<year>(?:19|20)\d\d)\b(?P<close>\))?"
)
GLOSSARY = re.compile(r"^#+ Glossary[^\n]*\n(.*?)(?=^#|\Z)", re.M | re.DOTALL)
READING = re.compile(r"^#+ Further reading[^\n]*\n.*?(?=^#|\Z)", re.M | re.DOTALL)
#: What holds no citation.
CITED_NOWHERE = re.compile(f"{READING.pattern}|{FIXED.pattern}", re.M | re.DOTALL)


def _outside(text: str, pattern: re.Pattern[str], change: Callable[[str], str]) -> str:
    """Apply a change to a text, except to what the pattern matches."""
    parts, end = [], 0
    for match in pattern.finditer(text):
        parts += [change(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, change(text[end:])])


# ---------------------------------------------------------------- equations


def equation_numbers(notebook: dict) -> list[str]:
    """Return the numbers of the ``\\tag`` of a chapter, in their order."""
    return TAG.findall("\n".join(markdown_texts(notebook)))


def mark_equations(text: str) -> str:
    """Put a target such as ``(equation-5-3)=`` before each displayed formula that has a ``\\tag``."""

    def mark(match: re.Match[str]) -> str:
        targets = "".join(f"(equation-{number.replace('.', '-')})=\n" for number in TAG.findall(match[0]))
        return f"\n\n{targets}{match[0]}\n\n" if targets else match[0]

    return re.sub(r"^\$\$.+?\$\$\.?", mark, text, flags=re.DOTALL | re.MULTILINE)


def link_equations(text: str, known: set[str]) -> str:
    """Turn each "(5.3)" in prose into a link to that equation, if there is one of that number."""

    def link(match: re.Match[str]) -> str:
        return f"[{match[0]}](#equation-{match[1].replace('.', '-')})" if match[1] in known else match[0]

    return _outside(text, FIXED, lambda prose: re.sub(rf"\(({NUMBER})\)", link, prose))


def link_solutions(text: str) -> str:
    """Let links to notebooks of solutions lead to the page of exercises, where the solutions stand folded."""
    return re.sub(r"\]\(solutions/(\w+)\.ipynb\)", r"](../exercises/\1.md)", text)


# ---------------------------------------------------------------- bibliography


@dataclass(frozen=True)
class Work:
    """One work of ``docs/references.bib``: its key and its fields."""

    key: str
    fields: Mapping[str, str]

    @property
    def authors(self) -> list[str]:
        """Surnames, in order."""
        return [name.split(",")[0].strip() for name in self.fields["author"].split(" and ")]

    @property
    def years(self) -> set[str]:
        """The year of publication, and that of the arXiv number, by which many papers are cited."""
        return {self.fields["year"]} | {f"20{arxiv[:2]}" for arxiv in [self.fields.get("eprint")] if arxiv}

    def fits(self, citation: re.Match[str]) -> bool:
        """Say whether a match of ``CITATION`` names this work."""
        named = [" ".join(name.split()) for name in [citation["first"], *re.findall(_NAME, citation["more"])]]
        rest = len(self.authors) - len(named)  # "et al." stands for two or more
        whole = (rest > 1 or self.authors[-1] == "others") if citation["others"] else rest == 0
        return whole and named == self.authors[: len(named)] and citation["year"] in self.years

    def names(self) -> str:
        """Return all names, given names first."""
        names = [name.partition(",")[::2] for name in self.fields["author"].split(" and ")]
        return ", ".join(f"{given} {family}".strip() for family, given in names).replace(", others", " and others")


def read_references(path: Path) -> list[Work]:
    """Read a .bib file that has one field per line, sorted by author; an incomplete or repeated entry is an error."""
    works: dict[str, Work] = {}
    for key, body in re.findall(r"^@\w+\{([\w-]+),\s*$(.*?)^\}", path.read_text(encoding="utf-8"), re.M | re.DOTALL):
        fields = dict(re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", body, re.M))
        missing = [name for name in ("author", "title", "year") if name not in fields]
        if missing or key in works:
            raise ValueError(f"{path}: the entry {key!r} " + (f"lacks {missing}" if missing else "stands twice"))
        works[key] = Work(key, fields)
    first = {key: _letters(work.authors[0].removeprefix("van der ")) for key, work in works.items()}
    return sorted(works.values(), key=lambda work: (first[work.key], work.fields["year"]))


def citations(text: str) -> list[re.Match[str]]:
    """Return the citations in prose, such as "Facco et al. 2017"; lists of further reading are no prose."""
    return list(CITATION.finditer(CITED_NOWHERE.sub("|", text)))


def link_citations(text: str, works: Sequence[Work]) -> str:
    """Turn each citation in prose into a link to its work; those of unknown works stay as they are."""

    def link(match: re.Match[str]) -> str:
        work = next((work for work in works if work.fits(match)), None)
        if work is None:
            return match[0]
        cut = match.start("open") if match["open"] else match.end("year")
        words = match[0][: cut - match.start()].rstrip()
        return f"[{words}](#reference-{work.key}){match[0][len(words) :]}"

    return _outside(text, CITED_NOWHERE, lambda prose: CITATION.sub(link, prose))


def further_reading(notebook: dict) -> list[str]:
    """Return the items of a chapter's list of further reading that name an author."""
    found = READING.search("\n\n".join(markdown_texts(notebook)))
    items = re.split(r"^- ", found[0] if found else "", flags=re.M)[1:]
    return [" ".join(item.split()) for item in items if re.match(r"[A-ZÀ-Ž]\.[ -]", item)]


def listed(work: Work, item: str) -> bool:
    """Say whether an item of further reading is this work."""
    return _letters(work.fields["title"]) in _letters(item)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).casefold().strip()


def bibliography_page(works: Sequence[Work], chapters: Mapping[str, dict]) -> str:
    """Return the page of all works, each with the chapters (name → notebook) that cite or recommend it."""
    uses: dict[str, list[str]] = {work.key: [] for work in works}
    for name, notebook in chapters.items():
        cited, items = citations("\n\n".join(markdown_texts(notebook))), further_reading(notebook)
        for work in works:
            if any(work.fits(match) for match in cited) or any(listed(work, item) for item in items):
                uses[work.key].append(name)
    return fill("bibliography.md", works=[(work, uses[work.key]) for work in works], links=chapter_links)


def chapter_links(names: list[str]) -> str:
    """Return links to chapters from a page in the root of the site."""
    return ", ".join(f"[{name.split('_')[0]}](chapters/{name}.ipynb)" for name in names)


def glossary_rows(notebook: dict) -> list[tuple[str, str]]:
    """Return the pairs (English, Korean) of a chapter's glossary, whose table may go on with their meaning."""
    found = GLOSSARY.search("\n\n".join(markdown_texts(notebook)))
    rows = re.findall(r"^\|\s*(.+?)\s*\|\s*(.+?)\s*\|", found[1] if found else "", re.M)
    return [row for row in rows[1:] if set(row[0]) - set("-: ")]


def glossary_page(chapters: Mapping[str, dict]) -> str:
    """Return one table of all terms, sorted, with the chapters (name → notebook) that list them."""
    terms: dict[str, tuple[list[str], list[str], str]] = {}
    for name, notebook in chapters.items():
        for english, korean in glossary_rows(notebook):
            words, where, _ = terms.setdefault(english.casefold(), ([], [], english))
            words += [korean] if korean not in words else []
            where += [name] if name not in where else []
    rows = [(english, words, where) for _, (words, where, english) in sorted(terms.items())]
    return fill("glossary.md", terms=rows, links=chapter_links)


def exercises_page(title: str, name: str, chapter: dict, solutions: dict) -> str:
    """Return the exercises of a chapter, each with its first cell and its solution folded away."""
    solved, exercises = exercise_parts(solutions), []
    for number, (first, *others) in exercise_parts(chapter).items():
        heading, _, effort = first[1].lstrip("# ").partition(" · ")
        end = next((place + 1 for place, part in enumerate(others) if part[0] == "code"), len(others))
        task, answer = others[:end], solved.get(number, [])[1:]  # what follows the code belongs to the chapter
        exercises.append((heading, effort, *([_printed(part) for part in parts] for parts in (task, answer))))
    return fill("exercises.md", title=title, number=name.split("_")[0], name=name, exercises=exercises)


def _printed(part: tuple[str, str, dict]) -> tuple[str, str, str]:
    """Return kind and text of a part, and what its cell printed."""
    kind, text, cell = part
    text = text if kind == "code" else link_solutions(text)
    return kind, text, "".join("".join(output.get("text", "")) for output in outputs(cell)).strip()
