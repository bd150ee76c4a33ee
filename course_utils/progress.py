"""One line that says how far a computation is, rewritten in place in a notebook or a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Line:
    """A line of progress, shown only once two seconds have passed and then at most four times a second.

    A notebook updates one output, so a stored notebook keeps one line, and a terminal rewrites its line; a log gets a
    line every ten seconds. ``enabled=False`` shows nothing, ever; a string is put before every text.
    """

    def __init__(self, enabled: bool | str = True) -> None:
        self.enabled, self.started, self.shown = bool(enabled), time.monotonic(), 0.0
        self.label = f"{enabled}: " if isinstance(enabled, str) else ""
        self._notebook, self._terminal = _in_notebook(), sys.stdout.isatty()
        self._handle: Any = None
        self.pause = 0.25 if self._notebook or self._terminal else 10.0

    def seconds(self) -> float:
        """Return the seconds since the line began."""
        return time.monotonic() - self.started

    def due(self) -> bool:
        """Tell whether an update would be shown now, so that its text need not be made in vain."""
        return self.enabled and self.seconds() > 2 and time.monotonic() - self.shown > self.pause

    def show(self, text: str, *, last: bool = False) -> None:
        """Show the text if an update is due, or if it is the ``last``."""
        if not self.enabled or not (last or self.due()):
            return
        self.shown, text = time.monotonic(), self.label + text
        if not self._notebook:
            start, end = ("\r\x1b[K", "\n" if last else "") if self._terminal else ("", "\n")
            print(f"{start}{text}", end=end, flush=True)
        elif self._handle is None:
            from IPython.display import display

            self._handle = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self._handle.update({"text/plain": text}, raw=True)


def in_words(row: Mapping[str, Any], epochs: int) -> str:
    """Put a row of a history of ``fit`` into words: its epoch of how many, and its terms."""
    beside = ("epoch", "seconds", "images_per_second")
    terms = {name: value for name, value in row.items() if isinstance(value, (int, float)) and name not in beside}
    return " · ".join([f"epoch {row['epoch']}/{epochs}", *(f"{name} {value:.4g}" for name, value in terms.items())])


def track(items: Iterable[T], label: str) -> Iterator[T]:
    """Yield the items of a sweep and show how many are done and how long the rest takes; ``label`` says of what."""
    every, line = list(items), Line(label)
    for done, item in enumerate(every):
        left = f", {line.seconds() / done * (len(every) - done):.0f} s left" if done else ""
        line.show(f"{done} of {len(every)}{left}")
        yield item
    line.show(f"{len(every)} of {len(every)} in {line.seconds():.0f} s", last=True)


def _in_notebook() -> bool:
    from IPython import get_ipython

    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
