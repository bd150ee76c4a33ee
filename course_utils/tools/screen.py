"""What a command shows while chapters run."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping

import click


class Screen:
    """Shows what happens: finished chapters in lines that stay, running ones in lines that are rewritten."""

    def __init__(self, every: float = 10.0) -> None:
        self.tty, self.every, self.drawn, self.last = sys.stdout.isatty(), every, 0, 0.0
        self.announced: set[str] = set()

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._erase()
        click.echo(text)

    def refresh(self, running: Mapping[str, str], below: str = "") -> None:
        """Show the line of every running chapter: on a terminal in place, elsewhere at its start and every ten seconds.

        ``below`` stands under them on a terminal.
        """
        now, new = time.monotonic(), set(running) - self.announced
        due = now - self.last > (0.5 if self.tty else self.every)
        if not running or not (due or new):
            return
        self._erase()
        self.last = now if due else self.last
        width = shutil.get_terminal_size().columns - 1 if self.tty else None
        for text in [line for name, line in running.items() if self.tty or due or name in new]:
            click.echo(text[:width])
        self.announced |= new
        if self.tty:
            self.drawn = len(running) + bool(below)
            if below:
                click.echo(below[:width])

    def _erase(self) -> None:
        if self.drawn:
            click.echo(f"\x1b[{self.drawn}F\x1b[J", nl=False, color=True)
        self.drawn = 0
