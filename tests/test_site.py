"""What the web site makes of notebooks, README and course.yml, before Sphinx sees it."""

import ast
import json
from pathlib import Path

import pytest
from helpers.pages import texts_and_code
from helpers.toys import course, write_notebook

from course_utils.runtime import ROOT
from course_utils.tools import run, site, vendor
from course_utils.tools.chapter import Chapter, Result
from course_utils.tools.notebook import WIDGET_TEXT, WIDGET_VIEW
from course_utils.tools.sitetext import Work

BURDA = Work(
    "burda",
    {"author": "Burda, Y. and Grosse, R. and Salakhutdinov, R.", "title": "IW", "year": "2016", "eprint": "1509.00519"},
)
PNG = {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}, "metadata": {}}


def chapter(*outputs) -> dict:
    made = texts_and_code(
        "# 05 The VAE\n\n## One $x$ thing\n\nBurda et al. (2015), (5.1).\n\n$$a\\tag{5.1}$$", ("1", "")
    )
    made["cells"][1] |= {"outputs": list(outputs), "execution_count": None}
    return made | {"metadata": {"widgets": {"state": 1}, "papermill": 1}}


def page(notebook: dict) -> dict:
    return site.chapter_page(notebook, "05_vae", {"5.1"}, [BURDA])


def test_a_chapter_is_linked_and_says_where_to_get_it(monkeypatch):
    monkeypatch.setattr(site, "repository", lambda: "")
    source = page(chapter())["cells"][0]["source"]
    assert "[Burda et al.](#reference-burda) (2015), [(5.1)](#equation-5-1)" in source
    assert "(equation-5-1)=\n$$a\\tag{5.1}$$" in source
    assert source.startswith('# 05 The VAE\n\n<p class="ways">')
    assert 'href="../downloads/05_vae.ipynb" download' in source and "exercises/05_vae.html" in source
    assert "Colab" not in source and "Binder" not in source


def test_services_are_named_once_there_is_an_address(monkeypatch):
    monkeypatch.setattr(site, "repository", lambda: "https://github.com/example/course")
    source = page(chapter())["cells"][0]["source"]
    path = "example/course/blob/main/notebooks/05_vae.ipynb"
    assert f'href="https://colab.research.google.com/github/{path}">Open in Colab' in source
    binder = "https://mybinder.org/v2/gh/example/course/main?urlpath=lab/tree/notebooks/05_vae.ipynb"
    assert f'href="{binder}">Open in Binder' in source
    elsewhere = site.ways_to_open("05_vae", "https://git.example.org/c")
    assert "Colab" not in elsewhere and "/v2/git/https%3A%2F%2Fgit.example.org%2Fc/main?" in elsewhere


def test_the_address_is_that_of_the_project_file(monkeypatch, tmp_path):
    project = tmp_path / "pyproject.toml"
    monkeypatch.setattr(site, "ROOT", tmp_path)
    project.write_text("[project]\nname = 'x'\n")
    assert site.repository() == ""
    project.write_text("[project.urls]\nRepository = 'https://github.com/example/course.git'\n")
    assert site.repository() == "https://github.com/example/course"


def test_of_a_slider_there_is_either_the_widget_or_a_remark():
    view = {"output_type": "display_data", "data": {WIDGET_VIEW: {"model_id": "a"}, "text/plain": "VBox()"}}
    kept = {"output_type": "display_data", "data": {"text/plain": WIDGET_TEXT}}
    live, still = page(chapter(view, kept))["cells"][1]["outputs"]
    assert live["data"] == {WIDGET_VIEW: {"model_id": "a"}}
    assert still["data"] == {"text/html": f'<p class="remark">{site.REMARK}</p>'}
    assert page(chapter())["metadata"].keys() == {"kernelspec", "language_info", "widgets"}


def test_numbers_for_the_report_are_dropped_and_figures_described():
    numbers = {
        "output_type": "display_data",
        "data": {"application/vnd.course-utils.numbers+json": {}, "text/plain": "n"},
    }
    cell = page(chapter(numbers, PNG))["cells"][1]
    assert cell["outputs"][0]["data"] == {"text/plain": "n"}
    assert cell["metadata"]["mystnb"]["image"]["alt"] == "Figure 1, One x thing"


def test_cells_for_bookkeeping_are_left_out():
    given = chapter(PNG)
    given["cells"].append(given["cells"][1] | {"metadata": {"tags": ["bookkeeping"]}})
    assert len(page(given)["cells"]) == len(given["cells"]) - 1 == 2


