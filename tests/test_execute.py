"""Chapters broken on purpose, in every way, are reported as what they are; what is not done is not called done."""

import base64
import io
import json
import re
import shutil
import sys
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
import yaml
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from course_utils.tools import execute, read_results, store
from course_utils.tools import worker as process
from course_utils.tools.cli import main

RECORD = """from IPython.display import display
mime = "application/vnd.course-utils.{}+json"
display({{"text/plain": "numbers", mime.format("numbers"): {{"numbers": {}}}}}, raw=True)
display({{"text/plain": "series", mime.format("series"): {{"series": {{"curve": [1.0, 2.0]}}}}}}, raw=True)"""
PARAMETERS = 'profile = "quick"\nepochs = 2'


def record(numbers: str) -> str:
    """A cell that records numbers as ``results.record`` does, without importing PyTorch."""
    return RECORD.format("{}", numbers)


def write_notebook(path: Path, *cells: str, parameters: str | None = PARAMETERS) -> Path:
    """Write a tiny chapter: heading, parameters, one code cell per argument."""
    code = [new_code_cell(source) for source in cells]
    if parameters is not None:
        code.insert(0, new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_markdown_cell(f"# {path.stem}"), *code], metadata={"kernelspec": kernel})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def write_course(source: Path, **numbers: dict) -> Path:
    """Write the course file of a toy course: chapter name → its bands."""
    profiles = {"quick": {"minutes": 0.1}, "full": {"minutes": 0.2, "parameters": {"epochs": 5}}}
    chapters = [
        {"name": name, "title": name.title(), "read_minutes": 3, "needs": [], "profiles": profiles, "numbers": bands}
        for name, bands in numbers.items()
    ]
    source.mkdir(parents=True, exist_ok=True)
    (source / "course.yml").write_text(yaml.safe_dump({"chapters": chapters}))
    return source


