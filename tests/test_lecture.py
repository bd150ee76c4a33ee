"""A lecture's trainings are kept once and loaded in the lecture; what stays slow is named."""

import subprocess
import sys

import nbformat
import pytest
from helpers.toys import Remembers, course, plans, write_course
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.tools import doctor, lecture_cache
from course_utils.tools import lecture as live
from course_utils.tools.run import Timing

TRAIN = """import time, torch
from course_utils.fit import fit
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
def objective(model, x):
    time.sleep(0.1)
    return {"loss": model(x).square().mean()}
fit(model, objective, torch.rand(32, 4), epochs=8, batch_size=8, device="cpu", progress=False)"""
CELLS = [new_markdown_cell("# 01 Toy"), new_code_cell("epochs = 2", metadata={"tags": ["parameters"]})]
CELLS += [new_markdown_cell("## 1 Training"), new_code_cell(TRAIN), new_markdown_cell("### A sweep")]
CELLS += [new_code_cell("time.sleep(2.2)"), new_code_cell(TRAIN + "  # another, after one that is loaded")]


def write(path, cells):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture
def toy(tmp_path):
    source = write_course(tmp_path / "chapters", **{"01_toy": {}})
    write(source / "01_toy.ipynb", CELLS)
    return source


@pytest.fixture
def sound(monkeypatch):
    monkeypatch.setattr(doctor, "findings", lambda **options: [("ok", "fine")])


def cell(number, seconds, shown=True):
    return live.Cell(number, "2 A section", "print(1)", Timing(seconds, None), shown)


def rehearsal(*cells, refusals=(), busy=0.5):
    return live.Rehearsal(list(cells), list(refusals), 0, busy)


def rehearsed(*cells, **facts):
    return lambda *a, **k: (None, rehearsal(*cells, **facts))


def test_trains_once_and_measures_what_is_loaded(toy, tmp_path):
    folder, screen = tmp_path / "kept", Remembers()
    (plan,) = plans(toy)
    result, first = live.prepare(plan, folder, screen=screen)
    assert result.status == "ok" and len(screen.lines) == 2, "executed twice: trained, then loaded"
    assert len(list(folder.glob("*.pt"))) == 2 and first.new_files == 0 and not first.refusals
    training, sweep = first.cells[1:3]
    assert training.heading == "1 Training" and sweep.heading == "A sweep"
    assert training.time.processor >= 0 and sweep.time.processor < 1, "it sleeps: seconds pass, but no processor time"
    assert sweep.time.wall > 2.2 and 3 in [cell.number for cell in first.late(2.1)]
    assert [cell.shown for cell in first.cells] == [False, True, True, True]
    assert (folder / "01_toy.ipynb").exists()
    written = next(folder.glob("*.pt")).stat().st_mtime_ns
    live.prepare(plan, folder, screen=screen)
    assert len(screen.lines) == 3, "nothing new to train: one execution is enough"
    assert next(folder.glob("*.pt")).stat().st_mtime_ns == written


def test_a_chapter_that_fails_is_not_ready(toy, tmp_path, sound):
    write(toy / "01_toy.ipynb", [*CELLS[:3], new_code_cell("1 / 0")])
    result = course("lecture", "1", "--source", toy, "--checkpoints", tmp_path / "kept")
    assert result.exit_code == 1 and "ZeroDivisionError" in result.output and "not ready" in result.output


def test_what_could_not_be_kept_is_said_once(toy, tmp_path):
    objective = (
        "import itertools\nn = itertools.count()\ndef counting(m, x):\n    return {'loss': next(n) * m(x).sum()}\n"
    )
    counting = objective + "fit(model, counting, torch.rand(9000, 4), epochs=9)"
    write(toy / "01_toy.ipynb", [*CELLS[:4], new_code_cell(counting)])
    _, found = live.prepare(*plans(toy), tmp_path / "kept", screen=Remembers())
    assert len(found.refusals) == 1 and "a training of Linear is not kept: it changes more" in found.refusals[0]


def test_a_startup_file_of_ones_own_still_runs(toy, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("mine = 5")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "mine.py"))
    write(toy / "01_toy.ipynb", [*CELLS[:2], new_code_cell("assert mine == 5 and __keep__")])
    result, _ = live.prepare(*plans(toy), tmp_path / "kept", screen=Remembers())
    assert result.status == "ok", result.message
    assert "IPYTHONDIR" not in live.environment(tmp_path) and "JUPYTER_CONFIG_DIR" not in live.environment(tmp_path)


