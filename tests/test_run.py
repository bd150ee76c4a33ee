"""Chapters broken on purpose, in every way, are reported as what they are; what is not done is not called done."""

import dataclasses
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import psutil
import pytest
from helpers.processes import alive, left_behind, posix
from helpers.toys import Remembers, code_cells, course, plans, read_json, record, write_course, write_notebook
from nbformat.v4 import new_output

from course_utils.tools import chapter, kernel, run
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import read_results

# ---------------------------------------------------------------- one run in which almost everything goes wrong


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    base = tmp_path_factory.mktemp("broken") / "with {braces}"
    source, output = base / "chapters", base / "run"
    band = {"psnr": {"quick": [10, 20]}}
    write_course(source, long={}, good=band, raises={}, outside=band, lost=band, dies={}, slow={}, absent={})
    names = ("OMP_NUM_THREADS", "MPLBACKEND", "COURSE_STRICT")
    probe = f"import os\nprint(*[os.environ.get(name) for name in {names}], os.path.basename(os.getcwd()))"
    write_notebook(source / "good.ipynb", probe, record('{"psnr": 15.0, "extra": 1.0}'))
    write_notebook(source / "raises.ipynb", "print('before')", "raise ValueError('shape (3, 4)\\nsecond line')", "1")
    stored = nbformat.read(source / "raises.ipynb", as_version=4)
    stored.cells[-1] |= {"outputs": [new_output("stream", text="an old output")], "execution_count": 3}
    nbformat.write(stored, source / "raises.ipynb")
    write_notebook(source / "outside.ipynb", record('{"psnr": 25.0}'))
    write_notebook(source / "lost.ipynb", record('{"other": 15.0}'))
    last_words = "import os, sys\nprint('last words', file=sys.__stderr__, flush=True)\nos._exit(1)"
    write_notebook(source / "dies.ipynb", last_words, "print('after')")
    write_notebook(source / "slow.ipynb", "import time\ntime.sleep(100)", "print('after')")
    write_notebook(source / "long.ipynb", *["import time\ntime.sleep(0.8)"] * 20)
    before = alive()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        patch.setenv("COURSE_STRICT", "1")
        patch.setattr(run, "cores", lambda: 3)
        environment = dict(os.environ)
        result = course("run", "--source", source, "--output", output, "--jobs", 3, "--cell-timeout", 4)
        assert dict(os.environ) == environment, "the environment of this process is not touched"
    assert not left_behind(before)
    return result, output, {found.name: found for found in read_results(output)}


def test_broken_chapters_fail_the_run_and_are_named_at_the_end(broken):
    result, _, found = broken
    assert result.exit_code == 1, result.output
    end = result.output.split("chapters are fine")[1]
    assert {name for name in found if re.search(rf"^  {name}: ", end, flags=re.M)} == set(found) - {"good"}
    assert {name: (one.status, one.message.split(":")[0]) for name, one in found.items()} == {
        "long": ("timed out", found["long"].message),
        "good": ("ok", "no band yet"),
        "raises": ("failed", "ValueError in cell 3 of 4"),
        "outside": ("out of band", "psnr = 25, expected 10 … 20"),
        "lost": ("missing numbers", "psnr was not recorded, expected 10 … 20; no band yet"),
        "dies": ("kernel died", "the kernel died in cell 2 of 3 (often because memory ran out)"),
        "slow": ("timed out", "cell 2 of 3 took longer than 4 s"),
        "absent": ("failed", f"there is no notebook {broken[1].parent / 'chapters' / 'absent.ipynb'}"),
    }
    assert found["raises"].message == "ValueError in cell 3 of 4: shape (3, 4)"
    assert re.fullmatch(r"the chapter took longer than 8 s and was stopped in cell \d+ of 21", found["long"].message)
    for words in ("psnr = 25", "psnr was not recorded", "shape (3, 4)"):
        assert words in end


def test_progress_names_cell_elapsed_and_time_left(broken):
    assert re.search(r"^good\s+starting\s+0:0\d elapsed, about 0:0\d left", broken[0].output, flags=re.M)


def test_failing_chapter_keeps_its_partial_notebook(broken):
    _, output, found = broken
    cells = code_cells(output / "raises.ipynb")
    assert cells[1]["outputs"][0]["text"] == ["before\n"]
    assert cells[2]["outputs"][-1]["ename"] == "ValueError"
    assert cells[3]["execution_count"] is None and not cells[3]["outputs"], "nor what was stored"
    assert "shape (3, 4)" in found["raises"].traceback and "\x1b" not in found["raises"].traceback


