import json
import subprocess
import sys
import textwrap

import nbformat
import numpy as np
import pytest
import torch
from helpers import keywords

from course_utils import results
from course_utils.results import FullRun, bands, chapter, full, in_band, mean_std
from course_utils.tools.notebook import recorded

COURSE = """
    chapters:
      - name: 01_first
        profiles: {quick: {}, full: {}}
        numbers:
          error: {quick: [0.1, 0.2], full: [0.05, 0.06]}
          only_full: {full: [1, 2]}
      - name: 02_second
        profiles: {quick: {}, full: {}}
        numbers: {}
"""


STORED = {
    "numbers": {"error": 0.05},
    "series": {"curve": [[1, 2], [3, 4]]},
    "parameters": {"dataset": "mnist"},
    "machine": {"processor": "a processor"},
    "versions": {"torch": "2"},
    "minutes": 12.3,
    "later": "additions",
}


@pytest.fixture
def course(tmp_path):
    """A course of two chapters in place of the real one."""
    path = tmp_path / "course.yml"
    path.write_text(textwrap.dedent(COURSE))
    return path


@pytest.fixture
def first(course, tmp_path):
    """Chapter 01 of that course, of which no full run is stored."""
    return chapter("01", course=course, folder=tmp_path, spread=tmp_path / "spread")


@pytest.fixture
def shown(monkeypatch):
    """What would be shown in a notebook."""
    outputs = []
    monkeypatch.setattr("IPython.get_ipython", lambda: "a notebook")
    monkeypatch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
    return outputs


def test_the_module_does_without_pytorch():
    code = "import course_utils.results, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_bands_are_found_by_number_or_name_and_profile(course):
    assert bands("01", course=course) == {"error": (0.1, 0.2)}
    assert bands("01_first", "full", course) == {"error": (0.05, 0.06), "only_full": (1, 2)}
    assert bands("02", course=course) == {}


@pytest.mark.parametrize("ask", [bands, chapter])
def test_an_unknown_chapter_or_profile_is_named_with_the_known_ones(ask, course):
    with pytest.raises(ValueError, match="no chapter '03'; it has 01_first, 02_second"):
        ask("03", course=course)
    with pytest.raises(ValueError, match="profile 'ful' is unknown; chapter 02 has full, quick"):
        ask("02", "ful", course=course)


def test_planned_chapters_stand_beside_those_that_are_written(course, tmp_path):
    assert [entry["name"] for entry in results.read_course(course)] == ["01_first", "02_second"]
    assert results.read_course(course, "planned") == []
    planned = tmp_path / "planned.yml"
    planned.write_text("chapters: []\nplanned: [{name: 03_third, title: Third, needs: []}]")
    assert [entry["title"] for entry in results.read_course(planned, "planned")] == ["Third"]


def test_the_edges_lie_in_the_band_and_nan_in_none():
    assert in_band(0.1, (0.1, 0.2)) and in_band(0.2, (0.1, 0.2))
    assert not in_band(0.0999, (0.1, 0.2)) and not in_band(0.2001, (0.1, 0.2))
    assert not in_band(float("nan"), (-np.inf, np.inf))


@pytest.mark.parametrize(
    ("values", "form", "words"),
    [
        ([1, 2, 3], ".1f", "2.0 ± 1.0"),
        (torch.tensor([1.0, 2.0]), ".3f", "1.500 ± 0.707"),
        (np.array([[0.0, 2.0]]), "+.1f", "+1.0 ± 1.4"),  # a sign is for the mean alone
        ([12.34], ".1f", "12.3"),
        (12.34, ".0f", "12"),
    ],
)
def test_several_runs_in_words(values, form, words):
    assert mean_std(values, form) == words
    assert mean_std([1, 2, 3]) == mean_std([1, 2, 3], ".1f")


# --------------------------------------------------------------------------------------------- recording


