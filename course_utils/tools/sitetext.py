"""The text of the web site, from the chapters: links to equations and papers, glossary, bibliography, exercises."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from course_utils.tools.mathml import PIECES
from course_utils.tools.notebook import exercise_parts, markdown_texts, outputs

NUMBER = r"\d+\.\d+"
TAG = re.compile(rf"\\tag\{{({NUMBER})\}}")
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
GLOSSARY = re.compile(r"^#+ Glossary[^\n]*\n(.*?)(?=^#|\Z)", re.M | re.DOTALL)
READING = re.compile(r"^#+ Further reading[^\n]*\n.*?(?=^#|\Z)", re.M | re.DOTALL)


def outside(text: str, change: Callable[[str], str], *patterns: re.Pattern[str]) -> str:
    """Apply a change to a text, except to what one of the patterns matches."""
    if not patterns:
        return change(text)
    parts, end = [], 0
    for match in patterns[0].finditer(text):
        parts += [outside(text[end : match.start()], change, *patterns[1:]), match[0]]
        end = match.end()
    return "".join([*parts, outside(text[end:], change, *patterns[1:])])


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

    return outside(text, lambda prose: re.sub(rf"\(({NUMBER})\)", link, prose), FIXED, PIECES)


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

    def words(self) -> str:
        """Return the entry as a line of Markdown."""
        names = [name.partition(",")[::2] for name in self.fields["author"].split(" and ")]
        authors = ", ".join(f"{given} {family}".strip() for family, given in names).replace(", others", " and others")
        get = self.fields.get
        venue = get("journal") or get("booktitle") or get("publisher") or get("howpublished")
        parts = [part for part in (venue, get("volume"), get("pages"), self.fields["year"]) if part]
        arxiv, doi, url, note = map(get, ("eprint", "doi", "url", "note"))
        text = f"{authors}: *{self.fields['title']}.* {', '.join(parts)}."
        text += f" [arXiv {arxiv}](https://arxiv.org/abs/{arxiv})." if arxiv else ""
        text += f" [doi {doi}](https://doi.org/{doi})." if doi else ""
        return text + (f" <{url}>" if url else "") + (f" {note}" if note else "")


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


def citations(text: str) -> Iterator[re.Match[str]]:
    """Yield the citations in prose, such as "Facco et al. 2017"; lists of further reading are no prose."""
    found: list[re.Match[str]] = []

    def collect(prose: str) -> str:
        found.extend(match for match in CITATION.finditer(prose) if match["first"] not in MONTHS)
        return prose

    outside(text, collect, READING, FIXED, PIECES)
    yield from found


def link_citations(text: str, works: Sequence[Work]) -> str:
    """Turn each citation in prose into a link to its work; those of unknown works stay as they are."""

    def link(match: re.Match[str]) -> str:
        work = next((work for work in works if work.fits(match)), None)
        if work is None or match["first"] in MONTHS:
            return match[0]
        cut = match.start("open") if match["open"] else match.end("year")
        words = match[0][: cut - match.start()].rstrip()
        return f"[{words}](#reference-{work.key}){match[0][len(words) :]}"

    return outside(text, lambda prose: CITATION.sub(link, prose), READING, FIXED, PIECES)


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
        cited, items = list(citations("\n\n".join(markdown_texts(notebook)))), further_reading(notebook)
        for work in works:
            if any(work.fits(match) for match in cited) or any(listed(work, item) for item in items):
                uses[work.key].append(name)
    lines = ["# Bibliography", "Works that the chapters cite or recommend."]
    for work in works:
        several = "s" * (len(uses[work.key]) > 1)
        where = f" *Chapter{several} {chapter_links(uses[work.key])}.*" if uses[work.key] else ""
        lines.append(f"(reference-{work.key})=\n{work.words()}{where}")
    return "\n\n".join(lines) + "\n"


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
    what = "Terms of the chapters in English and Korean. Where chapters translate differently, both stand here."
    lines = ["# Glossary", "", what, "", "| English | 한국어 | chapter |", "|---|---|---|"]
    for _, (words, where, english) in sorted(terms.items()):
        lines.append(f"| {english} | {' · '.join(words)} | {chapter_links(where)} |")
    return "\n".join(lines) + "\n"


def exercises_page(title: str, name: str, chapter: dict, solutions: dict) -> str:
    """Return the exercises of a chapter, each with its first cell and its solution folded away."""
    number = name.split("_")[0]
    lines = [f"# Exercises of chapter {number}: {title}"]
    lines += [f"From chapter [{number}](../chapters/{name}.ipynb), where the checks run."]
    solved = exercise_parts(solutions)
    for exercise, (first, *others) in exercise_parts(chapter).items():
        heading, _, effort = first[1].lstrip("# ").partition(" · ")
        lines += [f"## {heading}", f"*{effort}*"] if effort else [f"## {heading}"]
        end = next((place + 1 for place, part in enumerate(others) if part[0] == "code"), len(others))
        lines += [_as_markdown(*part) for part in others[:end]]  # what follows belongs to the chapter
        if answer := [_as_markdown(*part) for part in solved.get(exercise, [])[1:]]:
            lines += ["<details><summary>Solution</summary>", *answer, "</details>"]
    return "\n\n".join(lines) + "\n"


def _as_markdown(kind: str, text: str, cell: dict) -> str:
    if kind != "code":
        return text
    printed = "".join("".join(output.get("text", "")) for output in outputs(cell)).strip()
    attempted = printed and not printed.startswith("○")
    return f"```python\n{text}\n```" + (f"\n\n<pre class='printed'>{escape(printed)}</pre>" if attempted else "")
