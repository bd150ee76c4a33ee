"""The text of the web site: links to equations and papers, glossary, bibliography, exercises."""

import pytest
from helpers.pages import texts_and_code
from notebook_files import CHAPTERS, SOLUTIONS, shown

from course_utils.runtime import ROOT
from course_utils.tools import sitetext
from course_utils.tools.notebook import markdown_texts, read
from course_utils.tools.sitetext import exercises_page, link_citations, link_equations, link_solutions, mark_equations

REFERENCES = sitetext.read_references(ROOT / "docs" / "references.bib")
FIELDS = {"author": "Burda, Y. and Grosse, R. and Salakhutdinov, R.", "title": "IW", "year": "2016"}
BURDA = sitetext.Work("burda", FIELDS | {"eprint": "1509.00519"})
LECUN = sitetext.Work("lecun", {"author": "LeCun, Y. and others", "title": "Digits", "year": "1998"})


# ------------------------------------------------------------------------------------ equations


def test_a_formula_with_a_number_gets_a_target_and_one_without_gets_none():
    text = "So\n$$a=b\\tag{5.3}$$\nand\n\n$$c=d$$\n\nand $e$."
    assert mark_equations(text) == "So\n\n\n(equation-5-3)=\n$$a=b\\tag{5.3}$$\n\n\nand\n\n$$c=d$$\n\nand $e$."


def test_several_numbers_in_one_formula_are_all_targets():
    marked = mark_equations("$$\\begin{align}a\\tag{1.1}\\\\b\\tag{1.2}\\end{align}$$")
    assert "(equation-1-1)=\n(equation-1-2)=\n$$" in marked


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("By (5.3), and (5.4)–(5.5).", "By [(5.3)](#equation-5-3), and [(5.4)](#equation-5-4)–(5.5)."),
        ("a `(5.3)` and ``x (5.3)``", "a `(5.3)` and ``x (5.3)``"),
        ("$f(5.3)$ and $$g (5.3)$$", "$f(5.3)$ and $$g (5.3)$$"),
        ("```\n(5.3)\n```\n(5.3)", "```\n(5.3)\n```\n[(5.3)](#equation-5-3)"),
        (
            "<details><summary>Of (5.3)</summary>\n\n(5.3)",
            "<details><summary>Of (5.3)</summary>\n\n[(5.3)](#equation-5-3)",
        ),
        ("[see (5.3)](#x) (53)", "[see (5.3)](#x) (53)"),
        ("| loss | (5.3) |", "| loss | [(5.3)](#equation-5-3) |"),
    ],
)
def test_numbers_in_prose_become_links_if_there_is_such_an_equation(text, linked):
    assert link_equations(text, {"5.3", "5.4"}) == linked


@pytest.mark.parametrize("path", CHAPTERS, ids=shown)
def test_every_equation_of_a_chapter_becomes_a_target_once(path):
    texts = markdown_texts(read(path))
    numbers = sitetext.equation_numbers(read(path))
    marked = "\n".join(mark_equations(text) for text in texts)
    assert numbers and len(set(numbers)) == len(numbers)
    for number in numbers:
        assert marked.count(f"(equation-{number.replace('.', '-')})=\n") == 1, number


# ------------------------------------------------------------------------------------ citations


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("Burda et al. (2015) say", "[Burda et al.](#reference-burda) (2015) say"),
        ("bound (Burda et al. 2016).", "bound ([Burda et al. 2016](#reference-burda))."),
        ("Burda, Grosse and Salakhutdinov (2015)", "[Burda, Grosse and Salakhutdinov](#reference-burda) (2015)"),
        ("Burda et al. (2015, table 1)", "[Burda et al.](#reference-burda) (2015, table 1)"),
        ("(LeCun\nand others, 1998)", "([LeCun\nand others, 1998](#reference-lecun))"),
        ("Burda 2015", "Burda 2015"),  # that would be a work of one author
        ("Burda & Grosse 2015", "Burda & Grosse 2015"),
        ("Burda et al. 2014", "Burda et al. 2014"),
        ("Burda, Grosse et al. 2015", "Burda, Grosse et al. 2015"),  # one is left, who would be named
        ("since December 2021 `Burda et al. 2015`", "since December 2021 `Burda et al. 2015`"),
        ("## Further reading\n\n- Burda et al. 2015\n", "## Further reading\n\n- Burda et al. 2015\n"),
    ],
)
def test_a_citation_is_linked_if_authors_and_year_fit(text, linked):
    assert link_citations(text, [LECUN, BURDA]) == linked


def test_text_around_the_list_of_further_reading_is_linked():
    text = "Burda et al. 2015.\n\n## Further reading\n\n- Burda et al. 2015\n\n## Numbers\n\nBurda et al. 2015"
    assert link_citations(text, [BURDA]).count("[Burda et al. 2015](#reference-burda)") == 2


@pytest.mark.parametrize("path", CHAPTERS, ids=shown)
def test_every_citation_and_every_recommended_work_is_in_the_bibliography(path):
    text = "\n\n".join(markdown_texts(read(path)))
    for citation in sitetext.citations(text):
        fitting = [entry.key for entry in REFERENCES if entry.fits(citation)]
        assert len(fitting) == 1, f"{citation[0]!r} fits {fitting} in docs/references.bib; it should fit one entry"
    for item in sitetext.further_reading(read(path)):
        assert any(sitetext.listed(entry, item) for entry in REFERENCES), f"not in docs/references.bib: {item}"


