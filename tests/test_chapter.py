"""A chapter has one shape at a time: what course.yml says, what is asked, what came out, and how that is judged."""

import json
import os
from dataclasses import FrozenInstanceError
from importlib import metadata

import nbformat
import pytest
from helpers.toys import plans, write_course, write_notebook

from course_utils.tools import chapter as chapters
from course_utils.tools.chapter import Chapter, Result, judge, plan, read_chapters, read_results, write_results


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A course of one chapter, and a package that nobody edits meanwhile."""
    package = tmp_path / "course_utils"
    for name in ("batches.py", "tools/cli.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("# as it was")
    monkeypatch.setattr(chapters, "PACKAGE", package)
    source = write_course(tmp_path / "chapters", **{"02_a": {"psnr": {"quick": [1, 2], "full": [3, 4]}, "free": {}}})
    write_notebook(source / "02_a.ipynb", "1", parameters='dataset = "mnist-5k"\nepochs = 2')
    return source


def test_a_chapter_says_what_course_yml_says(toy):
    (chapter,) = read_chapters(toy)
    assert (chapter.name, chapter.number, chapter.title, chapter.path) == ("02_a", "02", "02_A", toy / "02_a.ipynb")
    assert chapter.read_minutes == 3 and list(chapter.needs) == [] and chapter.scoreboard is None
    assert (chapter.minutes("quick"), chapter.minutes("full"), chapter.minutes("other")) == (0.1, 0.2, None)
    assert chapter.bands("quick") == {"psnr": (1, 2)} and chapter.bands("full") == {"psnr": (3, 4)}
    with pytest.raises(FrozenInstanceError):
        chapter.title = "other"


def test_a_folder_without_course_yml_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no course\.yml"):
        read_chapters(tmp_path)


def test_a_plan_has_the_parameters_of_its_profile_and_those_given_by_hand(toy):
    (chapter,) = read_chapters(toy)
    quick, full, by_hand = plan(chapter, "quick"), plan(chapter, "full"), plan(chapter, "full", {"epochs": 9})
    assert (quick.parameters, quick.overridden, quick.minutes) == ({}, False, 0.1)
    assert (full.parameters, full.overridden, full.minutes) == ({"epochs": 5, "profile": "full"}, False, 0.2)
    assert full.bands == {"psnr": (3, 4)} and len({quick.key, full.key, by_hand.key}) == 3
    assert by_hand.parameters == {"epochs": 9, "profile": "full"} and by_hand.overridden
    extra = plan(Chapter("x", "x", toy / "absent.ipynb"), "quick")
    assert (extra.key, extra.minutes, extra.bands) == ("", 2, {})


def change_source(toy):
    path = toy / "02_a.ipynb"
    path.write_text(path.read_text().replace("epochs = 2", "epochs = 3"))


def change_output(toy):
    notebook = nbformat.read(toy / "02_a.ipynb", 4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="old")]
    nbformat.write(notebook, toy / "02_a.ipynb")


@pytest.mark.parametrize(
    ("what", "change", "matters"),
    [
        ("outputs", change_output, False),
        ("tools", lambda toy: (toy.parent / "course_utils" / "tools" / "cli.py").write_text("# new"), False),
        ("cells", change_source, True),
        ("package", lambda toy: (toy.parent / "course_utils" / "batches.py").write_text("# new"), True),
        ("a new module", lambda toy: (toy.parent / "course_utils" / "more.py").write_text(""), True),
        ("data file", lambda toy: (toy / "own.npz").write_bytes(b"more"), True),
        ("time of a data file", lambda toy: os.utime(toy / "own.npz", (1, 1)), True),
        ("another picture", lambda toy: (toy / "pictures" / "c" / "2.png").write_bytes(b"2"), True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_key_changes_with_all_that_decides_the_numbers(toy, what, change, matters):
    (toy / "own.npz").write_bytes(b"few")
    (toy / "pictures" / "c").mkdir(parents=True)
    (toy / "pictures" / "c" / "1.png").write_bytes(b"1")
    asked = {"dataset": "own.npz", "more": str(toy / "pictures"), "epochs": 2, "none": "", "name": "mnist-5k"}
    before = plans(toy, **asked)[0].key
    assert plans(toy, **asked)[0].key == before, "the same twice"
    change(toy)
    assert (plans(toy, **asked)[0].key != before) is matters, what


def test_the_key_changes_with_the_device(toy, monkeypatch):
    keys = set()
    for device in ("cpu", "cuda", ""):
        monkeypatch.setenv("COURSE_DEVICE", device)
        keys.add(plan(read_chapters(toy)[0], "quick").key)
    assert len(keys) == 3


@pytest.mark.parametrize("name", ["torch", "torchvision", "numpy", "scikit-learn"])
def test_the_key_changes_with_the_versions_of_libraries(toy, monkeypatch, name):
    before, version = plans(toy)[0].key, metadata.version
    monkeypatch.setattr(metadata, "version", lambda wanted: "0.0" if wanted == name else version(wanted))
    newer = plans(toy)[0].key

    def missing(wanted):
        if wanted == name:
            raise metadata.PackageNotFoundError(wanted)
        return version(wanted)

    monkeypatch.setattr(metadata, "version", missing)
    assert len({before, newer, plans(toy)[0].key}) == 3


BANDS = {"psnr": (10, 20), "loss": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("numbers", "overridden", "status", "message", "each"),
    [
        ({"psnr": 10, "loss": 1.0}, False, "ok", "", ("in band", "in band")),
        ({"psnr": 9.99, "loss": 1.0}, False, "out of band", "psnr = 9.99, expected 10 … 20", ("outside", "in band")),
        (
            {"psnr": float("nan"), "loss": 0.0},
            False,
            "out of band",
            "psnr = nan, expected 10 … 20",
            ("outside", "in band"),
        ),
        ({"psnr": 15}, False, "missing numbers", "loss was not recorded, expected 0 … 1", ("in band", "not recorded")),
        (
            {"loss": 2},
            False,
            "out of band",
            "loss = 2, expected 0 … 1; psnr was not recorded, expected 10 … 20",
            ("not recorded", "outside"),
        ),
        ({"psnr": 99}, True, "ok", "not compared: parameters overridden", ("not compared", "not compared")),
    ],
)
def test_numbers_are_judged_by_their_bands_unless_parameters_were_overridden(
    numbers, overridden, status, message, each
):
    verdict = judge(BANDS, numbers, overridden=overridden)
    assert (verdict.status, verdict.message) == (status, message)
    assert verdict.each == dict(zip(BANDS, each, strict=True))


def test_a_number_without_a_band_is_named_and_does_no_harm():
    verdict = judge({"psnr": (10, 20)}, {"psnr": 11, "more": 1.0, "most": 2.0})
    assert (verdict.status, verdict.message) == ("ok", "no band yet: more, most")
    assert verdict.each == {"psnr": "in band", "more": "no band yet", "most": "no band yet"}
    assert judge({}, {"more": 1.0}, overridden=True).each == {"more": "no band yet"}


def test_results_come_back_as_they_were_written_in_the_order_of_the_course(toy, tmp_path):
    asked = plans(toy)[0]
    first = Result.of(asked, "ok", "well", minutes=1.5, numbers={"psnr": 1.5}, machine={"cores": 2}, date="2026-01-01")
    others = [Result("zz", "failed"), Result("01_b", "ok")]
    write_results(tmp_path, [others[0], first, others[1]], ["01_b", "02_a"])
    assert read_results(tmp_path) == [others[1], first, others[0]]
    assert first.key == asked.key and first.bands == {"psnr": (1, 2)} and first.title == "02_A"


def test_results_of_an_earlier_version_are_read_and_have_no_key(tmp_path):
    row = {
        "name": "01_a",
        "title": "A",
        "profile": "quick",
        "parameters": {},
        "overridden": False,
        "bands": {"x": [1, 2]},
    }
    row |= {"stated_minutes": 1, "expected_minutes": 2.0, "fingerprint": "abc", "status": "ok", "numbers": {"x": 1.5}}
    (tmp_path / "results.json").write_text(json.dumps({"chapters": [row]}))
    (found,) = read_results(tmp_path)
    assert (found.name, found.status, found.key, found.bands) == ("01_a", "ok", "", {"x": (1, 2)})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"chapters": 3}', '{"chapters": [3]}', '{"chapters": [{"title": "a"}]}']
)
def test_results_that_cannot_be_read_are_none(tmp_path, text):
    assert read_results(tmp_path) == []
    (tmp_path / "results.json").write_text(text)
    assert read_results(tmp_path) == []