def course(*arguments: str):
    """Call the command line in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


class Silent:
    """A screen that remembers lines."""

    def __init__(self, interrupt_after: int = 10**9):
        self.lines, self.left = [], interrupt_after

    def line(self, text):
        self.lines.append(text)

    def refresh(self, workers, waiting):
        self.left -= bool(workers and workers[0].cell > 1)
        if self.left < 0:
            raise KeyboardInterrupt


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


# ---------------------------------------------------------------- one run in which almost everything goes wrong


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    base = tmp_path_factory.mktemp("broken")
    source, output = base / "chapters", base / "run"
    band = {"psnr": {"quick": [10, 20]}}
    write_course(source, good=band, raises={}, outside=band, lost=band, dies={}, slow={}, absent={})
    probe = "import os\nprint(os.environ.get('OMP_NUM_THREADS'), os.environ.get('MPLBACKEND') == 'Agg')"
    write_notebook(source / "good.ipynb", probe, record('{"psnr": 15.0, "extra": 1.0}'))
    write_notebook(source / "raises.ipynb", "print('before')", "raise ValueError('shape (3, 4)\\nsecond line')", "1")
    write_notebook(source / "outside.ipynb", record('{"psnr": 25.0}'))
    write_notebook(source / "lost.ipynb", record('{"other": 15.0}'))
    write_notebook(source / "dies.ipynb", "import os\nos._exit(1)", "print('after')")
    write_notebook(source / "slow.ipynb", "import time\ntime.sleep(100)", "print('after')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        patch.setattr(process, "cores", lambda: 3)
        result = course("run", "--source", source, "--output", output, "--jobs", 2, "--cell-timeout", 6)
    return result, output, read_results(output)


def test_broken_chapters_fail_the_run_and_are_named_at_the_end(broken):
    result, _, entries = broken
    assert result.exit_code == 1, result.output
    end = result.output.split("chapters are fine")[1]
    assert {name for name in entries if re.search(rf"^  {name}: ", end, flags=re.M)} == set(entries) - {"good"}
    statuses = {name: entry["status"] for name, entry in entries.items()}
    assert statuses == {
        "good": "ok",
        "raises": "failed",
        "outside": "out of band",
        "lost": "missing numbers",
        "dies": "kernel died",
        "slow": "timed out",
        "absent": "failed",
    }
    assert "psnr = 25, expected 10 … 20" in end
    assert "psnr was not recorded" in end
    assert "ValueError in cell 3 of 4: shape (3, 4)" in end


def test_progress_names_cell_elapsed_and_time_left(broken):
    assert re.search(r"^good\s+starting\s+0:0\d elapsed, about 0:0\d left", broken[0].output, flags=re.M)


def test_failing_chapter_keeps_its_partial_notebook(broken):
    _, output, entries = broken
    cells = code_cells(read(output / "raises.ipynb"))
    assert cells[1]["outputs"][0]["text"] == ["before\n"]
    assert cells[2]["outputs"][-1]["ename"] == "ValueError"
    assert cells[3]["execution_count"] is None
    assert "shape (3, 4)" in entries["raises"]["traceback"] and "\x1b" not in entries["raises"]["traceback"]


@pytest.mark.parametrize(("name", "status"), [("dies", "kernel died"), ("slow", "timed out")])
def test_stopped_cell_is_not_called_completed(broken, name, status):
    cells = code_cells(read(broken[1] / f"{name}.ipynb"))
    assert [cell["metadata"]["papermill"]["status"] for cell in cells] == ["completed", "failed", "pending"]
    assert cells[1]["outputs"][-1]["ename"] == status and not cells[2]["outputs"]


def test_good_chapter_is_untouched_by_the_others(broken):
    _, output, entries = broken
    assert entries["good"]["numbers"] == {"psnr": 15.0, "extra": 1.0}
    assert entries["good"]["message"] == "no band yet: extra"
    assert entries["good"]["versions"]["torch"] and entries["good"]["machine"]["cores"] >= 1
    assert "free_disk_gb" not in entries["good"]["machine"]
    printed = code_cells(read(output / "good.ipynb"))[1]["outputs"][0]["text"]
    assert printed == ["1 False\n"]  # two jobs on three cores have one thread each; MPLBACKEND not passed on


# ---------------------------------------------------------------- profiles, parameters, resuming


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    """A package that nobody edits while these tests run."""
    folder = tmp_path_factory.mktemp("package") / "course_utils"
    (folder / "tools").mkdir(parents=True)
    for name in ("batches.py", "tools/cli.py"):
        (folder / name).write_text("# as it was")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "PACKAGE", folder)
        yield folder


@pytest.fixture(scope="module")
def done(tmp_path_factory, package):
    base = tmp_path_factory.mktemp("done")
    source, output = base / "chapters", base / "run"
    write_course(source, **{"01_a": {"epochs_seen": {"quick": [2, 2], "full": [5, 5]}}, "02_b": {}})
    write_notebook(source / "01_a.ipynb", record('{"epochs_seen": epochs}'))
    write_notebook(source / "02_b.ipynb", "1 + 1", parameters='profile = "quick"')
    result = course("run", "1", "--source", source, "--output", output)
    assert result.exit_code == 0, result.output
    return source, output


@pytest.fixture
def copy(done, tmp_path):
    """A finished run to be changed."""
    for folder in done:
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / "chapters", tmp_path / "run"


def skippable(source: Path, output: Path, profile="quick", **overrides) -> bool:
    entry = yaml.safe_load((source / "course.yml").read_text())["chapters"][0]
    outcome = execute.plan(entry, profile, overrides, source / "01_a.ipynb")
    return execute._can_skip(outcome, read_results(output).get("01_a"), output)


def test_resume_skips_what_is_unchanged(copy):
    source, output = copy
    before = (output / "01_a.ipynb").stat().st_mtime_ns
    result = course("run", "01", "--source", source, "--output", output, "--resume")
    assert result.exit_code == 0 and "skipped" in result.output, result.output
    assert (output / "01_a.ipynb").stat().st_mtime_ns == before
    assert read_results(output)["01_a"]["status"] == "ok"


def test_resume_ignores_outputs_and_notices_everything_else(copy):
    source, output = copy
    notebook = nbformat.read(source / "01_a.ipynb", as_version=4)
    notebook.cells[-1].outputs = [new_output("stream", text="an old output")]
    nbformat.write(notebook, source / "01_a.ipynb")
    assert skippable(source, output)
    assert not skippable(source, output, epochs=3)
    assert not skippable(source, output, profile="full")
    notebook.cells[-1].source += "\n# changed"
    nbformat.write(notebook, source / "01_a.ipynb")
    assert not skippable(source, output)


def test_resume_notices_a_changed_package_but_not_changed_tools(copy, package):
    source, output = copy
    assert skippable(source, output)
    (package / "tools" / "cli.py").write_text("# changed")
    assert skippable(source, output)
    before = (package / "batches.py").read_text()
    (package / "batches.py").write_text("# changed")
    assert not skippable(source, output)
    (package / "batches.py").write_text(before)


def test_resume_runs_again_what_is_gone_or_failed_or_out_of_todays_band(copy):
    source, output = copy
    text = (source / "course.yml").read_text()
    (source / "course.yml").write_text(text.replace("- 2\n", "- 1\n"))
    assert not skippable(source, output)
    (source / "course.yml").write_text(text)
    stored = read(output / "results.json")
    stored["chapters"][0]["status"] = "failed"
    (output / "results.json").write_text(json.dumps(stored))
    assert not skippable(source, output)
    stored["chapters"][0]["status"] = "ok"
    (output / "results.json").write_text(json.dumps(stored))
    assert skippable(source, output)
    (output / "01_a.ipynb").unlink()
    assert not skippable(source, output)


def test_override_reaches_the_chapters_that_have_it_and_is_not_compared(copy):
    source, output = copy
    result = course("run", "--source", source, "--output", output, "--jobs", 2, "-p", "epochs", "7")
    entries = read_results(output)
    assert result.exit_code == 0, result.output
    assert entries["01_a"]["numbers"] == {"epochs_seen": 7.0}
    assert entries["01_a"]["message"] == "not compared: parameters overridden"
    assert entries["02_b"]["parameters"] == {} and entries["02_b"]["message"] == ""
    assert not (source / "full_results").exists()


def test_full_profile_stores_its_numbers_and_never_replaces_good_ones_by_bad(copy):
    source, output = copy
    assert course("run", "01", "--source", source, "--output", output, "--profile", "full").exit_code == 0
    path = source / "full_results" / "01.json"
    stored = read(path)
    assert stored["numbers"] == {"epochs_seen": 5.0} and stored["series"] == {"curve": [1.0, 2.0]}
    assert stored["parameters"] == {"epochs": 5} and stored["profile"] == "full" and stored["chapter"] == "01"
    assert stored["minutes"] > 0 and stored["versions"]["torch"] and "free_disk_gb" not in stored["machine"]
    (source / "course.yml").write_text((source / "course.yml").read_text().replace("- 5\n", "- 6\n"))
    before = path.read_bytes()
    result = course("run", "01", "--source", source, "--output", output, "--profile", "full", "--resume")
    assert result.exit_code == 1 and "01.new.json" in result.output
    assert path.read_bytes() == before
    assert read(output / "01.new.json")["numbers"] == {"epochs_seen": 5.0}


# ---------------------------------------------------------------- interruptions


def test_interrupt_leaves_what_is_done_and_no_kernel(copy):
    source, output = copy
    write_notebook(source / "02_b.ipynb", "import time\ntime.sleep(100)")
    entry = yaml.safe_load((source / "course.yml").read_text())["chapters"][1]
    outcome = execute.plan(entry, "quick", {}, source / "02_b.ipynb")
    assert execute.run([outcome], source=source, output=output, screen=Silent(interrupt_after=3)) == 130
    entries = read_results(output)
    assert entries["02_b"]["status"] == "interrupted" and entries["01_a"]["status"] == "ok"
    assert "cell 2 of 2" in entries["02_b"]["message"]
    partial = code_cells(read(output / "02_b.ipynb"))
    assert partial[0]["execution_count"] == 1 and partial[1]["outputs"][-1]["ename"] == "interrupted"
    assert not psutil.Process().children(recursive=True)


def test_chapter_limit_ends_a_chapter_whose_cells_each_stay_below_theirs(tmp_path):
    write_course(tmp_path, a={})
    notebook = write_notebook(tmp_path / "a.ipynb", *["import time\ntime.sleep(0.8)"] * 20)
    entry = yaml.safe_load((tmp_path / "course.yml").read_text())["chapters"][0]
    outcome = execute.plan(entry, "quick", {}, notebook)
    assert execute.run([outcome], source=tmp_path, output=tmp_path / "run", cell_seconds=2, screen=Silent()) == 1
    assert outcome.status == "timed out" and "the chapter took longer than 4 s" in outcome.message


def test_half_written_notebook_is_none(tmp_path):
    write_course(tmp_path, a={})
    notebook = write_notebook(tmp_path / "a.ipynb", "import time\ntime.sleep(100)")
    entry = yaml.safe_load((tmp_path / "course.yml").read_text())["chapters"][0]
    worker = process.Worker(execute.plan(entry, "quick", {}, notebook), notebook, tmp_path / "run" / "a.ipynb")
    worker.process.kill()
    worker.process.wait()
    worker.target.write_text('{"cells": [')
    worker.close()
    assert worker.outcome.status == "failed" and not worker.target.exists()


def test_kernel_start_is_tried_twice(monkeypatch, tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb", "1")
    task = {"source": str(notebook), "target": "", "cwd": "", "parameters": {}, "cell_seconds": 1}
    failures = [RuntimeError("port taken")]

    def flaky(task, on_cell_start):
        if failures:
            raise failures.pop()

    monkeypatch.setattr(process, "_papermill", flaky)
    said = []
    process.work(task, lambda **event: said.append(event))
    assert said == [{"status": "ok", "message": "", "traceback": ""}]
    failures += [RuntimeError("port taken")] * 2
    process.work(task, lambda **event: said.append(event))
    assert said[-1]["status"] == "failed" and "no kernel started" in said[-1]["message"]


def test_process_that_vanishes_is_a_failure(tmp_path, monkeypatch):
    write_course(tmp_path, a={})
    notebook = write_notebook(tmp_path / "a.ipynb", "1")
    entry = yaml.safe_load((tmp_path / "course.yml").read_text())["chapters"][0]
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    outcome = execute.plan(entry, "quick", {}, notebook)
    assert execute.run([outcome], source=tmp_path, output=tmp_path / "run", screen=Silent()) == 1
    assert outcome.status == "failed" and "ended with code 1" in outcome.message


# ---------------------------------------------------------------- storing outputs


def test_store_puts_clean_outputs_into_the_notebook(tmp_path):
    source = write_course(tmp_path, a={"psnr": {"quick": [10, 20]}})
    view = '{"text/plain": "IntSlider(value=0)", "application/vnd.jupyter.widget-view+json": {"model_id": "x"}}'
    both = '{"image/png": "iVBORw0KGgo=", "image/svg+xml": "<svg/>"}'
    cell = f"from IPython.display import display\ndisplay({view}, raw=True)\ndisplay({both}, raw=True)\n6 * 7"
    path = write_notebook(source / "a.ipynb", "print('one')\nprint('two')", cell, record('{"psnr": 11.0}'))
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["papermill"] = {"input_path": "/home/someone"}
    notebook.metadata["widgets"] = {"state": {}}
    notebook.cells[2].metadata |= {"papermill": {"duration": 1}, "execution": {"iopub": "now"}, "tags": ["keep"]}
    nbformat.write(notebook, path)
    ids = [cell["id"] for cell in notebook.cells]

    result = course("store", "--source", source)
    assert result.exit_code == 0, result.output
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert [cell["id"] for cell in stored.cells] == ids
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2, 3, 4]
    assert set(stored.metadata) == {"kernelspec", "language_info"} and stored.metadata.language_info == {
        "name": "python"
    }
    assert stored.metadata.kernelspec == {"name": "python3", "display_name": "Python 3", "language": "python"}
    assert stored.cells[2].metadata == {"tags": ["keep"]} and stored.cells[3].metadata == {}
    assert stored.cells[2].outputs[0].text == "one\ntwo\n"
    data = [output.data for output in stored.cells[3].outputs]
    assert data[0] == {"text/plain": store.WIDGET_TEXT}
    assert list(data[1]) == ["image/png"] and data[2] == {"text/plain": "42"}
    assert stored.cells[3].outputs[2].execution_count == 3


def test_store_leaves_a_notebook_alone_that_fails_or_strays(tmp_path):
    source = write_course(tmp_path, a={}, b={"psnr": {"quick": [10, 20]}})
    write_notebook(source / "a.ipynb", "raise KeyError('no')")
    write_notebook(source / "b.ipynb", record('{"psnr": 30}'))
    extra = write_notebook(source / "solutions" / "a.ipynb", "print('solved')", parameters=None)
    before = [(source / name).read_bytes() for name in ("a.ipynb", "b.ipynb")]
    result = course("store", "a", "b", extra, "--source", source)
    assert result.exit_code == 1 and "KeyError" in result.output and "psnr = 30" in result.output
    assert [(source / name).read_bytes() for name in ("a.ipynb", "b.ipynb")] == before
    assert code_cells(read(extra))[0]["outputs"][0]["text"] == ["solved\n"]


def test_carriage_returns_of_progress_bars_are_resolved():
    pieces = [
        {"output_type": "stream", "name": "stderr", "text": text} for text in ("10 %\r50 %", "\r100 %\n", "done\n")
    ]
    assert store.clean_outputs(pieces, 1) == [pieces[0] | {"text": ["100 %\n", "done\n"]}]


def few_colours() -> np.ndarray:
    """Dots between blue and white, in 256 colours and some neighbouring ones, so just more than a palette holds."""
    shade = np.random.default_rng(0).permutation(64 * 256).reshape(64, 256, 1) % 256
    picture = shade + (255 - shade) * np.array([0, 114, 178]) / 255
    picture[:2, :90:10] -= 1
    return picture


def photograph(seed: int = 0) -> np.ndarray:
    """Smooth colours in every direction: far more than a palette holds."""
    y, x = np.mgrid[:96, :128]
    return np.stack([2 * x, 2.6 * y, 255 - x - y], -1) + np.random.default_rng(seed).normal(0, 3, (96, 128, 3))


def grey_steps() -> np.ndarray:
    return np.repeat(np.add.outer(np.arange(64), 2 * np.arange(96))[..., None], 3, axis=-1)


def as_png(values: np.ndarray) -> str:
    """Encode as matplotlib does: with full opacity, 100 dots per inch, and base64 with the kernel's line end."""
    picture = Image.fromarray(values.clip(0, 255).astype("uint8")).convert("RGBA")
    picture.save(buffer := io.BytesIO(), "PNG", dpi=(100, 100))
    return base64.b64encode(buffer.getvalue()).decode() + "\n"