def test_every_entry_is_used_by_a_chapter():
    page = sitetext.bibliography_page(REFERENCES, {path.stem: read(path) for path in CHAPTERS})
    for entry in REFERENCES:
        part = page[page.index(f"(reference-{entry.key})=") :].split("\n\n")[0]
        assert "*Chapter" in part, f"no chapter cites or recommends {entry.key}"


def test_the_bibliography_says_who_what_where_and_in_which_chapters():
    chapters = {
        "05_vae": texts_and_code("Burda et al. (2015) say"),
        "06_b": texts_and_code("## Further reading\n\n- Y. Burda: *IW.*"),
    }
    page = sitetext.bibliography_page([BURDA], chapters)
    assert "(reference-burda)=\nY. Burda, R. Grosse, R. Salakhutdinov: *IW.* 2016. [arXiv 1509.00519]" in page
    assert "*Chapters [05](chapters/05_vae.ipynb), [06](chapters/06_b.ipynb).*" in page


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@article{a,\n  author = {B, C.},\n  title = {T},\n}\n", r"'a' lacks \['year'\]"),
        (2 * "@article{a,\n  author = {B, C.},\n  title = {T},\n  year = {2000},\n}\n", "'a' stands twice"),
    ],
)
def test_an_incomplete_entry_is_named(tmp_path, text, words):
    (tmp_path / "x.bib").write_text(text)
    with pytest.raises(ValueError, match=words):
        sitetext.read_references(tmp_path / "x.bib")


def test_no_entry_of_the_file_is_overlooked():
    text = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")
    assert text.count("\n@") == len(REFERENCES)


# ------------------------------------------------------------------------------------ glossary


def test_the_glossary_joins_and_sorts_the_terms_of_all_chapters():
    one = texts_and_code(
        "## Glossary\n\n| English | 한국어 |\n|---|---|\n| likelihood | 우도 (가능도) |\n| code | 코드 |\n\n## Next",
        "| a | b |",
    )
    two = texts_and_code(
        "### Glossary (English–Korean)\n\n| English | Korean |\n|---|---|\n| Likelihood | 우도 |\n| code | 코드 |\n"
    )
    rows = sitetext.glossary_page({"01_a": one, "02_b": two}).splitlines()[6:]
    both = "[01](chapters/01_a.ipynb), [02](chapters/02_b.ipynb)"
    assert rows == [f"| code | 코드 | {both} |", f"| likelihood | 우도 (가능도) · 우도 | {both} |"]


@pytest.mark.parametrize("path", CHAPTERS, ids=shown)
def test_every_chapter_gives_terms_in_both_languages(path):
    rows = sitetext.glossary_rows(read(path))
    assert len(rows) >= 5
    assert not any("가" <= letter <= "힣" for english, _ in rows for letter in english), rows
    assert all(any("가" <= letter <= "힣" for letter in korean) for _, korean in rows), rows


# ------------------------------------------------------------------------------------ exercises


def test_an_exercise_shows_its_text_and_folds_its_solution():
    chapter = texts_and_code(
        "## Exercises\n\nBefore.\n\n### Exercise 5.1 — sum · difficulty 1/5 · 4 minutes\nAdd.",
        ("def f(x): ...\n\ncheck.exercise_1(f)", "○ not attempted"),
        "After, by (5.1).\n\n## Summary",
    )
    solutions = texts_and_code(
        "# Solutions", ("import math", ""), "## Exercise 5.1 — sum\nAdd.", ("def f(x): 1", "✓ <ok>"), "Because."
    )
    page = sitetext.exercises_page("The VAE", "05_vae", chapter, solutions)
    task, _, answer = page.partition("<details><summary>Solution</summary>")
    assert "## Exercise 5.1 — sum\n\n*difficulty 1/5 · 4 minutes*\n\nAdd." in task and "def f(x): ..." in task
    assert "Before." not in page and "After" not in page and "Summary" not in page and "not attempted" not in page
    assert "def f(x): 1" in answer and "✓ &lt;ok&gt;" in answer and "Because." in answer
    assert answer.rstrip().endswith("</details>") and "import math" not in page


@pytest.mark.parametrize("path", CHAPTERS, ids=shown)
def test_every_exercise_of_the_course_has_its_solution_on_the_page(path):
    solutions = read(next(solution for solution in SOLUTIONS if solution.name == path.name))
    page = sitetext.exercises_page("title", path.stem, read(path), solutions)
    exercises = page.split("\n## Exercise ")[1:]
    assert 4 <= len(exercises) <= 6
    for exercise in exercises:
        task, _, answer = exercise.partition("<details><summary>Solution</summary>")
        assert "..." in task and "check.exercise_" in task
        assert "✓" in answer and "..." not in answer.split("```")[1] and "</details>" in answer


def test_links_to_solutions_lead_to_the_page_where_they_stand():
    text = "It stands in [the solutions](solutions/00_start_here.ipynb), exercise 0.1; see [01](01_x.ipynb)."
    linked = "It stands in [the solutions](../exercises/00_start_here.md), exercise 0.1; see [01](01_x.ipynb)."
    assert link_solutions(text) == linked
    cell = {"cell_type": "markdown", "metadata": {}, "source": f"### Exercise 0.1 — one\n{text}"}
    assert linked in exercises_page("Start", "00_start_here", {"cells": [cell]}, {"cells": []})