@pytest.mark.parametrize(("name", "status"), [("dies", "kernel died"), ("slow", "timed out")])
def test_stopped_cell_is_not_called_completed(broken, name, status):
    cells = code_cells(broken[1] / f"{name}.ipynb")
    assert cells[0]["execution_count"] == 1 and cells[2]["execution_count"] is None
    assert cells[1]["outputs"][-1]["ename"] == status and not cells[2]["outputs"]


def test_what_a_kernel_printed_before_it_died_is_kept_beside_the_notebook(broken):
    assert "last words" in (broken[1] / "dies.log").read_text()
    assert not (broken[1] / "good.log").exists() and "last words" not in broken[0].output


def test_good_chapter_is_untouched_by_the_others(broken):
    _, output, found = broken
    assert found["good"].numbers == {"psnr": 15.0, "extra": 1.0}
    assert found["good"].message == "no band yet: extra"
    assert found["good"].versions["torch"] and found["good"].machine["cores"] >= 1
    assert "free_disk_gb" not in found["good"].machine
    printed = code_cells(output / "good.ipynb")[1]["outputs"][0]["text"]
    shown = "MPLBACKEND and COURSE_STRICT do not reach the kernel; three jobs on three cores have one thread each"
    assert printed == ["1 module://matplotlib_inline.backend_inline None chapters\n"], shown


# ---------------------------------------------------------------- profiles, parameters, resuming


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    """A package that nobody edits while these tests run."""
    folder = tmp_path_factory.mktemp("package") / "course_utils"
    (folder / "tools").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chapter, "PACKAGE", folder)
        yield folder


class Elsewhere(ThreadPoolExecutor):
    """Like an executor on another machine: what goes there and comes back is pickled, nothing is shared."""

    def submit(self, function, *arguments, **options):
        sent = pickle.dumps((function, arguments, options))

        def work():
            received, values, named = pickle.loads(sent)
            return pickle.dumps(received(*values, **named))

        future, back = super().submit(work), None
        back = future.result
        future.result = lambda: pickle.loads(back())
        return future


@pytest.fixture(scope="module")
def done(tmp_path_factory, package):
    base = tmp_path_factory.mktemp("done")
    source, output = base / "chapters", base / "run"
    write_course(source, **{"01_a": {"epochs_seen": {"quick": [2, 2], "full": [5, 5]}}, "02_b": {}})
    write_notebook(source / "01_a.ipynb", record('{"epochs_seen": epochs}'))
    write_notebook(source / "02_b.ipynb", "1 + 1", parameters='profile = "quick"')
    first, screen = plans(source)[:1], Remembers()
    with Elsewhere(1) as executor:
        results, code = run.run(first, source=source, output=output, screen=screen, executor=executor)
    assert code == 0 and results[0].status == "ok" and results[0].numbers == {"epochs_seen": 2.0}, screen.lines
    return source, output


@pytest.fixture
def copy(done, tmp_path):
    """A finished run to be changed."""
    for folder in done:
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / "chapters", tmp_path / "run"


def skippable(source, output, profile="quick", **overrides) -> bool:
    (last,) = [result for result in read_results(output) if result.name == "01_a"]
    return run.resumed(plans(source, profile, **overrides)[0], last, output) is not None


def test_resume_skips_what_is_unchanged(copy):
    source, output = copy
    before, entry = (output / "01_a.ipynb").stat().st_mtime_ns, read_results(output)
    result = course("run", "01", "--source", source, "--output", output, "--resume")
    assert result.exit_code == 0 and "skipped  · unchanged since it succeeded on 20" in result.output, result.output
    assert (output / "01_a.ipynb").stat().st_mtime_ns == before
    assert read_results(output) == entry and entry[0].status == "ok"


def test_resume_ignores_outputs_and_notices_everything_else(copy, package):
    source, output = copy
    notebook = nbformat.read(source / "01_a.ipynb", as_version=4)
    notebook.cells[-1].outputs = [new_output("stream", text="an old output")]
    nbformat.write(notebook, source / "01_a.ipynb")
    assert skippable(source, output)
    assert not skippable(source, output, epochs=3)
    assert not skippable(source, output, profile="full")
    (package / "batches.py").write_text("# changed")
    assert not skippable(source, output)
    (package / "batches.py").unlink()
    assert skippable(source, output)


def test_resume_runs_again_what_is_gone_or_failed_or_out_of_todays_band(copy):
    source, output = copy
    text, stored = (source / "course.yml").read_text(), (output / "results.json").read_text()
    (source / "course.yml").write_text(text.replace("- 2\n", "- 1\n"))
    assert not skippable(source, output)
    (source / "course.yml").write_text(text)
    for old, new in (('"status": "ok"', '"status": "failed"'), ('"key":', '"fingerprint":')):
        (output / "results.json").write_text(stored.replace(old, new))
        assert not skippable(source, output), f"{new} in results.json"
    (output / "results.json").write_text(stored)
    assert skippable(source, output)
    (output / "01_a.ipynb").unlink()
    assert not skippable(source, output)