def test_the_notebook_given_is_left_as_it_was():
    given = chapter(PNG)
    before = json.dumps(given)
    page(given)
    assert json.dumps(given) == before


def test_the_first_page_comes_from_readme_and_course_file():
    made = Chapter("02_ae", "AE", Path("02_ae.ipynb"), 40, ("01_a",), {"quick": {"minutes": 2}})
    other = Chapter("03_b", "B", Path("03_b.ipynb"))
    text = site.index_page(
        "# T\n\nIntro.\n\n## Two commands\n\n`make run`\n\n## Where to start\n\nMore.", [made, other]
    )
    assert "| 03 | [B](chapters/03_b.ipynb) | – | ? min | ? min |" in text
    assert "Intro." in text and "make run" in text and "More." not in text
    row = "| 02 | [AE](chapters/02_ae.ipynb) | [01](chapters/01_a.ipynb) | 40 min | 2 min |"
    assert f"{row} [exercises](exercises/02_ae.md) |" in text
    assert "chapters/02_ae\nchapters/03_b\n```" in text and "glossary\nbibliography\ninterface/index" in text


def test_every_module_of_the_package_has_a_page(tmp_path):
    site.write_interface(tmp_path)
    pages = {path.stem for path in tmp_path.glob("*.rst")}
    assert pages == {path.stem for path in (ROOT / "course_utils").glob("[!_]*.py")} | {"checks"}


# ------------------------------------------------------------------------------------ the command


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Calls of ``site.build``; nothing is built, and chapters end with the given statuses without being run."""
    calls = []

    def build(source, target, executed):
        calls.append(executed)
        target.mkdir(parents=True)
        (target / "index.html").write_text("")
        return target / "index.html"

    def ended(plans, **options):
        assert options["resume"] is True
        return [Result.of(plan, statuses[plan.name]) for plan in plans], 0

    (tmp_path / "course.yml").write_text(
        json.dumps(
            {"chapters": [{"name": name, "title": name, "profiles": {"quick": {"minutes": 1}}} for name in "ab"]}
        )
    )
    statuses = {"a": "skipped", "b": "out of band"}
    monkeypatch.setattr(site, "build", build)
    monkeypatch.setattr(run, "run", ended)
    arguments = ["site", "--source", tmp_path, "--output", tmp_path / "run", "--site", tmp_path / "site"]
    return arguments, statuses, calls


def test_the_command_takes_executed_chapters(built, tmp_path):
    arguments, _, calls = built
    assert course(*arguments).exit_code == 0
    assert calls == [{name: tmp_path / "run" / f"{name}.ipynb" for name in "ab"}]


def test_the_command_takes_stored_chapters_on_demand(built):
    arguments, _, calls = built
    source = arguments[arguments.index("--source") + 1]
    for name in "ab":
        write_notebook(source / f"{name}.ipynb", "1")
    done = course(*arguments, "--stored")
    assert done.exit_code == 1 and "hold no outputs; make them: course store" in done.output and calls == [{}]


def test_a_chapter_that_failed_stops_the_site_and_names_the_way_out(built):
    arguments, statuses, calls = built
    statuses["b"] = "failed"
    result = course(*arguments)
    assert result.exit_code == 1 and "b failed" in result.output and "--stored" in result.output and not calls


@pytest.mark.parametrize("error", [vendor.VendorMissing("npm was not found"), RuntimeError("Sphinx did not accept x")])
def test_what_the_build_says_is_shown_without_a_traceback(built, monkeypatch, error):
    def build(*_):
        raise error

    monkeypatch.setattr(site, "build", build)
    result = course(*built[0], "--stored")
    assert result.exit_code == 1 and str(error) in result.output and not isinstance(result.exception, RuntimeError)


def test_pages_name_no_file_of_another_host():
    for path in Path(site.DOCS).glob("*"):
        if path.suffix in (".py", ".css", ".js"):
            assert "://" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("path", sorted((ROOT / "course_utils").rglob("*.py")), ids=lambda path: path.stem)
def test_docstrings_are_text_that_sphinx_accepts(path):
    """A word that ends in an underscore is a link to docutils, and one unknown target stops the whole site."""
    import docutils.core

    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for text in filter(None, (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))):
        settings = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False}
        found = docutils.core.publish_doctree(text, settings_overrides=settings)
        problems = [message.astext() for message in found.parse_messages + found.transform_messages]
        assert not problems, problems
