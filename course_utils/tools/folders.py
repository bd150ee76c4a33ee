"""Folders that commands fill: marked as theirs and held by one command at a time; what a person put there stays.

A command takes a folder that is new, empty, or marked by the same command before. Any other is refused before anything
runs, so that a wrong path costs nobody a file.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock

from course_utils.runtime import ROOT, replacing

MARK, LOCK = ".made-by-course.json", ".lock-of-course"
BUILD = ROOT / "build"


class NotOurs(FileExistsError):
    """A folder that a command did not make, or that another one is filling; the message names the way out."""


@contextlib.contextmanager
def taken(folder: str | Path, command: str, flag: str = "--output", *, whole: bool = False) -> Iterator[Path]:
    """Hold a folder for ``course COMMAND``, which marks it; ``NotOurs``, naming ``flag``, if it is not the command's.

    What replaces the ``whole`` folder lists its files in the mark, so that one which somebody has added is seen.
    """
    folder = Path(folder)
    check(folder, command, flag, whole=whole)
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        _mark(folder, command, whole)
    except filelock.Timeout as error:
        raise NotOurs(f"another command is filling {folder}; wait for it, or give another {flag}") from error
    except OSError as error:
        raise NotOurs(f"{folder} cannot be written ({error.strerror}); give {flag} a folder that can") from error
    try:
        yield folder
    finally:
        if whole:
            _mark(folder, command, whole)
        lock.release()


def empty(folder: Path) -> None:
    """Remove what is in a folder that is held, but for its mark and its lock."""
    for path in folder.iterdir():
        if path.name not in (MARK, LOCK):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.name not in (MARK, LOCK) and not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _mark(folder: Path, command: str, whole: bool) -> None:
    content = {"command": command, "files": sorted(_files(folder)) if whole else []}
    with replacing(folder / MARK) as file:
        file.write(json.dumps(content).encode())


def check(folder: Path, command: str, flag: str, *, whole: bool = False) -> None:
    """Refuse a folder as ``taken`` does, and leave it as it is."""
    way, marked = f"give {flag} a folder that is new or empty", None
    if folder.exists() and not folder.is_dir():
        raise NotOurs(f"{folder} is a file; {way}")
    with contextlib.suppress(OSError, ValueError):
        marked = json.loads((folder / MARK).read_text(encoding="utf-8"))
    if marked is None and BUILD in folder.resolve().parents:
        return  # made by an earlier version, which left no mark: nothing else lies there
    if marked is not None and marked["command"] != command:
        raise NotOurs(f"{folder} was made by `course {marked['command']}`; {way}")
    known = None if marked is not None and not whole else set(marked["files"]) if marked else set()
    other = next((name for name in _files(folder) if known is not None and name not in known), None)
    if other is not None:
        raise NotOurs(f"{folder} holds {other}, which `course {command}` did not make; {way}")