def test_override_reaches_the_chapters_that_have_it_and_is_not_compared(copy):
    source, output = copy
    result = course("run", "--source", source, "--output", output, "--jobs", 2, "-p", "epochs", "7")
    first, second = read_results(output)
    assert result.exit_code == 0, result.output
    assert first.numbers == {"epochs_seen": 7.0}
    assert first.message == "not compared: parameters overridden"
    assert second.parameters == {} and second.message == ""
    assert not (source / "full_results").exists()


def test_full_profile_stores_its_numbers_and_never_replaces_good_ones_by_bad(copy):
    source, output = copy
    call = ("run", "01", "--source", source, "--output", output, "--profile", "full")
    assert course(*call).exit_code == 0
    path = source / "full_results" / "01.json"
    stored = read_json(path)
    assert stored["numbers"] == {"epochs_seen": 5.0} and stored["series"] == {"curve": [1.0, 2.0]}
    assert stored["parameters"] == {"epochs": 5} and stored["profile"] == "full" and stored["chapter"] == "01"
    assert stored["minutes"] > 0 and stored["versions"]["torch"] and "free_disk_gb" not in stored["machine"]
    bands, before = (source / "course.yml").read_text(), path.read_bytes()
    (source / "course.yml").write_text(bands.replace("- 5\n", "- 6\n"))
    result = course(*call, "--resume")
    assert result.exit_code == 1 and "01.new.json" in result.output
    assert path.read_bytes() == before
    assert read_json(output / "01.new.json")["numbers"] == {"epochs_seen": 5.0}
    path.unlink()
    (source / "course.yml").write_text(bands)
    assert "skipped" in course(*call, "--resume").output
    assert read_json(path)["numbers"] == {"epochs_seen": 5.0}, "stored once today's bands hold them, without a new run"


# ---------------------------------------------------------------- interruptions


