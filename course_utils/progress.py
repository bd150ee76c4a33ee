"""One line that says how far a computation is, rewritten in place in a notebook or a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Line:
    """A line of progress, shown only once two seconds have passed and then at most four times a second.

    In a notebook the same output is updated, so a stored notebook keeps one line; in a terminal the line is rewritten;
    in a log one line is printed every ten seconds. ``enabled=False`` shows nothing, ever.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled, self.started, self.shown = enabled, time.monotonic(), 0.0
        self._notebook, self._terminal = _in_notebook(), sys.stdout.isatty()
        self._handle: Any = None
        self.pause = 0.25 if self._notebook or self._terminal else 10.0

    def seconds(self) -> float:
        """Return the seconds since the line began."""
        return time.monotonic() - self.started

    def due(self) -> bool:
        """Tell whether an update would be shown now (so that its text need not be made in vain)."""
        return self.enabled and self.seconds() > 2 and time.monotonic() - self.shown > self.pause

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


def seconds_left(elapsed: float, done: float, total: float) -> float:
    """Return how long the rest takes, if ``done`` of ``total`` took ``elapsed`` seconds."""
    return elapsed / done * (total - done)


def in_words(row: Mapping[str, Any], epochs: int) -> str:
    """Put a row of a history of ``fit`` into words: its epoch of how many, and its terms."""
    beside = ("epoch", "seconds", "images_per_second")
    terms = {name: value for name, value in row.items() if isinstance(value, (int, float)) and name not in beside}
    return " · ".join([f"epoch {row['epoch']}/{epochs}", *(f"{name} {value:.4g}" for name, value in terms.items())])


def track(items: Iterable[T], label: str) -> Iterator[T]:
    """Yield the items of a sweep and show how many are done and how long the rest takes; ``label`` says of what."""
    every = list(items)
    line = Line()
    for done, item in enumerate(every):
        left = f", {seconds_left(line.seconds(), done, len(every)):.0f} s left" if done else ""
        line.show(f"{label}: {done} of {len(every)}{left}")
        yield item
    line.finish(f"{label}: {len(every)} of {len(every)} in {line.seconds():.0f} s")


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
