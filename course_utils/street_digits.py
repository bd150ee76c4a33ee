"""House numbers drawn from known causes: crops like those of SVHN, and what each of them was made of.

A crop is made the way a photograph is: a number is painted on a wall or a plate, turned and slanted, blurred by the
optics, lit unevenly, seen by a sensor of few noisy pixels, and enlarged to the size asked for. Only real crops have
others of the same photograph, unequal frequencies of digits, brick, foliage, letters, house fronts, reflections,
hand-made numerals, compression artefacts, and labels that are wrong.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from course_utils.progress import Line

#: The fonts, all of which matplotlib brings along; the factor ``font`` is the place in this tuple.
FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique", "Mono", "Mono-Bold")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmss10", "cmtt10"),
)
PLACES = (-2, -1, 1, 2)  # where a neighbour can stand, counted from the labelled digit
WARM_COOL, GREEN_PURPLE = np.array([1.0, 0.0, -1.0]), np.array([-0.5, 1.0, -0.5])


def street_digits(n: int, *, seed: int = 0, size: int = 32) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Draw colour crops of house numbers; the label is the digit in the middle.

    Returns images (n, 3, size, size) uint8, ``size`` from 8; labels (n,) int64 in 0 … 9; and the factors by name. n
    below 1, a negative seed or a smaller size is a ``ValueError``. Picture i depends on ``seed``, ``size`` and i alone;
    every ten in a row (0–9, 10–19, …) show every digit once. A picture can change by a few grey levels with the version
    of Pillow or of the fonts.

    The factors are arrays (n,), or of the shape that follows; lengths are shares of the picture's side: ``digit`` the
    label; ``font`` its place in ``FONTS``; ``height``; ``width`` its stretch across, 1 = the font's own; ``weight``
    steps by which strokes are thickened, 0, 1, 2; ``shift`` (n, 2) its place off the middle, right and down; ``tilt``
    degrees, counter-clockwise; ``slant`` shear, as a share of the height; ``neighbours`` (n, 4) digits two and one to
    the left, one and two to the right, −1: none; ``spacing`` from digit to digit; ``background``, ``foreground``,
    ``wall`` (n, 3) each, colours in [0, 1] of the ground, of the digits and around the plate; ``contrast`` foreground's
    brightness minus background's; ``plate`` margin of the plate around the number, 0: no plate; ``shadow`` (n, 2)
    offset of the digits' shadow, right and down, 0, 0: none; ``blur`` standard deviation of the Gaussian blur;
    ``resolution`` pixels of the sensor along a side; ``shade`` strength of the uneven light, 1 = from black to white;
    ``noise`` standard deviation of the sensor's noise, likewise.

    After Ganin & Lempitsky 2015, arXiv 1409.7495, section 4; the model is Netzer et al. 2011, "Reading Digits in
    Natural Images".
    """
    if n < 1 or seed < 0 or size < 8:
        raise ValueError(f"n = {n}, seed = {seed}, size = {size}: n must be 1 or more, seed 0 or more, size 8 or more")
    images = np.empty((n, 3, size, size), np.uint8)
    rows, line = [], Line()
    tens = [np.random.default_rng((seed, ten, 1)).permutation(10) for ten in range(-(-n // 10))]
    for i, digit in enumerate(np.concatenate(tens)[:n]):
        line.show(f"drawing house numbers: {i:,} of {n:,}")
        rng = np.random.default_rng((seed, i))
        rows.append({"digit": digit, **_causes(rng)})
        images[i] = _photograph(rows[-1], size, rng).transpose(2, 0, 1)
    if line.shown:
        line.show(f"drew {n:,} house numbers", last=True)
    factors = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return images, factors["digit"].copy(), factors


def _causes(rng: np.random.Generator) -> dict:
    """Everything about one picture but its digit, shade and noise; names as street_digits says."""
    colours = _colours(rng)
    left, right = np.searchsorted((0.45, 0.85), rng.random(2))  # 0, 1 or 2 neighbours on a side
    there = [-left <= place <= right for place in PLACES]
    return {
        "font": int(rng.integers(len(FONTS))),
        "neighbours": np.where(there, rng.integers(0, 10, 4), -1),
        **colours,
        "height": rng.uniform(0.5, 0.95),
        "width": rng.uniform(0.5, 1.05),
        "weight": int(rng.integers(3)),
        "shift": 0.025 * rng.standard_normal(2),
        "spacing": rng.uniform(0.02, 0.2),
        "tilt": 6 * rng.standard_normal(),
        "slant": 0.12 * rng.standard_normal(),
        "plate": rng.uniform(0.05, 0.3) * (rng.random() < 0.4),
        "shadow": rng.uniform(-0.06, 0.06, 2) * (rng.random() < 0.3),
        "blur": 0.022 * math.exp(0.6 * rng.standard_normal()),
        "resolution": int(rng.integers(10, 33)),
        "shade": 0.025 * rng.exponential(),
        "noise": 0.007 * rng.exponential(),
    }


def _colours(rng: np.random.Generator) -> dict:
    """Background, foreground and wall: little saturation, brightness far apart or hardly so."""
    light = 0.05 + 0.9 * rng.beta(1.4, 1.7)
    step = min(0.36 * math.exp(0.42 * rng.standard_normal()), 0.85)
    sign = 1 if rng.random() < 0.5 else -1
    if not 0.02 <= light + sign * step <= 0.98:
        sign = -sign  # towards the side where there is room
    ink = min(max(light + sign * step, 0.02), 0.98)
    tint, cast = _tint(rng), _tint(rng)
    own = _tint(rng) if rng.random() < 0.5 else tint / 2
    wall = 0.05 + 0.9 * rng.beta(1.5, 1.8) + _tint(rng) + cast / 2
    colours = {"background": light + tint + cast / 2, "foreground": ink + own + cast / 2, "wall": wall}
    return {name: colour.clip(0, 1) for name, colour in colours.items()} | {"contrast": ink - light}


def _tint(rng: np.random.Generator) -> np.ndarray:
    """A shift of colour (3,), mostly between warm and cool, as daylight and brick are."""
    return rng.laplace(-0.005, 0.035) * WARM_COOL + rng.laplace(-0.005, 0.01) * GREEN_PURPLE


def _photograph(causes: dict, size: int, rng: np.random.Generator) -> np.ndarray:
    """Paint the number at twice the size, blur it, sense it on few pixels, enlarge: (size, size, 3) uint8."""
    scene = _scene(causes, 2 * size).reduce(2).filter(ImageFilter.GaussianBlur(size * causes["blur"]))
    side = max(1, round(size * causes["resolution"] / 32))
    pixels = np.asarray(scene.resize((side, side), Image.Resampling.BOX), np.float32)
    grid = rng.standard_normal((4, 4, 1)) + 0.3 * rng.standard_normal((4, 4, 3))
    smooth = _interpolation(side)
    light = 255 * causes["shade"] * (smooth @ (smooth @ grid.reshape(4, 12)).reshape(side, 4, 3))
    noise = 255 * causes["noise"] * rng.standard_normal((side, side, 3), dtype=np.float32)
    sensed = Image.fromarray(np.clip(pixels + light + noise, 0, 255).astype(np.uint8))
    return np.asarray(sensed.resize((size, size), Image.Resampling.BICUBIC))


def _scene(causes: dict, side: int) -> Image.Image:
    """The painted wall, plate, shadow and digits, side × side pixels."""
    number, plate = _number(causes, side)
    colours = (causes["background"], causes["foreground"], causes["wall"], causes["background"] / 2)
    background, foreground, wall, dark = (tuple((255 * c).round().astype(int).tolist()) for c in colours)
    scene = Image.new("RGB", (side, side), background if plate is None else wall)
    if plate is not None:
        scene.paste(background, mask=_seen(plate, causes, side))
    digits = _seen(number, causes, side)
    if causes["shadow"].any():
        right, down = (round(side * float(share)) for share in causes["shadow"])
        scene.paste(dark, (right, down), digits)
    scene.paste(foreground, mask=digits)
    return scene


def _number(causes: dict, side: int) -> tuple[Image.Image, Image.Image | None]:
    """Masks of the digits and of the plate, upright on a sheet twice as wide, the labelled digit in its middle."""
    tall, sheet = side * 3 // 4, Image.new("L", (2 * side, 2 * side))
    gap, middle = causes["spacing"] * tall, side
    left = right = float(middle)
    digits = dict(zip(PLACES, causes["neighbours"], strict=True)) | {0: causes["digit"]}
    for place in (0, 1, 2, -1, -2):
        if digits[place] >= 0:
            glyph = _glyph(causes["font"], causes["weight"], int(digits[place]), tall)
            x = right + gap if place > 0 else left - gap - glyph.width if place else middle - glyph.width / 2
            sheet.paste(255, (round(x), middle - tall // 2), glyph)
            left, right = min(left, x), max(right, x + glyph.width)
    if not causes["plate"]:
        return sheet, None
    plate, margin = Image.new("L", sheet.size), causes["plate"] * tall
    box = (left - margin, middle - tall / 2 - margin, right + margin, middle + tall / 2 + margin)
    ImageDraw.Draw(plate).rounded_rectangle(box, radius=margin / 2, fill=255)
    return sheet, plate


def _seen(sheet: Image.Image, causes: dict, side: int) -> Image.Image:
    """Turn, slant, stretch and scale a sheet; its middle becomes the middle of side × side pixels."""
    scale, angle = 0.75 / causes["height"], math.radians(causes["tilt"])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shape = np.array([[1 / causes["width"], causes["slant"]], [0, 1]])
    matrix = scale * shape @ turn  # from a place in the picture to one on the sheet, both from the middle
    offset = side - matrix @ (side / 2 + side * causes["shift"])
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    return sheet.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


@lru_cache(maxsize=1000)
def _glyph(font: int, weight: int, digit: int, tall: int) -> Image.Image:
    """One digit as a mask, cut to its own edges and made ``tall`` pixels high."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{FONTS[font]}.ttf")
    face = ImageFont.truetype(str(path), 2 * tall, layout_engine=ImageFont.Layout.BASIC)
    stroke = round(0.035 * weight * tall)
    left, top, right, bottom = face.getbbox(str(digit), stroke_width=stroke)
    mask = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), str(digit), fill=255, font=face, stroke_width=stroke)
    return mask.resize((max(1, round(mask.width * tall / mask.height)), tall), Image.Resampling.BOX)


@lru_cache
def _interpolation(side: int) -> np.ndarray:
    """Weights (side, 4) that spread four values smoothly over ``side`` pixels."""
    places, knots = np.linspace(0, 3, side)[:, None], np.arange(4)
    distance = np.clip(np.abs(places - knots), 0, 1)
    return 0.5 + 0.5 * np.cos(np.pi * distance)