@posix
def test_ctrl_c_leaves_what_is_done_and_no_kernel(copy):
    source, output = copy
    write_notebook(source / "02_b.ipynb", "import time\ntime.sleep(100)")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    screen, before = Remembers(send=signal.SIGINT), alive()
    results, code = run.run(plans(source)[1:], source=source, output=output, screen=screen)
    first, second = read_results(output)
    assert code == 130 and [result.status for result in results] == ["interrupted"]
    assert second == results[0] and second.message == "stopped in cell 2 of 2" and first.status == "ok"
    partial = code_cells(output / "02_b.ipynb")
    assert partial[0]["execution_count"] == 1 and partial[1]["outputs"][-1]["ename"] == "interrupted"
    assert not left_behind(before)
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@posix
@pytest.mark.parametrize("name", [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)])
def test_a_signal_leaves_no_process_and_decides_the_exit_code(tmp_path, name):
    source = write_course(tmp_path / "chapters", a={}, b={})
    sleep = "import os, time\nfrom pathlib import Path\nPath('kernel').write_text(str(os.getpid()))\ntime.sleep(100)"
    write_notebook(source / "a.ipynb", sleep)
    write_notebook(source / "b.ipynb", "1")
    command = [sys.executable, "-m", "course_utils", "run", "--source", str(source), "--output", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not ((source / "kernel").exists() and (source / "kernel").read_text()):
            assert time.monotonic() < deadline and process.poll() is None, "the chapter does not begin"
            time.sleep(0.1)
        every = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert int((source / "kernel").read_text()) in [each.pid for each in every]
        process.send_signal(signal.Signals[name])
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.Signals[name] and not [each for each in every if each.is_running()]
    assert "a: interrupted · stopped in cell 2 of 2" in text and "b: waiting" in text
    assert [(result.name, result.status) for result in read_results(tmp_path / "run")] == [("a", "interrupted")]


@posix
def test_an_interruption_of_one_chapter_is_raised_with_its_exit_code(monkeypatch, tmp_path):
    source = write_course(tmp_path, a={})
    write_notebook(source / "a.ipynb", "1")
    monkeypatch.setattr(run, "execute", lambda plan, watch, **options: time.sleep(0.3))
    monkeypatch.setattr(Remembers, "refresh", lambda self, running, below: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(run.Interrupted, match="SIGTERM") as caught:
        run.perform(plans(source)[0], screen=Remembers())
    assert caught.value.code == 143


def test_one_chapter_with_an_environment_of_its_own_tells_the_seconds_of_its_cells(tmp_path):
    source = write_course(tmp_path, a={})
    write_notebook(source / "a.ipynb", "import os\nprint(os.environ['OWN'])", "import time\ntime.sleep(0.5)")
    result, ended = run.perform(plans(source)[0], screen=Remembers(), environment={"OWN": "mine"})
    assert result.status == "ok" and ended.ending == "ran" and "OWN" not in os.environ
    printed = notebooks.code_cells(notebooks.parse(ended.notebook))[1]["outputs"][0]["text"]
    assert printed == ["mine\n"] and len(ended.cells) == 3
    assert 0.5 <= ended.cells[2].wall < ended.seconds and 0 <= ended.cells[2].processor < 0.5
    assert sorted(path.name for path in source.iterdir()) == ["a.ipynb", "course.yml"], "nothing is written"


@pytest.fixture
def asked(tmp_path):
    """The plan of a toy chapter."""
    write_notebook(write_course(tmp_path / "chapters", a={}) / "a.ipynb", "1")
    return plans(tmp_path / "chapters")[0]


def test_kernel_start_is_tried_twice(monkeypatch, asked):
    outcomes = [("not run", "no kernel started: port taken", ""), ("ran", "", "")]
    monkeypatch.setattr(kernel, "_attempt", lambda *_: outcomes.pop(0))
    monkeypatch.setattr(kernel.notebooks, "recorded", lambda _: ({}, {}))
    assert run.execute(asked).ending == "ran" and not outcomes
    outcomes += [("not run", "no kernel started: port taken", "")] * 3
    assert run.execute(asked).ending == "not run" and len(outcomes) == 1


def test_bytes_that_are_no_notebook_and_a_worker_that_is_lost_are_failures(tmp_path, asked):
    ended = run.execute(dataclasses.replace(asked, notebook=b"{"))
    assert ended.ending == "not run" and ended.result.status == "failed"
    assert "no kernel started: NotJSONError" in ended.result.message
    source = asked.chapter.path.parent

    class Lost(ThreadPoolExecutor):
        def submit(self, function, *arguments, **options):
            return super().submit(lambda: 1 / 0)

    with Lost(1) as executor:
        results, code = run.run(
            plans(source), source=source, output=tmp_path / "run", screen=Remembers(), executor=executor
        )
    assert code == 1 and results[0].status == "failed" and "ZeroDivisionError" in results[0].message


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\xef\xbb\xbf{}", b"<<<<<<< HEAD\n{}\n=======\n", b'{"cells": [', "한".encode("utf-16"), None],
)
def test_a_notebook_that_cannot_be_read_fails_alone_and_by_name(tmp_path, content):
    source = write_course(tmp_path / "chapters", a={}, b={})
    write_notebook(source / "b.ipynb", "1")
    if content is not None:
        (source / "a.ipynb").write_bytes(content)
    result = course("run", "--source", source, "--output", tmp_path / "run")
    first, second = read_results(tmp_path / "run")
    assert result.exit_code == 1 and (first.status, second.status) == ("failed", "ok")
    assert str(source / "a.ipynb") in first.message and "Traceback" not in result.output
    (tmp_path / "run" / "b.ipynb").write_bytes(b"{}")
    assert course("run", "a", "--source", source, "--output", tmp_path / "run").exit_code == 1
    assert (tmp_path / "run" / "index.html").exists()


def test_a_number_that_is_none_is_out_of_band_and_no_traceback(tmp_path):
    bands = {name: {"quick": [0, 1]} for name in ("nan", "inf")}
    source = write_course(tmp_path / "chapters", a=bands, b={})
    write_notebook(source / "a.ipynb", record('{"nan": float("nan"), "inf": float("inf")}'))
    write_notebook(source / "b.ipynb", "1")
    result = course("run", "--source", source, "--output", tmp_path / "run")
    first, second = read_results(tmp_path / "run")
    assert (first.status, second.status, result.exit_code) == ("out of band", "ok", 1)
    assert "nan = nan, expected 0 … 1" in first.message and "inf = inf" in first.message
    assert (tmp_path / "run" / "index.html").exists()


def test_limits_come_from_the_stated_minutes(asked, monkeypatch):
    limits = []
    monkeypatch.setattr(kernel, "_attempt", lambda *values: limits.append(values[-1]) or ("interrupted", "", ""))
    longer = dataclasses.replace(asked.chapter, profiles={"quick": {"minutes": 2}})
    for plan, given in ((asked, None), (asked, 7), (dataclasses.replace(asked, chapter=longer), None)):
        run.execute(plan, cell_seconds=given)
    assert limits == [300, 7, 1200]
