"""Data sets on disk: download them through torchvision, take in files that are already here, say what is present.

Whatever arrives is checked by its MD5, and every file is written under another name and then renamed: a broken download
never harms a good copy, and half a copy never looks like a whole one.
"""

from __future__ import annotations

import difflib
import gzip
import re
import shutil
import socket
import tempfile
import zlib
from pathlib import Path
from typing import Any

import torchvision.datasets
from torchvision.datasets.utils import calculate_md5, check_integrity, download_url

from course_utils import datasets
from course_utils.runtime import replacing

#: What each set takes on the disk.
SPACE = {"mnist-5k": "1 MB", "mnist": "67 MB", "fashion-mnist": "86 MB"}
SPACE |= {"street-digits": "50 MB", "svhn": "246 MB", "svhn-extra": "1.3 GB"}
#: The sets that come as files, which can be downloaded or imported, and those that need none.
SILENCE = 60  # seconds after which a server that says nothing is given up
FETCHED = (*datasets.TORCHVISION, *datasets.SVHN)
WITHOUT = {datasets.EMBEDDED: "is embedded", datasets.DRAWN: "is drawn on this machine at its first use"}


def listing() -> str:
    """Return a table of the data sets the course knows: whether they are here, their size, how to get them."""
    lines = [f"data folder: {datasets.data_dir()}", ""]
    for name, words in datasets.present().items():
        state, way = "present", words
        if words == "missing":
            needs = "; needs svhn too" if name == "svhn-extra" else ""
            state, way = "missing", f"course data fetch {name}, or course data import FOLDER{needs}"
        lines.append(f"{name:<15} {state:<8} {datasets.IMAGES[name]:>7,} images  {SPACE[name]:>6}   {way}")
    own = 'your own images: datasets.load("path/to/file.npz"), arrays images and labels, or datasets.load("folder")'
    return "\n".join([*lines, "", own])


def fetch(name: str) -> str:
    """Download a data set by name, with a progress bar, and say what was done; files that are intact stay.

    A name that the course does not know is a ``ValueError``, a download that fails a ``ConnectionError``: nothing is
    left behind then, and a copy that was there is unchanged.
    """
    if name in WITHOUT:
        return f"{name} {WITHOUT[name]}: nothing to download"
    if name not in FETCHED:
        near = difflib.get_close_matches(name, FETCHED, n=1, cutoff=0)[0]
        raise ValueError(f"unknown data set {name!r}; did you mean {near!r}? Known are {', '.join(SPACE)}")
    raw, files = _files(name)
    if all(check_integrity(raw / file, md5) and _is_unpacked(raw / file) for file, md5 in files.items()):
        return f"{name} is already in {raw}: nothing to download"
    datasets.data_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=datasets.data_dir(), prefix=".incoming-") as folder:
        usual = socket.getdefaulttimeout()
        try:
            socket.setdefaulttimeout(SILENCE)
            _download(name, Path(folder))
        except (RuntimeError, OSError, EOFError, zlib.error) as error:
            reason = " ".join(str(error).split())[:300]
            other = datasets.EMBEDDED if name in datasets.TORCHVISION else datasets.DRAWN
            raise ConnectionError(
                f"{name} could not be downloaded ({reason}). Other ways: copy {', '.join(files)} from a machine that "
                f"has them and run `course data import FOLDER`, or use datasets.load({other!r})"
            ) from error
        finally:
            socket.setdefaulttimeout(usual)
        return _take(name, {path.name: path for path in Path(folder).rglob("*") if path.name in files})


