"""A workbook is a person's own: it begins without outputs, and nothing that is in it is ever written over."""

import pytest
from helpers.toys import course, record, write_course, write_notebook

from course_utils.tools import notebook as notebooks
from course_utils.tools import workbook
from course_utils.tools.chapter import read_chapters
from course_utils.tools.folders import NotOurs


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "LAST", tmp_path / "last")
    write_notebook(tmp_path / "chapters" / "00_a.ipynb", "1 + 1")
    write_notebook(tmp_path / "chapters" / "01_b.ipynb", record('{"psnr": 1.0}'))
    write_notebook(tmp_path / "chapters" / "solutions" / "00_a.ipynb", "2")
    path = tmp_path / "chapters" / "00_a.ipynb"
    stored = notebooks.read(path)
    stored["cells"][-1] |= {"execution_count": 3, "outputs": [{"output_type": "stream", "name": "stdout", "text": "2"}]}
    notebooks.write(path, stored)
    return write_course(tmp_path / "chapters", **{"00_a": {}, "01_b": {}})


def start(source, folder, *more):
    return course("start", folder, "--source", source, *more)


def test_it_holds_every_notebook_as_if_never_run(source, tmp_path):
    result = start(source, tmp_path / "mine")
    assert result.exit_code == 0 and "jupyterlab" in result.output
    names = {path.relative_to(tmp_path / "mine").as_posix() for path in (tmp_path / "mine").rglob("*.ipynb")}
    assert names == {"00_a.ipynb", "01_b.ipynb", "solutions/00_a.ipynb"}
    for name in names:
        mine, theirs = (notebooks.read(folder / name) for folder in (tmp_path / "mine", source))
        assert [cell["id"] for cell in mine["cells"]] == [cell["id"] for cell in theirs["cells"]]
        assert all(
            not notebooks.outputs(cell) and cell["execution_count"] is None for cell in notebooks.code_cells(mine)
        )


def test_a_class_gets_no_solutions(source, tmp_path):
    start(source, tmp_path / "class", "--no-solutions")
    assert sorted(path.name for path in (tmp_path / "class").glob("*")) == [workbook.NOTE, "00_a.ipynb", "01_b.ipynb"]


def test_what_is_there_stays_and_what_has_changed_is_named(source, tmp_path):
    start(source, tmp_path / "mine")
    (tmp_path / "mine" / "00_a.ipynb").write_text("an answer, half written <<<")
    (tmp_path / "mine" / "01_b.ipynb").unlink()
    write_notebook(source / "00_a.ipynb", "3")
    result = start(source, tmp_path / "mine")
    assert (tmp_path / "mine" / "00_a.ipynb").read_text() == "an answer, half written <<<"
    assert (tmp_path / "mine" / "01_b.ipynb").exists()
    assert "00_a.ipynb: the course has another version now; yours is kept" in result.output
    assert "solutions/00_a.ipynb: yours is kept" in result.output


def test_a_file_of_ones_own_of_the_same_name_stays(source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "00_a.ipynb").write_text("mine")
    assert start(source, tmp_path / "mine").exit_code == 0
    assert (tmp_path / "mine" / "00_a.ipynb").read_text() == "mine"


@pytest.mark.parametrize("below", ["", "solutions", "new"])
def test_the_folder_of_the_course_is_none(source, below):
    result = start(source, source / below)
    assert result.exit_code == 2 and "belongs to the course" in result.output


def test_nor_is_the_folder_of_its_products(source):
    with pytest.raises(NotOurs, match="belongs to the course"):
        workbook.start(read_chapters(source), workbook.BUILD / "run")


def test_progress_finds_the_workbook(source, tmp_path):
    start(source, tmp_path / "mine")
    assert workbook.last() == tmp_path / "mine"
    assert f"saved notebooks of {tmp_path / 'mine'}" in course("progress", "00").output
    (tmp_path / "last").write_text(str(tmp_path / "gone"))
    assert workbook.last() == workbook.ROOT / "notebooks"
