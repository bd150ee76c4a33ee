import io
import sys

import pytest

from course_utils import progress
from course_utils.progress import Line, in_words, track


class Clock:
    """Time that passes only when told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_in_the_first_two_seconds(clock, capsys):
    line = Line()
    for _ in range(19):
        clock.now += 0.1
        assert not line.due()
        line.show("too early")
    assert capsys.readouterr().out == ""
    clock.now += 0.2
    line.show("now")
    assert capsys.readouterr().out == "now\n"


def test_a_log_gets_a_plain_line_every_ten_seconds(clock, capsys):
    line = Line()
    for second in range(1, 31):
        clock.now += 1
        line.show(f"at {second}")
    line.show("done", last=True)
    printed = capsys.readouterr().out
    assert printed == "at 3\nat 14\nat 25\ndone\n"
    assert "\r" not in printed and "\x1b" not in printed


def test_a_terminal_rewrites_one_line(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    line = Line()
    for _ in range(40):
        clock.now += 0.1
        line.show(f"{clock.now:.1f}")
    line.show("done", last=True)
    text = terminal.getvalue()
    assert text.count("\n") == 1 and text.endswith("\r\x1b[Kdone\n")
    assert 6 <= text.count("\r") <= 9  # two of the four seconds, at most four times each, and the end


def test_a_notebook_updates_one_output(clock, monkeypatch, capsys):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(("update", data["text/plain"]))

    def display(data, raw, display_id):
        shown.append(("new", data["text/plain"]))
        return Handle()

    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    line = Line()
    clock.now += 3
    line.show("first")
    clock.now += 1
    line.show("second")
    line.show("done", last=True)
    assert shown == [("new", "first"), ("update", "second"), ("update", "done")]
    assert capsys.readouterr().out == ""


def test_switched_off_it_never_writes(clock, capsys):
    line = Line(enabled=False)
    clock.now += 100
    line.show("no")
    line.show("no", last=True)
    assert not line.due() and capsys.readouterr().out == ""


def test_track_yields_everything_and_says_how_long_the_rest_takes(clock, capsys):
    seen = []
    for item in track(iter("abcd"), "autoencoders"):
        seen.append(item)
        clock.now += 12
    assert seen == list("abcd")
    assert capsys.readouterr().out.splitlines() == [
        "autoencoders: 1 of 4, 36 s left",
        "autoencoders: 2 of 4, 24 s left",
        "autoencoders: 3 of 4, 12 s left",
        "autoencoders: 4 of 4 in 48 s",
    ]


def test_a_string_is_put_before_every_text(capsys):
    Line("VAE").show("done", last=True)
    Line(True).show("done", last=True)
    assert capsys.readouterr().out == "VAE: done\ndone\n"


def test_a_line_knows_how_long_it_has_been_there(clock):
    line = Line()
    clock.now += 7
    assert line.seconds() == 7


def test_a_row_of_the_history_in_words():
    row = {"epoch": 2, "loss": 1.23456, "valid_kl": 3, "note": "text", "seconds": 5.0, "images_per_second": 60.0}
    assert in_words(row, 7) == "epoch 2/7 · loss 1.235 · valid_kl 3"


def test_this_is_no_notebook():
    assert not progress._in_notebook()