def test_record_shows_numbers_beside_their_bands(first, shown):
    first.record(error=torch.tensor(0.15), speed=np.float32(2.0), count=3)
    (output,) = shown
    numbers = {"error": pytest.approx(0.15), "speed": 2.0, "count": 3.0}
    assert output[results.NUMBERS_MIME] == {"chapter": "01", "profile": "quick", "numbers": numbers}
    assert output["text/plain"].splitlines() == [
        "number                                   value   expected (quick)",
        "error                                     0.15   0.1 … 0.2  ok",
        "speed                                        2   no band",
        "count                                        3   no band",
    ]
    json.dumps(output)


def test_runs_over_seeds_stand_beside_a_number_of_the_quick_profile(course, tmp_path, shown):
    runs = [{"seed": s, "numbers": {"error": 0.1 + s / 100, "speed": [1.0, 7.0, 8.0][s]}} for s in range(3)]
    text = course.read_text().replace("numbers:", "numbers:\n      speed: {above: 5}", 1)
    course.write_text(text)
    (tmp_path / "01.json").write_text(json.dumps({"format": 1, "runs": runs}))
    chapter("01", course=course, folder=tmp_path / "none", spread=tmp_path).record(error=0.15, speed=9.0)
    header, error, speed = shown[0]["text/plain"].splitlines()
    assert header.endswith("over seeds: mean ± std (runs)")
    assert error.split("   ")[-1].strip() == "0.110 ± 0.010 (3)" and "0.1 … 0.2  ok" in error
    assert speed.split("   ")[-1].strip() == "above 5: 2 of 3" and "no band" in speed
    assert header.index("over seeds") == error.index("0.110 ±") == speed.index("above 5")
    assert results.over_seeds_in_words([1234.0, 1300.0]) == "1267 ± 47 (2)"
    assert results.over_seeds_in_words([1.0, 1.0, 1.0]) == "1.0000 ± 0.0000 (3)"
    assert results.over_seeds_in_words([0.1]) == "" and results.over_seeds_in_words([1, 9.0], 5) == "above 5: 1 of 2"
    chapter("01", "full", course=course, folder=tmp_path / "none", spread=tmp_path).record(error=0.15)
    assert "over seeds" not in shown[1]["text/plain"], "these runs are of the quick profile"


def test_each_profile_has_its_own_bands(course, tmp_path, shown):
    chapter("01", "full", course=course, folder=tmp_path).record(error=0.15, only_full=1)
    assert shown[0][results.NUMBERS_MIME]["profile"] == "full"
    header, error, only_full = shown[0]["text/plain"].splitlines()
    assert header.endswith("expected (full)") and error.endswith("OUTSIDE") and only_full.endswith("1 … 2  ok")


def test_a_number_outside_is_shown_and_in_strict_mode_raises_after_it_was_recorded(first, shown, monkeypatch):
    first.record(error=0.3)
    assert shown[0]["text/plain"].endswith("OUTSIDE")
    monkeypatch.setenv("COURSE_STRICT", "1")
    with pytest.raises(AssertionError, match=r"chapter 01: error = 0.3, expected \(0.1, 0.2\)"):
        first.record(error=0.3)
    with pytest.raises(AssertionError, match="nan"):
        first.record(error=float("nan"))
    assert len(shown) == 3
    first.record(error=0.15, unknown=7)


@pytest.mark.parametrize("value", ["0.15", [0.1, 0.2], None, torch.ones(2), np.ones(3)])
def test_what_is_not_one_number_is_refused(first, value):
    with pytest.raises(TypeError, match=r"error = .* is not one number"):
        first.record(error=value)


def test_series_keep_six_digits_and_stay_small(first, shown):
    first.keep(curve=[1 / 3, 2e-9 / 3], table=np.arange(6.0).reshape(2, 3), codes=torch.ones(2), none=[])
    payload = shown[0][results.SERIES_MIME]
    series = {"curve": [0.333333, 6.66667e-10], "table": [[0, 1, 2], [3, 4, 5]], "codes": [1, 1], "none": []}
    assert payload == {"chapter": "01", "series": series}
    shapes = "curve (2,), table (2, 3), codes (2,), none (0,)"
    assert shown[0]["text/plain"] == f"kept for the full run: {shapes}"
    with pytest.raises(ValueError, match="series 'big' has 5001 entries"):
        first.keep(big=np.zeros(5001))
    first.keep(fits=np.zeros(5000))
    assert len(shown) == 2


