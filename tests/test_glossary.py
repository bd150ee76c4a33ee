"""Every term of a glossary is introduced in bold, and not used before that; headings and the goals do not count."""

import re

import pytest
from notebook_files import NOTEBOOKS, read

#: The chapters whose glossary says what its terms mean, in both languages.
DEFINED = tuple(sorted(path.stem for path in NOTEBOOKS.glob("0[0-8]_*.ipynb")))
#: Rows whose words a reader brings along; the glossary has them for their translation.
TAKEN_AS_KNOWN = {"batch, epoch", "squared error"}
#: Terms that are plain English as well ("a cell of code").
PLAIN = {"code"}


def cells(name: str) -> list[str]:
    """The texts of a chapter after its first cell, up to the summary, without headings."""
    texts = [cell.source for cell in read(NOTEBOOKS / f"{name}.ipynb").cells[1:] if cell.cell_type == "markdown"]
    end = next(k for k, text in enumerate(texts) if re.search(r"^## Summary", text, re.M))
    texts = [*texts[:end], re.split(r"^## Summary", texts[end], flags=re.M)[0]]
    return [re.sub(r"^#.*$", "", text, flags=re.M).replace("\n", " ") for text in texts]


def rows(name: str) -> list[list[str]]:
    whole = "\n\n".join(cell.source for cell in read(NOTEBOOKS / f"{name}.ipynb").cells if cell.cell_type == "markdown")
    table = re.search(r"^#+ Glossary\n\n(.*?)(?=^#|\Z)", whole, re.M | re.S)[1]
    lines = [line.strip().strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return [[part.strip() for part in line] for line in lines[2:]]


@pytest.mark.parametrize("name", DEFINED)
def test_every_term_has_a_meaning_in_english_and_korean(name):
    assert len(rows(name)) >= 10
    for row in rows(name):
        assert len(row) == 4 and all(row), row
        assert len(row[2].split()) >= 3 and (re.search("[가-힣]", row[3]) or row[3] == row[2]), row


def words_of(term: str) -> list[str]:
    """The words of a row of the glossary, each of which is a term: "prior, posterior", "nat, bit"."""
    return [word.strip() for word in re.split(r"[,/(]", term.rstrip(")")) if word.strip()]


@pytest.mark.parametrize("name", DEFINED)
def test_every_term_is_introduced_in_bold(name):
    bold = " · ".join(re.findall(r"\*\*(.+?)\*\*", "\n".join(cells(name)))).lower()
    missing = []
    for row in rows(name):
        if row[0] not in TAKEN_AS_KNOWN:
            missing += [row[0]] if not any(word.lower() in bold for word in words_of(row[0])) else []
    assert not missing, missing


@pytest.mark.parametrize("name", DEFINED)
def test_no_term_is_used_before_it_is_introduced(name):
    early = []
    for row in rows(name):
        for word in set(words_of(row[0])) - PLAIN if row[0] not in TAKEN_AS_KNOWN else ():
            where = re.compile(rf"\b{re.escape(word.lower())}\b")
            texts = [text.lower() for text in cells(name)]
            used = next((k for k, text in enumerate(texts) if where.search(text)), None)
            shown = next((k for k, text in enumerate(texts) if re.search(rf"\*\*[^*]*{where.pattern}", text)), None)
            if shown is not None and used is not None and used < shown:
                early.append((word, used, shown))
    assert not early, early
