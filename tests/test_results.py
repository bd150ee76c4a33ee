import json
import textwrap

import nbformat
import numpy as np
import pytest
import torch

from course_utils import results
from course_utils.results import (
    FullRun,
    OutOfBand,
    bands,
    from_notebook,
    full,
    in_band,
    keep_scoreboard,
    keep_series,
    record,
    scoreboard,
)

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


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two chapters in place of the real one."""
    path = tmp_path / "course.yml"
    path.write_text(textwrap.dedent(COURSE))
    monkeypatch.setattr(results, "read_course", lambda _, read=results.read_course: read(path))
    return path


@pytest.fixture
def shown(monkeypatch):
    """What would be shown in a notebook."""
    outputs = []
    monkeypatch.setattr("IPython.get_ipython", lambda: "a notebook")
    monkeypatch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
    return outputs


def test_bands_are_found_by_number_or_name_and_profile(course):
    assert bands("01") == {"error": (0.1, 0.2)}
    assert bands("01_first", "full") == {"error": (0.05, 0.06), "only_full": (1, 2)}
    assert bands("02") == {}
    with pytest.raises(ValueError, match="no chapter '03'; it has 01_first, 02_second"):
        bands("03")


def test_the_edges_lie_in_the_band_and_nan_in_none():
    assert in_band(0.1, (0.1, 0.2)) and in_band(0.2, (0.1, 0.2))
    assert not in_band(0.0999, (0.1, 0.2)) and not in_band(float("nan"), (-np.inf, np.inf))


def test_record_shows_numbers_beside_their_bands(course, shown):
    record("01", error=torch.tensor(0.15), speed=np.float32(2.0), count=3)
    (output,) = shown
    assert output[results.NUMBERS_MIME] == {
        "chapter": "01", "profile": "quick", "numbers": {"error": pytest.approx(0.15), "speed": 2.0, "count": 3.0},
    }  # fmt: skip
    header, error, speed, _ = output["text/plain"].splitlines()
    assert "expected (quick)" in header
    assert error.split() == ["error", "0.15", "0.1", "…", "0.2", "ok"]
    assert speed.endswith("no band yet")
    json.dumps(output)


def test_a_number_outside_is_shown_and_in_strict_mode_raises_after_it_was_recorded(course, shown, monkeypatch):
    record("01", error=0.3)
    assert shown[0]["text/plain"].endswith("OUTSIDE")
    record("01", "full", error=0.3)
    monkeypatch.setenv("COURSE_STRICT", "1")
    with pytest.raises(OutOfBand, match=r"chapter 01: error = 0.3, expected \(0.1, 0.2\)"):
        record("01", error=0.3)
    with pytest.raises(OutOfBand, match="nan"):
        record("01", error=float("nan"))
    assert len(shown) == 4
    record("01", error=0.15)


@pytest.mark.parametrize("value", ["0.15", [0.1, 0.2], None, torch.ones(2), np.ones(3)])
def test_what_is_not_one_number_is_refused(course, value):
    with pytest.raises(TypeError, match="error = .* is not one number"):
        record("01", error=value)


def test_series_keep_six_digits_and_stay_small(shown):
    keep_series("01", curve=[1 / 3, 2e-9 / 3], table=np.arange(6.0).reshape(2, 3), codes=torch.ones(2), none=[])
    series = shown[0][results.SERIES_MIME]["series"]
    assert series == {"curve": [0.333333, 6.66667e-10], "table": [[0, 1, 2], [3, 4, 5]], "codes": [1, 1], "none": []}
    assert "table (2, 3)" in shown[0]["text/plain"]
    with pytest.raises(ValueError, match="series 'big' has 5001 entries"):
        keep_series("01", big=np.zeros(5001))
    keep_series("01", fits=np.zeros(5000))


def test_outside_a_notebook_the_text_is_printed(course, capsys):
    record("01", error=0.15)
    printed = capsys.readouterr().out
    assert "0.1 … 0.2  ok" in printed and "application/" not in printed


def _cell(*data):
    outputs = [nbformat.v4.new_output("display_data", data=d) for d in data]
    return nbformat.v4.new_code_cell("…", outputs=outputs)


def test_numbers_and_series_come_back_from_a_notebook(course, shown, tmp_path):
    record("01", error=0.15, speed=1.0)
    keep_series("01", curve=[1.0, 2.0])
    record("01", speed=2.0)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("text"), _cell(*shown[:2]), _cell(shown[2])]
    )
    nbformat.write(notebook, tmp_path / "nb.ipynb")
    numbers, series = from_notebook(nbformat.read(tmp_path / "nb.ipynb", as_version=4))
    assert numbers == {"error": 0.15, "speed": 2.0} and series == {"curve": [1, 2]}


def test_payloads_stored_as_text_are_read_too():
    notebook = nbformat.v4.new_notebook(cells=[_cell({results.NUMBERS_MIME: json.dumps({"numbers": {"a": 1.0}})})])
    assert from_notebook(notebook) == ({"a": 1.0}, {})


def test_a_real_kernel_leaves_the_numbers_in_the_notebook():
    nbclient = pytest.importorskip("nbclient")
    code = "from course_utils.results import keep_series, record\n"
    code += "record('01', made_up=0.25)\nkeep_series('01', curve=[1, 2])"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert from_notebook(notebook) == ({"made_up": 0.25}, {"curve": [1, 2]})


def test_a_full_run_is_false_until_it_is_stored(tmp_path):
    missing = full("01", tmp_path)
    assert not missing and missing == FullRun() and "no full run" in str(missing)


def test_a_stored_full_run_is_read_back(tmp_path):
    stored = {
        "numbers": {"error": 0.05}, "series": {"curve": [[1, 2], [3, 4]]}, "parameters": {"dataset": "mnist"},
        "machine": {"processor": "a processor"}, "versions": {"torch": "2"}, "minutes": 12.3, "later": "additions",
    }  # fmt: skip
    (tmp_path / "01.json").write_text(json.dumps(stored))
    run = full("01", tmp_path)
    assert run and run.numbers == {"error": 0.05} and run.minutes == 12.3 and run.parameters == {"dataset": "mnist"}
    assert isinstance(run.series["curve"], np.ndarray) and run.series["curve"].shape == (2, 2)
    assert str(run) == "stored full run: mnist, 12 min on a processor"


def test_an_unknown_profile_is_refused_with_the_known_ones(course):
    with pytest.raises(ValueError, match="'ful'.*full.*quick"):
        bands("02", "ful", course)


BOARD = """
    chapters:
      - name: 07_board
        profiles: {quick: {}, full: {}}
        numbers: {}
        scoreboard:
          models: [a model, another]
          metrics:
            - {name: nats, label: Nats, unit: nats, better: high}
            - {name: distance, label: Distance, unit: "", better: low}
            - {name: free, label: Free, unit: "", better: ""}
