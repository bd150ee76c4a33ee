"""The command line refuses what cannot be run before it runs anything, and diagnoses a broken machine."""

import builtins
import json
import os
import signal
import subprocess
import sys
from unittest.mock import MagicMock

import click
import pytest
from click.testing import CliRunner
from helpers.toys import course, write_course, write_notebook

from course_utils.tools import cli


@pytest.fixture
def toy(tmp_path):
    source = write_course(tmp_path / "chapters", **{"01_linear": {}, "02_autoencoder": {}})
    write_notebook(source / "01_linear.ipynb", "1")
    write_notebook(source / "02_autoencoder.ipynb", "1", parameters='profile = "quick"\nlatent_dim = 16\nepochs = 2')
    return source


@pytest.mark.parametrize(
    ("arguments", "wrong", "nearest"),
    [
        (["9"], "'9'", "'0"),
        (["02_autoencodr"], "02_autoencodr", "'02_autoencoder'"),
        (["--profile", "fulll"], "fulll", "'full'"),
        (["-p", "latent_dims", "3"], "latent_dims", "'latent_dim'"),
        (["1", "-p", "latent_dim", "3"], "latent_dim", "epochs"),
        (["-p", "epochs", "[1, "], "epochs", "a whole number"),
        (["--source", "/"], "course.yml", "--source"),
        (["--jobs", "0"], "0", "x>=1"),
        (["--cell-timeout", "-5"], "-5", "x>=1"),
        (["--cell-timeout", "nan"], "nan", "not a valid"),
        (["--device", "cuda:99"], "cuda:99", "not on this machine; use 'cpu'"),
        (["--device", "gpu"], "gpu", "use 'cpu', 'cuda' or 'mps'"),
    ],
)
def test_refused_before_anything_runs(toy, tmp_path, arguments, wrong, nearest):
    result = course("run", "--source", toy, "--output", tmp_path / "run", *arguments)
    assert result.exit_code == 2, result.output
    assert wrong in result.output and nearest in result.output
    assert not (tmp_path / "run").exists()


def test_the_device_reaches_the_kernels(toy, tmp_path, monkeypatch):
    from course_utils.tools import kernel, run

    monkeypatch.setenv("COURSE_DEVICE", "")
    seen = []
    monkeypatch.setattr(run, "run", lambda plans, **rest: seen.append(kernel._environment({})) or ([], 0))
    course("run", "1", "--source", toy, "--output", tmp_path / "run", "--device", "cpu")
    assert seen[0]["COURSE_DEVICE"] == "cpu"


def test_a_course_without_chapters_and_a_notebook_that_is_not_there_are_refused(toy, tmp_path):
    missing = course("store", "01", "elsewhere/x.ipynb", "--source", toy)
    assert missing.exit_code == 2 and "there is no notebook elsewhere/x.ipynb" in missing.output
    empty = write_course(tmp_path / "empty")
    assert "lists no chapters" in course("run", "--source", empty, "--output", tmp_path / "run").output


def test_an_interruption_has_the_exit_code_of_its_signal(monkeypatch, toy):
    from course_utils.tools import run, store

    for error, code in ((run.Interrupted(signal.SIGTERM), 143), (KeyboardInterrupt(), 130)):
        monkeypatch.setattr(store, "store", MagicMock(side_effect=error))
        result = course("store", "01", "--source", toy)
        assert result.exit_code == code and "Interrupted" in result.output


def test_parameter_of_course_yml_that_the_notebook_lacks_is_refused(toy, tmp_path):
    write_notebook(toy / "01_linear.ipynb", "1", parameters='profile = "quick"')
    result = course("run", "--profile", "full", "--source", toy, "--output", tmp_path / "run")
    assert result.exit_code == 2 and "01_linear" in result.output and "'epochs'" in result.output


@pytest.mark.parametrize(
    "name", ["2", "02", "02_autoencoder", "02_autoencoder.ipynb", "notebooks/02_autoencoder.ipynb"]
)
def test_chapters_go_by_number_name_or_file(toy, name):
    assert [chapter.name for chapter in cli.choose((name,), toy)] == ["02_autoencoder"]


def test_chapters_come_in_the_order_of_the_course_and_once(toy):
    assert [chapter.name for chapter in cli.choose(("02", "1", "2"), toy)] == ["01_linear", "02_autoencoder"]
    assert len(cli.choose((), toy)) == 2


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("3", 20, 3),
        ("1e3", 20, 1000),
        ("-2", 20, -2),
        ("3", 0.5, 3.0),
        ("1e-3", 0.5, 0.001),
        ("true", False, True),
        ("False", True, False),
        ("[1, 2]", [16], [1, 2]),
        # where the default is text, text stays as it was typed
        *((text, "mnist-5k", text) for text in ("mnist", "010", "no", "", "12:30", "/data/set #1/x.npz", "2026-01-01")),
        ("7", None, 7),
        ("seven", None, "seven"),
    ],
)
def test_a_parameter_is_of_the_kind_that_the_notebook_has(text, default, value):
    found = cli.understood("name", text, default)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "default"),
    [
        *((text, 20) for text in ("ten", "2.5", "2026-01-01", "010", "true", "null", "", "[1", "{}", "nan", "1e999")),
        *((text, 0.5) for text in ("half", "nan", "inf", "-1e999", "1j", "True")),
        *((text, True) for text in ("1", "yes", "0.0")),
        *((text, [16]) for text in ("16", "16, 32", "a")),
    ],
)
def test_another_kind_is_refused_with_what_the_notebook_has(text, default):
    with pytest.raises(click.UsageError, match="-p epochs .* is not understood; the notebook has") as caught:
        cli.understood("epochs", text, default)
    assert repr(default) in str(caught.value)


