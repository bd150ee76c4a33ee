"""The README says what is so: its table is the one made from course.yml and the stored results, its files exist."""

import base64
import json
import re

import nbformat
import pytest
import yaml
from click.testing import CliRunner

from course_utils.runtime import ROOT
from course_utils.tools.cli import main
from course_utils.tools.tables import as_markdown, chapter_table, headline_table, scoreboard_cells, scoreboards

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_chapter_table_is_the_present_one():
    assert chapter_table(ROOT / "notebooks") in README, "put the output of `course list --markdown` into the README"


def test_table_of_headline_numbers_is_the_present_one():
    table = headline_table(ROOT / "notebooks")
    assert table in README, "put the output of `course list --markdown` into the README"


def test_scoreboard_is_the_present_one():
    boards = scoreboards(ROOT / "notebooks")
    assert list(boards) == ["chapter 07", "chapter 08", "chapter 09"]
    for table in map(as_markdown, boards.values()):
        assert table.startswith("| model |"), table
        assert table in README, "put the output of `course scoreboard --markdown` into the README"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_to_files(target):
    assert not target.startswith("http") and (ROOT / target).exists(), target


def test_picture_is_a_figure_of_the_course():
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+\.png)\)", README)
    shown = (ROOT / picture).read_bytes()
    figures = [
        base64.b64decode(output["data"]["image/png"])
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
        for cell in nbformat.read(path, 4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert shown in figures, "the README's picture is no longer what a chapter draws: copy the new figure"


def _course(folder, **numbers):
    minutes = {"quick": {"minutes": 1}, "full": {"minutes": 2}}
    chapter = {"name": "02_x", "title": "X", "read_minutes": 5, "needs": [], "numbers": numbers, "profiles": minutes}
    (folder / "course.yml").write_text(yaml.safe_dump({"chapters": [chapter]}))
    for name in ("full_results", "spread"):
        (folder / name).mkdir()


def _rows(folder):
    return headline_table(folder).splitlines()[2:]


def test_tables_show_minutes_and_the_headline_numbers_that_there_are(tmp_path):
    number = {"label": "error ratio", "unit": "%", "headline": True, "full": [0, 2]}
    _course(tmp_path, ratio=number, other={"label": "not shown", "full": [0, 2]})
    assert chapter_table(tmp_path).splitlines()[-1] == "| 02 | [X](notebooks/02_x.ipynb) | 5 min | 1 / 2 min |"
    assert _rows(tmp_path) == []
    (tmp_path / "full_results" / "02.json").write_text(json.dumps({"numbers": {"ratio": 1.23456, "other": 7.0}}))
    assert _rows(tmp_path) == ["| 02 | error ratio (%) | 1.23 |  |"]
    runs = [{"numbers": {"ratio": value, "other": 1.0}} for value in (1.0, -2.0, -8.0)]
    (tmp_path / "spread" / "02.json").write_text(json.dumps({"format": 1, "runs": runs}))
    assert _rows(tmp_path) == ["| 02 | error ratio (%) | 1.23 | −3.0 ± 4.6 (3) |"]
    (tmp_path / "full_results" / "02.json").unlink()
    counted = yaml.safe_load((tmp_path / "course.yml").read_text())
    counted["chapters"][0]["numbers"]["ratio"]["above"] = 0
    (tmp_path / "course.yml").write_text(yaml.safe_dump(counted))
    assert _rows(tmp_path) == ["| 02 | error ratio (%) |  | above 0: 1 of 3 |"]


@pytest.mark.parametrize(("value", "words"), [(-127.03, "−127"), (32.0, "32.0"), (0.5, "0.500"), (5.2, "5.20")])
def test_numbers_have_three_digits_and_no_bare_point(tmp_path, value, words):
    _course(tmp_path, a={"label": "a", "headline": True, "full": [0, 2]})
    (tmp_path / "full_results" / "02.json").write_text(json.dumps({"numbers": {"a": value}}))
    assert _rows(tmp_path) == [f"| 02 | a | {words} |  |"]


BOARD = {
    "models": ["a model", "another"],
    "metrics": [
        {"name": "nats", "label": "Nats", "unit": "nats", "better": "high"},
        {"name": "far", "label": "Far", "unit": "", "better": "low"},
        {"name": "free", "label": "Free", "unit": "", "better": ""},
    ],
}
VALUES = [
    [[240.1, 244.3, 242.0], [0.0101, 0.0102, 0.0103], [1.0, 1.0, 1.0]],
    [[-30.0, -36.0, -33.0], [5, 25, 15], [0, 0, 0]],
]


@pytest.fixture
def board(tmp_path):
    chapter = {"name": "07_x", "title": "X", "numbers": {}, "scoreboard": BOARD}
    (tmp_path / "course.yml").write_text(yaml.safe_dump({"chapters": [{"name": "06_y"}, chapter]}))
    (tmp_path / "full_results").mkdir()
    return tmp_path


def test_scoreboard_has_means_with_spread_in_the_order_announced(board):
    assert scoreboards(board) == {}
    path = board / "full_results" / "07.json"
    path.write_text(json.dumps({"series": {"scoreboard": VALUES}}))
    assert as_markdown(scoreboards(board)["chapter 07"]).splitlines() == [
        "| model | Nats (nats) ↑ | Far ↓ | Free |",
        "| --- | --- | --- | --- |",
        "| a model | 242 ± 2 | 0.010 ± 0.000 | 1.00 |",
        "| another | −33 ± 3 | 15 ± 10 | 0 |",
    ]


def test_a_quick_run_may_have_the_first_models_only():
    assert len(scoreboard_cells(BOARD, VALUES)[1]) == 2
    assert [row[0] for row in scoreboard_cells(BOARD, VALUES[:1])[1]] == ["a model"]


def test_course_scoreboard_prints_it(board):
    shown = CliRunner().invoke(main, ["scoreboard", "--source", str(board)])
    assert shown.exit_code == 0 and shown.output == "No scoreboard is stored yet.\n"
    (board / "full_results" / "07.json").write_text(json.dumps({"series": {"scoreboard": VALUES}}))
    markdown = CliRunner().invoke(main, ["scoreboard", "--markdown", "--source", str(board)]).output
    assert markdown == "chapter 07\n\n" + as_markdown(scoreboards(board)["chapter 07"])
    first, _, *lines = CliRunner().invoke(main, ["scoreboard", "--source", str(board)]).output.splitlines()
    assert first == "chapter 07"
    assert (
        lines[1].split("  ")[0] == "a model" and "|" not in "".join(lines) and len({len(line) for line in lines}) == 1
    )


def test_examples_name_parameters_and_commands_that_exist():
    examples = re.findall(r"course run (\d\d) ((?:-p \w+ \S+ ?)+)", README)
    examples += re.findall(r"papermill notebooks/(\d\d)_\w+\.ipynb \S+ ((?:-p \w+ \w+ ?)+)", README)
    assert len(examples) >= 3
    for number, options in examples:
        (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        (cell,) = [c for c in nbformat.read(path, 4).cells if "parameters" in c.metadata.get("tags", [])]
        for name in re.findall(r"-p (\w+)", options):
            assert re.search(rf"^{name} = ", cell.source, re.M), f"{path.name} has no parameter {name!r}"
    for command in set(re.findall(r"(?:^|`)course (\w+)", README, re.M)):
        assert command in main.commands, f"there is no `course {command}`"
