"""On a terminal running chapters are rewritten in place; elsewhere their lines come at the start and now and then."""

import pytest

from course_utils.tools import screen as module
from course_utils.tools.screen import Screen


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_in_a_log_a_chapter_is_announced_once_and_then_every_ten_seconds(clock, capsys):
    screen = Screen()
    screen.last = clock[0]
    screen.refresh({"a": "a cell 1"}, "2 more")
    screen.refresh({"a": "a cell 2"}, "2 more")
    assert capsys.readouterr().out == "a cell 1\n"
    clock[0] += 1
    screen.refresh({"a": "a cell 3", "b": "b starting"})
    assert capsys.readouterr().out == "b starting\n", "only what is new"
    clock[0] += 10
    screen.refresh({"a": "a cell 4", "b": "b cell 1"})
    assert capsys.readouterr().out == "a cell 4\nb cell 1\n"
    screen.refresh({})
    screen.line("a ok")
    assert capsys.readouterr().out == "a ok\n"


def test_on_a_terminal_lines_are_cut_rewritten_and_make_room_for_those_that_stay(clock, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    screen.tty = True
    screen.refresh({"a": "a" * 30}, "2 more")
    assert capsys.readouterr().out == "a" * 19 + "\n2 more\n"
    screen.refresh({"a": "a again"})
    assert capsys.readouterr().out == "", "not yet"
    clock[0] += 0.6
    screen.refresh({"a": "a again"})
    assert capsys.readouterr().out == "\x1b[2F\x1b[Ja again\n", "both lines are erased first"
    screen.line("a ok")
    screen.line("b ok")
    assert capsys.readouterr().out == "\x1b[1F\x1b[Ja ok\nb ok\n"