def import_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Take in MNIST, Fashion-MNIST and SVHN from the files below a folder, which is only read.

    Every ``.gz`` and ``.mat`` file is identified by its MD5, because some sets use the same file names; a set is taken
    only if all of its files are there and intact. Returned is what was done or ignored, and what was refused. A folder
    that is not there is a ``FileNotFoundError``.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}; give one that holds the four .gz files of MNIST, or the .mat files of SVHN"
        )
    known = {md5: (name, file) for name in FETCHED for file, md5 in _files(name)[1].items()}
    names = {file for _, file in known.values()}
    found: dict[str, dict[str, Path]] = {}
    done, refused, ignored = [], [], []
    for path in (path for path in sorted(folder.rglob("*")) if path.is_file()):
        md5 = calculate_md5(path) if {".gz", ".mat"} & set(re.findall(r"\.[a-z]+", path.name.lower())) else ""
        if md5 in known:
            name, file = known[md5]
            found.setdefault(name, {}).setdefault(file, path)
        elif path.name in names:
            refused.append(f"{path} is refused: {_what_is_wrong(path)} ({path.stat().st_size:,} bytes, md5 {md5})")
        elif path.name + ".gz" not in names:
            ignored.append(str(path.relative_to(folder)))
    for name, files in found.items():
        if missing := sorted(set(_files(name)[1]) - set(files)):
            refused.append(f"{name} is not complete in {folder}: {', '.join(missing)} missing; nothing of it was taken")
        else:
            done.append(_take(name, files))
    if ignored:
        shown = ", ".join(ignored[:8]) + (" …" if len(ignored) > 8 else "")
        done.append(f'ignored: {shown} (for files of your own write datasets.load("path/to/file.npz"))')
    if not found and not refused:
        known_files = "such as train-images-idx3-ubyte.gz or train_32x32.mat"
        if any(folder.rglob("*ubyte")):  # a checksum is known of the archives alone
            known_files += f"; unpacked ones work in {_files('mnist')[0]}"
        refused.append(f"{folder} holds none of the files of MNIST, Fashion-MNIST or SVHN, {known_files}")
    return done, refused


def _files(name: str) -> tuple[Path, dict[str, str]]:
    """Return the folder in which torchvision looks for the files of a set, and the MD5 of each, as it gives them."""
    if name in datasets.SVHN:
        rows = [torchvision.datasets.SVHN.split_list[part] for part in datasets.SVHN[name]]
        return datasets.svhn_folder(), {file: md5 for _, file, md5 in rows}
    return datasets.data_dir() / datasets.TORCHVISION[name] / "raw", dict(_reader(name).resources)


def _reader(name: str) -> Any:
    return getattr(torchvision.datasets, datasets.TORCHVISION[name])


def _download(name: str, folder: Path) -> None:
    """Let torchvision download a set into a folder and check it; of SVHN only what is not here and intact."""
    if name in datasets.TORCHVISION:
        _reader(name)(root=folder, download=True)
        return
    for url, file, md5 in (torchvision.datasets.SVHN.split_list[part] for part in datasets.SVHN[name]):
        if not check_integrity(datasets.svhn_folder() / file, md5):
            download_url(url, folder, file, md5)


def _take(name: str, files: dict[str, Path]) -> str:
    """Put files into place, each of them whole, and unpack archives beside them; what is there and intact stays."""
    raw, checksums = _files(name)
    changed = 0
    for file, path in files.items():
        if not check_integrity(raw / file, checksums[file]):
            with replacing(raw / file) as copy, path.open("rb") as original:
                shutil.copyfileobj(original, copy)
            changed += 1
        if not _is_unpacked(raw / file):
            with replacing((raw / file).with_suffix("")) as unpacked, gzip.open(raw / file) as packed:
                shutil.copyfileobj(packed, unpacked)
            changed += 1
    return f"{name}: " + (f"{changed} files written to {raw}" if changed else "already there, unchanged")


def _is_unpacked(archive: Path) -> bool:
    """Tell whether what an archive holds lies beside it; a file that is no archive needs no unpacking."""
    unpacked = archive.with_suffix("")
    if archive.suffix != ".gz":
        return True
    return unpacked.is_file() and unpacked.read_bytes() == gzip.decompress(archive.read_bytes())


def _what_is_wrong(path: Path) -> str:
    try:
        gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error):
        return "it is not the file of this name, or is damaged or only half there"
    return "it is a whole archive, but neither MNIST's nor Fashion-MNIST's"