def test_outside_a_notebook_the_text_is_printed(first, capsys):
    first.record(error=0.15)
    printed = capsys.readouterr().out
    assert "0.1 … 0.2  ok" in printed and "application/" not in printed


def test_a_real_kernel_leaves_the_numbers_in_the_notebook():
    nbclient = pytest.importorskip("nbclient")
    code = "from course_utils import results\nchapter = results.chapter('01')\n"
    code += "chapter.record(made_up=0.25)\nchapter.keep(curve=[1, 2])"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert recorded(notebook) == ({"made_up": 0.25}, {"curve": [1, 2]})


# --------------------------------------------------------------------------------------------- full runs


def test_a_full_run_is_false_until_it_is_stored(tmp_path):
    missing = full("01", tmp_path)
    assert not missing and missing == FullRun() and str(missing) == "no full run of this chapter is stored yet"


def test_a_stored_full_run_is_read_back(tmp_path):
    (tmp_path / "01.json").write_text(json.dumps(STORED))
    for number in ("01", "01_first"):
        run = full(number, tmp_path)
        assert run and run.numbers == {"error": 0.05} and run.minutes == 12.3
        assert (run.parameters, run.machine) == (STORED["parameters"], STORED["machine"])
        assert isinstance(run.series["curve"], np.ndarray) and run.series["curve"].shape == (2, 2)
        assert str(run) == "stored full run: mnist, 12 min on a processor"
    bare = FullRun(numbers={"error": 1.0}, minutes=3)
    assert str(bare) == "stored full run: embedded data, 3 min on an unnamed machine"


def test_this_run_stands_beside_the_stored_one_if_there_is_one(first, course, tmp_path):
    assert not first.stored and str(first) == "no full run of this chapter is stored yet"
    (tmp_path / "01.json").write_text(json.dumps(STORED))
    found = chapter("01", course=course, folder=tmp_path)
    assert found.stored.numbers == {"error": 0.05} and str(found) == str(full("01", tmp_path))
    tables = found.beside([[5, 6]], "curve")
    assert list(tables) == ["this run", "stored full run"]
    assert tables["this run"].tolist() == [[5, 6]] and tables["stored full run"].tolist() == [[1, 2], [3, 4]]
    only = first.beside([5], "curve")
    assert list(only) == ["this run"] and isinstance(only["this run"], np.ndarray)
    assert list(found.beside([5], "another")) == ["this run"], "a full run from before the chapter kept this series"


def test_defaults_are_the_real_course():
    """Each optional keyword of the module: what it is if left out (the tests above give other values)."""
    defaults = {("bands", "profile"), ("chapter", "profile"), ("mean_std", "form")}  # tried above without them
    places = {
        ("read_course", "path"),
        ("read_course", "part"),
        ("full", "folder"),
        ("chapter", "folder"),
        ("chapter", "course"),
        ("bands", "course"),
        ("read_spread", "folder"),
        ("over_seeds", "folder"),
        ("chapter", "spread"),
        ("over_seeds_in_words", "above"),
    }
    assert keywords.optional(results) == defaults | places
    written, planned = results.read_course(), results.read_course(part="planned")
    assert written == results.read_course(results.COURSE_FILE, "chapters")
    assert {entry["name"] for entry in planned}.isdisjoint(entry["name"] for entry in written)
    assert bands("02") == bands("02", "quick", results.COURSE_FILE) != bands("02", "full")
    assert results.read_spread("02") == results.read_spread("02", results.SPREAD) != []
    assert np.array_equal(
        results.over_seeds("02", "deep_ratio_8"), results.over_seeds("02", "deep_ratio_8", results.SPREAD)
    )
    assert chapter("02").over_seeds == chapter("02", spread=results.SPREAD).over_seeds != {}
    assert chapter("02").stored and str(chapter("02")) == str(full("02", results.FULL_RESULTS))