@pytest.mark.parametrize(
    ("cells", "code", "words"),
    [
        ([cell(1, 9, shown=False), cell(2, 4.9)], 0, "run before the talk: cell   1    9.0 s  2 A section"),
        ([cell(1, 9, shown=False), cell(2, 4.9)], 0, "1 of 1 demo cells answer within 5 s (longest 4.9 s)"),
        ([cell(1, 1), cell(12, 8.3)], 1, "not ready: cell  12    8.3 s  2 A section · print(1)"),
    ],
)
def test_exit_code_and_words(toy, tmp_path, sound, monkeypatch, cells, code, words):
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(live, "prepare", rehearsed(*cells, refusals=["a training of Net is not kept: it counts"]))
    result = course("lecture", "01", "--source", toy, "--checkpoints", tmp_path / "kept")
    assert result.exit_code == code, result.output
    assert words in result.output and "not kept: a training of Net" in result.output
    assert f"{live.VARIABLE}={tmp_path / 'kept'}" in result.output and "01_toy.ipynb" in result.output


def test_another_limit(toy, tmp_path, sound, monkeypatch):
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(live, "prepare", rehearsed(cell(1, 8.0)))
    arguments = ("lecture", "01", "--source", toy, "--checkpoints", tmp_path / "kept", "--within")
    assert course(*arguments, "10").exit_code == 0 and course(*arguments, "5").exit_code == 1


def test_other_work_on_the_machine_is_mentioned(monkeypatch):
    monkeypatch.setattr(live, "cores", lambda: 2)
    assert "cores were at work" in live.describe(rehearsal(cell(1, 9.0), busy=2.0), 5)
    assert "cores were at work" not in live.describe(rehearsal(cell(1, 9.0), busy=1.1), 5)


def test_processor_time_stands_beside_the_seconds():
    times = [Timing(9.0, 3.5), Timing(8.0, 0.5), Timing(7.0, None)]
    cells = live.read_cells({"cells": [slide("slide")] * 3}, times)
    assert [cell.time for cell in cells] == times
    words = live.describe(rehearsal(*cells), 5)
    assert "9.0 s (3.5 s of processor time)" in words and "7.0 s  " in words


def test_a_broken_machine_is_not_prepared(toy, tmp_path, sound, monkeypatch):
    monkeypatch.setattr(doctor, "findings", lambda **options: [("BROKEN", "torch and torchvision do not fit")])
    monkeypatch.setattr(live, "prepare", lambda *a, **k: pytest.fail("prepared"))
    result = course("lecture", "01", "--source", toy, "--checkpoints", tmp_path / "kept")
    assert result.exit_code == 1 and "do not fit" in result.output


def test_the_names_are_those_of_the_cache():
    assert (live.VARIABLE, live.NOT_KEPT) == (lecture_cache.VARIABLE, lecture_cache.NOT_KEPT)


@pytest.mark.parametrize("arguments", [("02",), ("01", "-p", "epoch", "3")])
def test_refused_before_anything_runs(toy, tmp_path, sound, arguments):
    result = course("lecture", *arguments, "--source", toy, "--checkpoints", tmp_path / "kept")
    assert result.exit_code == 2 and not (tmp_path / "kept").exists()


def test_the_lab_is_opened_with_the_folder_named(toy, tmp_path, sound, monkeypatch):
    calls = []

    def run(command, env, cwd, check=False):
        calls.append((command, env))
        return subprocess.CompletedProcess(command, 0)

    folder = tmp_path / "kept"
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(live, "prepare", lambda *a, **k: pytest.fail("prepared again"))
    monkeypatch.setattr(live.subprocess, "run", run)
    arguments = ("lecture", "01", "--open", "--source", toy, "--checkpoints", folder)
    result = course(*arguments)
    assert result.exit_code == 0 and "not prepared" in result.output
    folder.mkdir()
    (folder / "01_toy.ipynb").write_text("{}")
    result = course(*arguments)
    assert result.exit_code == 0 and "not prepared" not in result.output
    for command, environment in calls:
        assert command[:3] == [sys.executable, "-m", "jupyterlab"] and command[3].endswith("01_toy.ipynb")
        assert environment[live.VARIABLE] == str(folder) and "MPLBACKEND" not in environment
    assert len(calls) == 2


def slide(kind: str | None) -> dict:
    metadata = {"slideshow": {"slide_type": kind}} if kind else {}
    return {"cell_type": "code", "source": f"cell_of = {kind!r}", "metadata": metadata}


def test_with_slides_only_what_is_on_them_is_shown():
    kinds, time = ("skip", "slide", "notes", None, "fragment", "subslide", "-"), Timing(1.0, 1.0)
    cells = live.read_cells({"cells": [slide(kind) for kind in kinds]}, [time] * 7)
    assert [c.shown for c in cells] == [False, True, False, False, True, True, True]
    assert live.read_cells({"cells": [slide(None)]}, [time])[0].shown is False, "before the first section"