def test_what_was_understood_is_shown_and_a_wrong_kind_runs_nothing(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("course_utils.tools.run.run", lambda plans, **_: ([], 0))
    result = course("run", "1", "--source", toy, "--output", tmp_path, "-p", "epochs", "1e1", "-p", "profile", "010")
    assert "01_linear: epochs = 10, profile = '010'" in result.output
    result = course("run", "1", "--source", toy, "--output", tmp_path, "-p", "epochs", "ten")
    assert result.exit_code == 2 and "'ten' is not understood; the notebook has 2, a whole number" in result.output


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chapters: [",
        "only words",
        "chapters: 3",
        "chapters: [{title: no name}]",
        "chapters: [{name: a, profiles: {quick: {minutes: long}}}]",
        "chapters: [{name: a, profiles: {quick: {}}, numbers: {psnr: {quick: 5}}}]",
        "<<<<<<< HEAD\nchapters: []\n=======",
    ],
)
def test_a_damaged_course_file_is_one_sentence(tmp_path, text):
    (tmp_path / "course.yml").write_text(text)
    for words in (["list"], ["run", "--output", tmp_path / "run"]):
        result = course(*words, "--source", tmp_path)
        assert result.exit_code == 2 and "course.yml" in result.output and "Traceback" not in result.output
        assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    "words", [["store", "1"], ["lecture", "1"], ["slides", "1"], ["start", "FOLDER"], ["run", "1"]]
)
def test_every_command_names_a_notebook_that_cannot_be_read(toy, tmp_path, monkeypatch, words):
    monkeypatch.setattr("course_utils.tools.workbook.LAST", tmp_path / "last")
    monkeypatch.setattr("course_utils.tools.vendor.fetch", lambda *_: {})
    (toy / "01_linear.ipynb").write_text("<<<<<<< HEAD")
    place = {"slides": ["--output"], "run": ["--output"], "lecture": ["--checkpoints"]}.get(words[0], [])
    words = [str(tmp_path / "mine") if word == "FOLDER" else word for word in words]
    result = course(*words, "--source", toy, *[each for flag in place for each in (flag, tmp_path / "place")])
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit)
    assert f"{toy / '01_linear.ipynb'} is damaged" in result.output


