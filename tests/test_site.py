"""What the web site makes of notebooks, README and course.yml, before Sphinx sees it."""

import json
from pathlib import Path

import pytest
from test_execute import course
from test_sitetext import BURDA, notebook

from course_utils.runtime import ROOT
from course_utils.tools import execute, launch, site, vendor
from course_utils.tools.store import WIDGET_MIME, WIDGET_TEXT

PNG = {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}, "metadata": {}}


def chapter(*outputs) -> dict:
    made = notebook("# 05 The VAE\n\n## One $x$ thing\n\nBurda et al. (2015), (5.1).\n\n$$a\\tag{5.1}$$", ("1", ""))
    made["cells"][1] |= {"outputs": list(outputs), "execution_count": None}
    return made | {"metadata": {"widgets": {"state": 1}, "papermill": 1}}


def page(notebook: dict) -> dict:
    return site.chapter_page(notebook, "05_vae", {"5.1"}, [BURDA])


def test_a_chapter_is_linked_and_says_where_to_get_it(monkeypatch):
    monkeypatch.setattr(launch, "address", lambda: "")
    source = page(chapter())["cells"][0]["source"]
    assert "[Burda et al.](#reference-burda) (2015), [(5.1)](#equation-5-1)" in source
    assert "(equation-5-1)=\n$$a\\tag{5.1}$$" in source
    assert source.startswith('# 05 The VAE\n\n<p class="ways">')
    assert 'href="../downloads/05_vae.ipynb" download' in source and "exercises/05_vae.html" in source
    assert "Colab" not in source and "Binder" not in source


def test_services_are_named_once_there_is_an_address_and_the_cell_for_colab_is_left_out(monkeypatch):
    monkeypatch.setattr(launch, "address", lambda: "https://github.com/example/course")
    cells = page(launch.equipped(chapter(), "notebooks/05_vae.ipynb", launch.address()))["cells"]
    assert cells[0]["source"].count("Open in Colab") == cells[0]["source"].count("Open in Binder") == 1
    assert len(cells) == 2


def test_of_a_slider_there_is_either_the_widget_or_a_remark():
    view = {"output_type": "display_data", "data": {WIDGET_MIME: {"model_id": "a"}, "text/plain": "VBox()"}}
    kept = {"output_type": "display_data", "data": {"text/plain": WIDGET_TEXT}}
    live, still = page(chapter(view, kept))["cells"][1]["outputs"]
    assert live["data"] == {WIDGET_MIME: {"model_id": "a"}}
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


def test_the_notebook_given_is_left_as_it_was():
    given = chapter(PNG)
    before = json.dumps(given)
    page(given)
    assert json.dumps(given) == before


def test_the_first_page_comes_from_readme_and_course_file():
    entry = {
        "name": "02_ae",
        "title": "AE",
        "needs": ["01_a"],
        "read_minutes": 40,
        "profiles": {"quick": {"minutes": 2}},
    }
    text = site.index_page("# Title\n\nIntro.\n\n## Two commands\n\n`make run`\n\n## Where to start\n\nMore.", [entry])
    assert "Intro." in text and "make run" in text and "More." not in text
    row = "| 02 | [AE](chapters/02_ae.ipynb) | [01](chapters/01_a.ipynb) | 40 min | 2 min |"
    assert f"{row} [exercises](exercises/02_ae.md) |" in text
    assert "chapters/02_ae\n```" in text and "glossary\nbibliography\ninterface/index" in text


def test_every_module_of_the_package_has_a_page(tmp_path):
    site.write_interface(tmp_path)
    pages = {path.stem for path in tmp_path.glob("*.rst")}
    assert pages == {path.stem for path in (ROOT / "course_utils").glob("[!_]*.py")} | {"checks"}


def test_only_the_files_that_pages_load_are_copied(tmp_path, monkeypatch):
    package = tmp_path / "package"
    for name in ("require.js", "bin/r.js"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("x")
    monkeypatch.setattr(site, "SCRIPTS", {"requirejs": ("require.js",)})
    monkeypatch.setattr(vendor, "fetch", lambda names, folder: {"requirejs": package})
    site.copy_scripts(tmp_path / "out", tmp_path)
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["require.js"]


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

    def run(outcomes, **options):
        assert options["resume"] is True
        for outcome in outcomes:
            outcome.status = statuses[outcome.name]
        return 0

    (tmp_path / "course.yml").write_text(
        json.dumps(
            {"chapters": [{"name": name, "title": name, "profiles": {"quick": {"minutes": 1}}} for name in "ab"]}
        )
    )
    statuses = {"a": "skipped", "b": "out of band"}
    monkeypatch.setattr(site, "build", build)
    monkeypatch.setattr(execute, "run", run)
    arguments = ["site", "--source", tmp_path, "--output", tmp_path / "run", "--site", tmp_path / "site"]
    return arguments, statuses, calls


def test_the_command_takes_executed_chapters(built, tmp_path):
    arguments, _, calls = built
    assert course(*arguments).exit_code == 0
    assert calls == [{name: tmp_path / "run" / f"{name}.ipynb" for name in "ab"}]


def test_the_command_takes_stored_chapters_on_demand(built):
    arguments, _, calls = built
    assert course(*arguments, "--stored").exit_code == 0 and calls == [{}]


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