"""


@pytest.fixture
def board(tmp_path):
    path = tmp_path / "board.yml"
    path.write_text(textwrap.dedent(BOARD))
    return path


def entries(**changes):
    row = {"nats": [1.0, 3.0], "distance": np.array([5.0, 6.0]), "free": torch.tensor([0.0, 1.0])}
    return {"a model": row, "another": row | {"nats": [7.0, 7.0], "distance": [5.5, 5.5]}} | changes


def test_a_scoreboard_is_kept_stored_and_read_back(board, shown, tmp_path):
    keep_scoreboard("07", entries(), board)
    series = shown[0][results.SERIES_MIME]["series"]
    assert series["scoreboard"][0] == [[1, 3], [5, 6], [0, 1]] and np.shape(series["scoreboard"]) == (2, 3, 2)
    assert not scoreboard("07", tmp_path, board)
    stored = {name: {} for name in ("numbers", "parameters", "machine", "versions")} | {"minutes": 1, "series": series}
    (tmp_path / "07.json").write_text(json.dumps(stored))
    read = scoreboard("07", tmp_path, board)
    assert (
        read and read.models == ["a model", "another"] and [m["name"] for m in read.metrics][:2] == ["nats", "distance"]
    )
    np.testing.assert_array_equal(read.values, series["scoreboard"])


def test_ranks_follow_what_is_better_and_share_ties(board):
    models, metrics = results.announced_scoreboard("07", board)
    values = np.array([[[1, 3], [5, 6], [0, 1]], [[7, 7], [5.5, 5.5], [0, 1]]], dtype=float)
    ranks = results.Scoreboard(models, metrics, values).ranks()
    np.testing.assert_array_equal(ranks[:, 0], [2, 1])
    np.testing.assert_array_equal(ranks[:, 1], [1.5, 1.5])
    assert np.isnan(ranks[:, 2]).all()


def test_a_scoreboard_with_holes_is_refused(board):
    row = entries()["a model"]
    with pytest.raises(ValueError, match=r"models .* missing \['another'\], unknown \['new'\]"):
        keep_scoreboard("07", {"a model": row, "new": row}, board)
    with pytest.raises(ValueError, match=r"metrics of 'another' .* missing \['free'\]"):
        keep_scoreboard("07", entries(another={k: v for k, v in row.items() if k != "free"}), board)
    with pytest.raises(ValueError, match=r"nats of 'another' is \[1.0, nan\]: not finite"):
        keep_scoreboard("07", entries(another=row | {"nats": [1.0, np.nan]}), board)
    with pytest.raises(ValueError, match=r"equally many seeds, got \[1, 2\]"):
        keep_scoreboard("07", entries(another=row | {"nats": 1.0}), board)
    with pytest.raises(ValueError, match="no scoreboard for chapter '01'"):
        keep_scoreboard("01", entries(), board)