def test_a_full_disk_and_a_library_that_does_not_load_are_one_sentence(toy, monkeypatch):
    for error in (OSError(28, "No space left on device", "/full/index.html"), ImportError("libcudart.so.12 not found")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(cli, "read_chapters", fail)
        result = course("list", "--source", toy)
        assert result.exit_code == 1 and str(error) in result.output and isinstance(result.exception, SystemExit)


def test_list_says_minutes_prerequisites_and_what_was_executed(toy, tmp_path):
    entry = {"name": "01_linear", "status": "ok", "profile": "quick", "minutes": 1.26}
    (tmp_path / "results.json").write_text(json.dumps({"chapters": [entry]}))
    result = course("list", "--source", toy, "--output", tmp_path)
    first, second = result.output.splitlines()[1:]
    assert "ok (quick, 1.3 min)" in first and "0.1 min" in first and "3 min" in first
    assert "02_autoencoder" in second and "not executed" in second


def test_module_runs_as_the_command_does_and_without_importing_torch():
    code = (
        "import runpy, sys; sys.argv = ['course', '--help']; sys.modules['torch'] = None; "
        "runpy.run_module('course_utils', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("bench", "data", "doctor", "list", "run", "scoreboard", "store"):
        assert f"\n  {word} " in done.stdout


# ---------------------------------------------------------------- doctor


def doctor():
    return CliRunner().invoke(cli.main, ["doctor"])


def broken_import(monkeypatch, module: str, error: Exception):
    """Make importing one module raise."""
    original = builtins.__import__

    def hook(name, *arguments, **keywords):
        if name.split(".")[0] == module:
            raise error
        return original(name, *arguments, **keywords)

    for name in [n for n in sys.modules if n == module or n == "course_utils.datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", hook)


def test_doctor_finds_this_machine_sound(monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    result = doctor()
    assert result.exit_code == 0, result.output
    for word in ("Python 3.", "torch 2", "cpu", "cores", "of memory", "disk free", "mnist-5k", "this environment"):
        assert word in result.output
    assert "warning  MPLBACKEND" not in result.output


def test_doctor_recognises_torch_and_torchvision_that_do_not_fit(monkeypatch):
    broken_import(monkeypatch, "torchvision", RuntimeError("operator torchvision::nms does not exist"))
    result = doctor()
    assert result.exit_code == 1
    assert "BROKEN   torch and torchvision do not fit together" in result.output
    assert "Reinstall both from one index" in result.output
    assert "cores" in result.output and "kernel python3" in result.output


def test_doctor_works_where_torch_does_not(monkeypatch):
    broken_import(monkeypatch, "torch", OSError("libcudart.so.13: cannot open shared object file"))
    result = doctor()
    assert result.exit_code == 1, result.output
    assert "BROKEN   importing torch and torchvision fails (OSError: libcudart" in result.output


def test_doctor_warns_of_a_matplotlib_backend_without_figures(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    result = doctor()
    assert result.exit_code == 0 and "warning  MPLBACKEND=Agg" in result.output


def test_doctor_says_what_differs_on_other_systems(monkeypatch):
    from course_utils.tools import doctor

    assert not [text for level, text in doctor._machine() if level != "ok" and "GB" not in text]
    monkeypatch.setattr(doctor.platform, "release", lambda: "5.15.167-microsoft-standard-WSL2")
    monkeypatch.setattr(doctor, "ROOT", type(doctor.ROOT)("/mnt/c/course"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: MagicMock(free=1e11))
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    found = dict(reversed(pair) for pair in doctor._machine())
    assert [level for text, level in found.items() if "slow from WSL" in text] == ["warning"]
    assert [level for text, level in found.items() if text.startswith("make: README, section *Systems*")] == ["absent"]


def test_doctor_knows_what_pytorch_lacks_on_windows(monkeypatch):
    from course_utils.tools import doctor

    monkeypatch.setattr(doctor.os, "name", "nt")
    broken_import(monkeypatch, "torch", OSError("[WinError 126] c10.dll"))
    ((level, text),) = doctor._torch()
    assert level == "BROKEN" and "c10.dll" in text and "Visual C++ Redistributable is missing" in text


def test_doctor_tells_missing_tools_from_missing_packages(monkeypatch):
    from course_utils.tools import doctor

    names = {*doctor.NEEDED, *doctor.TOOLS}
    for gone, level in (("papermill", "absent"), ("mlxtend", "BROKEN")):
        here = [MagicMock(metadata={"Name": name}, version="1") for name in names - {gone}]
        monkeypatch.setattr(doctor.metadata, "distributions", lambda here=here: here)
        (found,) = [each for each in doctor._packages() if each[1].startswith("not installed")]
        assert found[0] == level and gone in found[1] and 'pip install -e ".[tools]"' in found[1]


def test_doctor_notices_the_kernel_of_another_python(monkeypatch, tmp_path):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {
        "argv": ["/opt/other/bin/python", "-m", "ipykernel_launcher"],
        "display_name": "other",
        "language": "python",
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    result = doctor()
    assert result.exit_code == 1 and "/opt/other/bin/python" in result.output


def test_bench_is_wired(monkeypatch, tmp_path):
    from course_utils.tools import bench

    calls = []
    monkeypatch.setattr(bench, "bench_fit", lambda **options: calls.append(options))
    result = course("bench", "fit", "--rounds", 2, "--images", 512, "--network", "conv", "--json", tmp_path / "b.json")
    asked = {"rounds": 2, "images": 512, "network": "conv", "device": "cpu", "json_path": tmp_path / "b.json"}
    assert result.exit_code == 0 and calls == [asked]


def test_a_bench_on_a_device_that_is_not_there_is_one_error():
    result = course("bench", "fit", "--rounds", 1, "--images", 200, "--device", "abacus")
    assert result.exit_code == 1 and "device 'abacus' is not one PyTorch knows" in result.output


def test_slides_of_a_notebook_whose_outputs_are_gone_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr("course_utils.tools.vendor.fetch", lambda *_: {})
    monkeypatch.setattr("course_utils.tools.slides.write", lambda *_: [])
    whole = write_course(tmp_path / "chapters", **{"01_linear": {}, "02_empty": {}})
    write_notebook(whole / "01_linear.ipynb", "1")
    write_notebook(whole / "02_empty.ipynb", "1")
    notebook = json.loads((whole / "01_linear.ipynb").read_text())
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    (whole / "01_linear.ipynb").write_text(json.dumps(notebook))
    arguments = ["slides", "--source", whole, "--output", tmp_path / "out"]
    assert course(*arguments, "01").exit_code == 0
    done = course(*arguments)
    assert done.exit_code == 1 and "02 hold no outputs; make them: course store" in done.output


@pytest.mark.parametrize("encoding", ["cp1252", "cp949"])
def test_an_old_code_page_costs_a_sign_and_not_the_answer(encoding):
    words = [sys.executable, "-m", "course_utils", "list", "--markdown"]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=True)
    assert b"02_autoencoder" in done.stdout and b"?" in done.stdout
