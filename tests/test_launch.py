"""Links to Colab and Binder come from the one address in pyproject.toml, and go with it."""

import ast
import json
import re
import shutil

import nbformat
import pytest
from notebook_files import CHAPTERS, NOTEBOOKS
from test_execute import course

from course_utils.runtime import ROOT
from course_utils.tools import launch

ADDRESS = "https://github.com/example/course"  # made up; only in these tests


@pytest.fixture
def chapter(tmp_path):
    """A copy of chapter 00 with its course.yml."""
    shutil.copy(NOTEBOOKS / "00_start_here.ipynb", tmp_path)
    shutil.copy(NOTEBOOKS / "course.yml", tmp_path)
    return tmp_path / "00_start_here.ipynb"


def test_without_an_address_there_is_nothing(chapter):
    assert launch.links("", "notebooks/a.ipynb") == {}
    before = chapter.read_bytes()
    assert launch.write(chapter, "") is False
    assert chapter.read_bytes() == before


def test_an_address_gives_links_and_a_cell_and_goes_without_a_trace(chapter):
    before = nbformat.read(chapter, 4)
    assert launch.write(chapter, ADDRESS) is True
    equipped = nbformat.read(chapter, 4)
    nbformat.validate(equipped)
    path = "notebooks/00_start_here.ipynb"
    assert f"https://colab.research.google.com/github/example/course/blob/main/{path}" in equipped.cells[0].source
    assert f"https://mybinder.org/v2/gh/example/course/main?urlpath=lab/tree/{path}" in equipped.cells[0].source
    assert equipped.cells[1].metadata.tags == ["launch"] and ADDRESS in equipped.cells[1].source
    assert [c.source for c in equipped.cells[2:]] == [c.source for c in before.cells[1:]]
    counts = [c.execution_count for c in equipped.cells if c.cell_type == "code" and c.source.strip()]
    assert counts == list(range(1, len(counts) + 1))
    assert launch.write(chapter, ADDRESS) is False, "a second call changes nothing"
    assert launch.write(chapter, "") is True
    assert nbformat.read(chapter, 4) == before


def test_a_new_address_replaces_the_old_one(chapter):
    launch.write(chapter, ADDRESS)
    launch.write(chapter, "https://github.com/example/other")
    text = chapter.read_text()
    assert "example/other" in text and "example/course" not in text
    assert text.count("open-on-colab") == 1


def test_a_host_that_colab_does_not_know_gives_binder_alone(chapter):
    launch.write(chapter, "https://git.example.org/course")
    cells = nbformat.read(chapter, 4).cells
    assert "mybinder.org/v2/git/https%3A%2F%2Fgit.example.org%2Fcourse/main" in cells[0].source
    assert "Colab" not in cells[0].source and cells[1].metadata.tags == ["parameters"]


def test_the_cell_does_nothing_elsewhere():
    lines = [re.sub(r"[!%](.*)", r"raise AssertionError", line) for line in launch.colab_source(ADDRESS).splitlines()]
    exec(compile(ast.parse("\n".join(lines)), "cell", "exec"), {})


def test_the_address_is_read_from_pyproject(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "x"\n[project.urls]\nRepository = "https://github.com/example/course.git/"\n')
    assert launch.address(project) == ADDRESS
    project.write_text('[project]\nname = "x"\n[project.urls]\n')
    assert launch.address(project) == ""


def test_the_command_writes_every_chapter(tmp_path, monkeypatch, chapter):
    import yaml

    entries = yaml.safe_load((tmp_path / "course.yml").read_text())
    entries["chapters"] = entries["chapters"][:1]
    (tmp_path / "course.yml").write_text(yaml.safe_dump(entries))
    monkeypatch.setattr(launch, "address", lambda: ADDRESS)
    assert "00_start_here                changed" in course("launch", "--source", tmp_path).output
    assert "as it was" in course("launch", "--source", tmp_path).output


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_stored_chapters_are_as_the_address_wants_them(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    wanted = launch.equipped(stored, f"notebooks/{path.name}", launch.address(ROOT / "pyproject.toml"))
    sources = [["".join(cell["source"]) for cell in notebook["cells"]] for notebook in (stored, wanted)]
    assert sources[0] == sources[1], "run `course launch`"
