"""One line that says how far a computation is, rewritten in place in a notebook or a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator


class Line:
    """A line of progress, shown only once two seconds have passed and then at most four times a second.

    In a notebook the same output is updated, so a stored notebook keeps one line; in a terminal
    the line is rewritten; in a log one line is printed every ten seconds.

    Parameters
    ----------
    enabled
        If false, nothing is ever shown.
    """

    def __init__(self, enabled: bool = True):
        self.enabled, self.started, self.shown, self._handle = enabled, time.monotonic(), 0.0, None
        self._notebook, self._terminal = _in_notebook(), sys.stdout.isatty()
        self.pause = 0.25 if self._notebook or self._terminal else 10.0

    def due(self) -> bool:
        """Tell whether an update would be shown now (so that its text need not be made in vain)."""
        now = time.monotonic()
        return self.enabled and now - self.started > 2 and now - self.shown > self.pause

    def show(self, text: str) -> None:
        """Show the text if an update is due."""
        if self.due():
            self._write(text)

    def finish(self, text: str) -> None:
        """Show the last text, whenever the last update was."""
        if self.enabled:
            self._write(text)
            if self._terminal and not self._notebook:
                print()

    def _write(self, text: str) -> None:
        self.shown = time.monotonic()
        if self._notebook:
            from IPython.display import display

            if self._handle is None:
                self._handle = display({"text/plain": text}, raw=True, display_id=True)
            else:
                self._handle.update({"text/plain": text}, raw=True)
        elif self._terminal:
            print(f"\r\x1b[K{text}", end="", flush=True)
        else:
            print(text, flush=True)


def track(items: Iterable, label: str) -> Iterator:
    """Yield the items of a sweep and show how many are done and how long the rest takes.

    Parameters
    ----------
    items
        What to go through.
    label
        Says what is being computed, e.g. ``"autoencoders"``.
    """
    items = list(items)
    line = Line()
    for done, item in enumerate(items):
        elapsed = time.monotonic() - line.started
        left = f", {elapsed / done * (len(items) - done):.0f} s left" if done else ""
        line.show(f"{label}: {done} of {len(items)}{left}")
        yield item
    line.finish(f"{label}: {len(items)} of {len(items)} in {time.monotonic() - line.started:.0f} s")


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
