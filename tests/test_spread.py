"""Runs over seeds are kept and never run twice; the bands of the course are those that follow from them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.toys import PARAMETERS, course, record, write_course, write_notebook

from course_utils import results
from course_utils.runtime import ROOT
from course_utils.tools import spread
from course_utils.tools.chapter import Result, read_chapters

NOTEBOOKS = ROOT / "notebooks"
SEEDED = PARAMETERS + "\nseed = 0"
LINE = "      {}: {{label: a number, unit: {}, quick: [0, 1], full: [0, 2], headline: true}}"


# ---------------------------------------------------------------- the rule


def test_a_band_holds_a_new_value_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(spread, "OUTSIDE", 0.1)  # often enough to be counted
    rng = np.random.default_rng(0)
    outside = 0
    for _ in range(3000):
        *values, new = rng.normal(loc=50, scale=3, size=9)
        low, high = spread.band(values)
        outside += not low <= new <= high
    assert 0.08 < outside / 3000 < 0.11  # rounding outwards makes it a little rarer


def test_a_band_is_that_of_the_formula_rounded_outwards():
    values = [1.0, 2.0, 3.0, 4.0]
    half = 12.9240 * np.std(values, ddof=1) * np.sqrt(1 + 1 / 4)  # t with 3 degrees of freedom at 1 − 0.5e-3
    low, high = spread.band(values)
    assert low <= 2.5 - half < low + 1 and high - 1 < 2.5 + half <= high
    assert spread.band(values * 4)[1] < high, "more runs, a narrower band"


def test_values_without_spread_leave_room_for_rounding_and_per_cent_stay_possible():
    low, high = spread.band([-60.0] * 8)
    assert low < -60.1 < -59.9 < high and high - low < 0.5
    assert spread.band([0.0] * 3) == pytest.approx((0, 0), abs=1e-9)
    assert spread.band([99.0, 99.5, 98.0], "%")[1] == 100 and spread.band([99.0, 99.5, 98.0])[1] > 100
    assert spread.band([1.0, 2.0, 0.5], "%")[0] == 0


def test_a_number_that_varies_by_factors_has_a_band_of_factors():
    values = [0.4, 0.39, 0.35, 0.85, 0.48]
    low, high = spread.band(values, log=True)
    assert 0 < low < min(values) and max(values) < high < 50 and spread.band(values)[0] < 0
    logs = spread.band(np.log(values).tolist())
    assert (low, high) == pytest.approx(tuple(np.exp(logs)), rel=0.01)
    assert not spread.says_nothing((0.1, 10), values, log=True) and spread.says_nothing((0.1, 20), values, log=True)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_too_few_runs_give_no_band(values):
    with pytest.raises(ValueError, match=rf"at least 3 runs, there are {len(values)}"):
        spread.band(values)


def test_two_groups_are_told_from_one_cloud():
    split = spread.two_groups([0.02, 0.5, 0.01, 0.55, 0.03, 0.48, 0.6, 0.52])
    assert 0.03 < split < 0.48
    rng = np.random.default_rng(1)
    assert sum(spread.two_groups(rng.normal(5, 1, size=8)) is not None for _ in range(4000)) <= 4
    assert spread.two_groups([1.0, 1.1, 1.05, 1.02, 9.0]) is None, "one stray value is no group"
    assert spread.two_groups([5.0, 5.0, 5.0001, 5.0001, 5.0]) is None, "a difference that nobody would report"
    assert spread.two_groups([0.0, 0.0, 1.0, 1.0]) is None, "too few to tell"


def test_a_band_that_covers_most_of_what_is_possible_says_nothing():
    assert spread.says_nothing((5, 95), [50.0], "%") and not spread.says_nothing((5, 60), [30.0], "%")
    assert spread.says_nothing((-50, 50), [2.0], "dB") and not spread.says_nothing((-40, 40), [2.0], "dB")
    assert spread.says_nothing((0.1, 1.9), [1.0]) and not spread.says_nothing((0.5, 1.5), [1.0])


# ---------------------------------------------------------------- runs


def _result(seed, value=1.0, device="cpu", processor="one", **numbers):
    machine = {"device": device, "processor": processor}
    numbers = {"psnr": value, **numbers}
    return Result("02_b", "ok", key=f"key {seed} {device}", numbers=numbers, machine=machine, date="2026-01-01")


def test_runs_are_kept_by_seed_device_and_machine(tmp_path):
    for seed, value, device, processor in [
        (1, 11.0, "cpu", "one"),
        (0, 10.0, "cpu", "one"),
        (0, 12.0, "cuda", "one"),
        (0, 13.0, "cpu", "two"),
        (1, 14.0, "cpu", "one"),  # again: in the place of the first
    ]:
        spread.keep(_result(seed, value, device, processor), seed, tmp_path)
    runs = results.read_spread("02_b", tmp_path / "spread")
    assert [(run["seed"], run["numbers"]["psnr"]) for run in runs] == [(0, 10.0), (1, 14.0), (0, 13.0), (0, 12.0)]
    assert results.over_seeds("02", "psnr", tmp_path / "spread").tolist() == [10.0, 14.0, 13.0, 12.0]
    assert {"key", "minutes", "date", "machine", "versions"} <= set(runs[0])
    assert results.read_spread("03", tmp_path / "spread") == [] and results.over_seeds("03", "psnr", tmp_path).size == 0


def test_a_file_of_another_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "spread" / "02.json"
    path.parent.mkdir()
    path.write_text(text := json.dumps({"format": 99, "runs": []}))
    with pytest.raises(ValueError, match=r"02\.json has the form 99, this version reads 1; move it away"):
        spread.keep(_result(0), 0, tmp_path)
    assert path.read_text() == text


@pytest.fixture(scope="module")
def spread_over_three(tmp_path_factory):
    base = tmp_path_factory.mktemp("spread")
    source = write_course(base / "chapters", **{"02_b": {}, "03_c": {}})
    text = (source / "course.yml").read_text()
    head = "chapters:\n  - name: 02_b\n    profiles: {quick: {minutes: 0.1}}\n    numbers:\n"
    tail = "\n  - name: 03_c\n    profiles: {quick: {minutes: 0.1}}\n    numbers:\n"
    text = head + LINE.format("psnr", "dB") + "\n" + LINE.format("share", '"%"').replace("quick: [0, 1]", "above: 30")
    text += tail + LINE.format("psnr", '""') + "\n# the end\n"
    (source / "course.yml").write_text(text)
    write_notebook(
        source / "02_b.ipynb", record('{"psnr": 20.0 + 0.01 * seed, "share": 40.0 * seed}'), parameters=SEEDED
    )
    write_notebook(source / "03_c.ipynb", "assert seed < 2", record('{"psnr": 3.0}'), parameters=SEEDED)
    places = ("--source", source, "--output", base / "out")
    first = course("spread", "--seeds", 3, "--jobs", 2, *places)
    again = course("spread", "02", "--seeds", 3, *places)
    return base, source, text, first, again


def test_every_run_is_kept_one_that_failed_is_named_and_none_is_repeated(spread_over_three):
    _, source, _, first, again = spread_over_three
    assert first.exit_code == 1 and "a band needs at least 3 runs, there are 2" in first.output
    assert "03_c" in first.output and "AssertionError" in first.output
    runs = results.read_spread("02", source / "spread")
    assert [(run["seed"], run["numbers"]["share"]) for run in runs] == [(0, 0.0), (1, 40.0), (2, 80.0)]
    assert [run["seed"] for run in results.read_spread("03", source / "spread")] == [0, 1]
    assert again.exit_code == 0 and "seed 2: 0 of 1 chapters to run" in again.output


def test_the_band_is_written_and_all_else_of_the_file_stays(spread_over_three):
    base, source, text, _, _ = spread_over_three
    low, high = spread.band([20.0, 20.01, 20.02], "dB")
    written = (source / "course.yml").read_text()
    assert written == text.replace("quick: [0, 1]", f"quick: [{low:g}, {high:g}]", 1)
    assert read_chapters(source)[0].bands("quick") == {"psnr": (low, high)}
    assert course("spread", "02", "--check", "--source", source).exit_code == 0
    (source / "course.yml").write_text(written.replace(f"{high:g}", "99"))
    refused = course("spread", "02", "--check", "--source", source)
    assert refused.exit_code == 1 and "02_b: psnr has the band" in refused.output and "its runs say" in refused.output
    assert course("spread", "02", "--bands", "--source", source, "--output", base / "none").exit_code == 0
    assert (source / "course.yml").read_text() == written and not (base / "none").exists()


def test_a_number_in_two_groups_or_without_content_is_a_fault(tmp_path):
    source = write_course(tmp_path, **{"02_b": {"psnr": {"unit": "%", "quick": [0, 1]}}})
    for seed, value in enumerate([1.0, 2.0, 1.5, 60.0, 61.0, 60.5, 60.2, 61.5]):
        spread.keep(_result(seed, value, other=seed), seed, source)
    [verdict] = spread.verdicts(read_chapters(source)[0], source)
    assert "two groups; give it `above: 31" in verdict.fault
    for seed, value in enumerate([10.0, 90.0, 40.0, 60.0, 25.0, 75.0, 50.0, 33.0]):
        spread.keep(_result(seed, value), seed, source)
    [verdict] = spread.verdicts(read_chapters(source)[0], source)
    assert "excludes nothing" in verdict.fault


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seeds", 0), "0 is not in the range x>=1"),
        (("99",), "no chapter"),
        (("--device", "abacus"), "use 'cpu', 'cuda' or 'mps'"),
    ],
)
def test_bad_calls_are_refused_before_anything_runs(spread_over_three, arguments, words):
    base, source, *_ = spread_over_three
    refused = course("spread", *arguments, "--source", source, "--output", base / "refused")
    assert refused.exit_code == 2 and words in refused.output and not (base / "refused").exists()


def test_a_band_that_stands_on_no_line_of_its_own_is_an_error(tmp_path):
    before = "chapters:\n  - name: 02_b\n    profiles: {quick: {}}\n    numbers:\n      psnr:\n        quick: [0, 1]\n"
    (tmp_path / "course.yml").write_text(before)
    for seed in range(3):
        spread.keep(_result(seed, 1.0 + seed / 100), seed, tmp_path)
    refused = course("spread", "--bands", "--source", tmp_path)
    assert refused.exit_code == 1 and "no `quick: […]` in one line with 'psnr'" in refused.output
    assert (tmp_path / "course.yml").read_text() == before


# ---------------------------------------------------------------- the course itself

CHAPTERS = [chapter for chapter in read_chapters(NOTEBOOKS) if chapter.numbers]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_the_bands_of_the_course_follow_from_eight_runs_and_exclude_something(chapter):
    found = list(spread.verdicts(chapter, NOTEBOOKS))
    assert {verdict.number for verdict in found} == set(chapter.numbers)
    assert spread.edited([chapter], NOTEBOOKS) == []
    for verdict in found:
        assert verdict.fault == "" and len(verdict.values) >= 8, verdict
        assert verdict.band is None or all(verdict.band[0] <= value <= verdict.band[1] for value in verdict.values)


def test_a_band_of_the_course_edited_by_hand_is_seen():
    chapter = CHAPTERS[0]
    name = next(name for name, facts in chapter.numbers.items() if "quick" in facts)
    numbers = chapter.numbers | {name: chapter.numbers[name] | {"quick": [0, 1e9]}}
    assert len(spread.edited([replace(chapter, numbers=numbers)], NOTEBOOKS)) == 1
