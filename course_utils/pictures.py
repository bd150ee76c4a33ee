"""Arrays and pictures of one's own: read, and refused with the reason where no chapter could use them."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from course_utils.runtime import whole

LARGEST_LABEL = 99_999  # no data set has more classes; beyond it, labels are something else
GREY = {"1", "L", "LA", "I", "I;16", "I;16B"}  # modes of Pillow
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return ``images`` and ``labels`` of an .npz file; what is wrong with them is named in a ``ValueError``."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, AttributeError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not an .npz file of plain arrays, or is damaged: {error}") from error
    if not {"images", "labels"} <= set(held):
        raise ValueError(f"{path} holds {sorted(held)}; it needs the arrays 'images' and 'labels'")
    if wrong := _what_is_wrong(held["images"], held["labels"]):
        raise ValueError(f"{path} holds {wrong}")
    return held["images"], held["labels"].astype(np.int64)  # whatever the order of their bytes


def _what_is_wrong(images: np.ndarray, labels: np.ndarray) -> str:
    """What no chapter could use, and what to give instead; empty if nothing."""
    if images.dtype != np.uint8:
        scaled = "; of shares between 0 and 1 make (255 * images).round().astype('uint8')" * (images.dtype.kind == "f")
        return f"images {images.dtype}; give uint8 in 0 … 255{scaled}"
    if not images.size or images.ndim not in (3, 4) or (images.ndim == 4 and not {1, 3} & {*images.shape[1::2]}):
        forms = "(N, H, W), (N, H, W, C) or (N, C, H, W), none of them 0, C = 1 or 3"
        return f"images of shape {images.shape}; give {forms}"
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        return f"labels {labels.dtype} of shape {labels.shape}; give whole numbers (N,)"
    if len(labels) != len(images):
        return f"{len(images)} images but {len(labels)} labels"
    outside = (labels < 0) | (labels > LARGEST_LABEL)
    place = int(outside.argmax())
    return f"the label {labels[place]} (picture {place}); number the classes 0, 1, 2, …" if outside.any() else ""


def find(folder: Path) -> list[Path]:
    """Return the pictures below a folder in the order of their names, but none of hidden folders, and not none.

    Folders train/ and test/ beside each other are no classes, a link may not lead nowhere: ``ValueError``. What other
    files there are is printed.
    """
    every = {path: path.relative_to(folder).parts for path in folder.rglob("*") if not path.is_dir()}
    below = {p: parts for p, parts in every.items() if not any(x.startswith((".", "__MACOSX")) for x in parts)}
    files = sorted(path for path in below if path.suffix.lower() in PICTURES)
    if others := Counter(path.suffix.lower() or path.name for path in below.keys() - set(files)):
        print(f"(not read in {folder}: {', '.join(f'{n} {kind}' for kind, n in sorted(others.items()))})")
    if lost := [path for path in files if not path.exists()]:
        raise ValueError(f"{lost[0]} is a link that leads nowhere; mend it or take it away")
    if {"train", "test"} <= {below[path][0].lower() for path in files}:
        raise ValueError(f"{folder} holds train/ and test/, which are no classes; give the path of one of them")
    if not files:
        raise ValueError(f"{folder} holds no pictures; expected files ending in {', '.join(sorted(PICTURES))}")
    return files


def read(files: list[Path], size: int | None) -> np.ndarray:
    """Read pictures → (N, H, W) uint8, or (N, H, W, 3) if any pixel has colour; a damaged one is a ``ValueError``.

    Pictures are turned as their metadata say, 16 bits become 8, what is transparent shows white paper. With a size,
    each is centre-cropped and resized to size × size pixels; without, all must be equally large.
    """
    size = None if size is None else whole("size", size, 1)
    mode = "L" if all(_picture(path).mode in GREY for path in files) else "RGB"
    arrays: list[np.ndarray] = []
    for path in files:
        picture = _picture(path, mode)
        if size is not None:
            side, (width, height) = min(picture.size), picture.size
            left, top = (width - side) // 2, (height - side) // 2
            picture = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
        arrays.append(np.asarray(picture))
        if arrays[-1].shape != arrays[0].shape:
            sizes = f"{path} has shape {arrays[-1].shape}, the pictures before it {arrays[0].shape}"
            raise ValueError(f"{sizes}; give size=… to crop and resize all of them")
    pixels = np.stack(arrays)
    grey = pixels.ndim == 4 and bool((pixels == pixels[..., :1]).all())  # saved in colour, but without any
    return pixels[..., 0] if grey else pixels


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode == "F":
        raise ValueError("its pixels are floats, whose range nobody knows")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) // 257).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture.convert(mode)


def _picture(path: Path, mode: str | None = None) -> Image.Image:
    """One picture in a mode, or only its head; Pillow has many errors for a damaged one."""
    try:
        with Image.open(path) as picture:
            return _converted(picture, mode) if mode else picture
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no picture or is damaged ({error}); mend it or move it elsewhere") from error