@pytest.mark.parametrize(
    ("values", "mode", "most"),
    [(grey_steps(), "L", 0), (few_colours(), "P", 8), (photograph(), "RGB", 0)],
    ids=("grey", "few colours", "photograph"),
)
def test_figures_are_stored_in_fewer_bytes_and_look_the_same(values, mode, most):
    text = as_png(values)
    (kept,) = store.clean_outputs([{"output_type": "display_data", "data": {"image/png": text}}], None)
    small = kept["data"]["image/png"]
    old, new = (Image.open(io.BytesIO(base64.b64decode(png))) for png in (text, small))
    error = np.abs(np.asarray(old.convert("RGB")).astype(int) - np.asarray(new.convert("RGB")))
    assert len(small) < len(text) and new.mode == mode and error.max() <= most
    assert new.size == old.size and new.info["dpi"] == pytest.approx((100, 100), abs=0.1)
    assert store.small_png(small) == small, "storing once more changes nothing"


def test_pictures_with_transparent_places_and_broken_ones_stay_as_they_are():
    Image.new("RGBA", (40, 30), (0, 114, 178, 128)).save(glass := io.BytesIO(), "PNG")
    for text in (base64.b64encode(glass.getvalue()).decode(), "iVBORw0KGgo=", "no base64"):
        assert store.small_png(text) == text
