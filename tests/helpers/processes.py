"""What processes a test leaves behind, and which tests need a system that has processes as POSIX has them."""

import os

import psutil
import pytest

posix = pytest.mark.skipif(os.name != "posix", reason="needs make, a shell, signals or links as POSIX has them")

#: Python's own servants, which whoever first asks for them starts and which live as long as the process that asked.
SERVANTS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def left_behind(before: set[psutil.Process]) -> list[psutil.Process]:
    """The descendants of this process that are not in `before`, without Python's own servants."""
    new = [process for process in psutil.Process().children(recursive=True) if process not in before]
    return [process for process in new if not _is_servant(process)]


def alive() -> set[psutil.Process]:
    """The descendants of this process: other tests of the same worker may have left some."""
    return set(psutil.Process().children(recursive=True))


def _is_servant(process: psutil.Process) -> bool:
    try:
        line = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return True
    return any(name in line for name in SERVANTS)
