"""The pictures depend on seed and index alone, show what their factors say, and resemble real crops."""

import re

import numpy as np
import pytest

from course_utils import street_digits as module
from course_utils.street_digits import FONTS, PLACES, street_digits

N = 400


@pytest.fixture(scope="module")
def drawn():
    return street_digits(N)


def test_shapes_types_and_ranges(drawn):
    images, labels, factors = drawn
    assert images.shape == (N, 3, 32, 32) and images.dtype == np.uint8
    assert labels.shape == (N,) and labels.dtype == np.int64
    wide = {"neighbours": 4, "background": 3, "foreground": 3, "wall": 3, "shift": 2, "shadow": 2}
    shapes = {name: values.shape for name, values in factors.items()}
    assert shapes == {name: (N, wide[name]) if name in wide else (N,) for name in factors}
    for name in ("background", "foreground", "wall"):
        assert factors[name].min() >= 0 and factors[name].max() <= 1
    assert set(factors["font"]) == set(range(len(FONTS))) and set(factors["weight"]) == {0, 1, 2}


def test_every_factor_is_in_the_docstring_and_the_other_way_round(drawn):
    words = set(re.findall("``([a-z]+)``", street_digits.__doc__.partition("The factors are")[2]))
    assert words - {"size"} == set(drawn[2])


def test_picture_i_depends_on_seed_and_i_alone(drawn):
    images, labels, factors = street_digits(25)
    assert np.array_equal(images, drawn[0][:25]) and np.array_equal(labels, drawn[1][:25])
    assert all(np.array_equal(factors[name], drawn[2][name][:25]) for name in factors)
    other, other_labels, _ = street_digits(25, seed=1)
    assert not np.array_equal(labels, other_labels)
    assert (images != other).any(axis=(1, 2, 3)).all()


def test_the_seed_is_0_and_the_size_32_if_none_is_given(drawn):
    assert np.array_equal(street_digits(5, seed=0, size=32)[0], drawn[0][:5])


def test_no_two_pictures_are_alike(drawn):
    assert len(np.unique(drawn[0].reshape(N, -1), axis=0)) == N


def test_the_label_is_the_digit_and_every_ten_hold_all_ten(drawn):
    _, labels, factors = drawn
    assert np.array_equal(labels, factors["digit"])
    assert (np.sort(labels.reshape(-1, 10), axis=1) == np.arange(10)).all()


def test_neighbours_stand_side_by_side(drawn):
    neighbours = drawn[2]["neighbours"]
    assert neighbours.min() == -1 and neighbours.max() == 9
    there = neighbours >= 0
    outer, inner = [PLACES.index(-2), PLACES.index(2)], [PLACES.index(-1), PLACES.index(1)]
    assert (there[:, outer] <= there[:, inner]).all()  # none stands two places off without one between
    assert 0.45 < there[:, inner].mean() < 0.65


def test_colour_and_contrast_can_be_read_from_the_pictures(drawn):
    images, _, factors = drawn
    calm = (factors["plate"] == 0) & (factors["shade"] < 0.03)
    corners = images[calm][:, :, [0, 0, -1, -1], [0, -1, 0, -1]] / 255
    error = np.abs(np.median(corners, axis=2) - factors["background"][calm])
    assert np.median(error) < 0.03
    light = images.mean(1) / 255
    middle = light[:, 6:26, 11:21].reshape(N, -1)
    ground = factors["background"].mean(1)[:, None]
    ink = np.take_along_axis(middle, np.abs(middle - ground).argmax(1)[:, None], 1) - ground
    clear = (np.abs(factors["contrast"]) > 0.25) & (factors["blur"] < 0.03) & (factors["plate"] == 0)
    assert (np.sign(ink[clear, 0]) == np.sign(factors["contrast"][clear])).mean() > 0.95


def _causes(**changes) -> dict:
    """A clean black eight on white, without neighbours; changed as asked."""
    plain = dict.fromkeys(("tilt", "slant", "plate", "blur", "shade", "noise"), 0.0)
    plain |= {"digit": 8, "font": 0, "weight": 1, "width": 1.0, "height": 0.6, "spacing": 0.1, "resolution": 32}
    plain |= {"neighbours": np.full(4, -1), "shift": np.zeros(2), "shadow": np.zeros(2)}
    plain |= {"background": np.ones(3), "wall": np.ones(3) / 2, "foreground": np.zeros(3)}
    return plain | changes


def _ink(size=32, **changes) -> np.ndarray:
    picture = module._photograph(_causes(**changes), size, np.random.default_rng(0))
    return 1 - picture.mean(2) / 255


@pytest.mark.parametrize("height", [0.5, 0.7, 0.9])
def test_height_and_place_are_what_the_factors_say(height):
    rows = np.flatnonzero(_ink(height=height).max(1) > 0.5)
    assert len(rows) == pytest.approx(32 * height, abs=1.5)
    assert rows.mean() == pytest.approx(15.5, abs=0.6)
    shifted = np.flatnonzero(_ink(height=0.5, shift=np.array([0.1, -0.1])).max(1) > 0.5)
    assert shifted.mean() == pytest.approx(15.5 - 3.2, abs=0.6)
    columns = np.flatnonzero(_ink(height=0.5, shift=np.array([0.1, -0.1])).max(0) > 0.5)
    assert columns.mean() == pytest.approx(15.5 + 3.2, abs=0.6)


def _lean(ink: np.ndarray) -> float:
    """How many columns to the right the ink moves per row upwards."""
    y, x = np.mgrid[: len(ink), : len(ink)]
    x, y = x - (ink * x).sum() / ink.sum(), y - (ink * y).sum() / ink.sum()
    return float(-(ink * x * y).sum() / (ink * y * y).sum())


def test_tilt_turns_counter_clockwise_and_slant_leans_to_the_right():
    assert abs(_lean(_ink())) < 0.02
    assert _lean(_ink(tilt=10.0)) < -0.05 and _lean(_ink(tilt=-10.0)) > 0.05
    assert _lean(_ink(slant=0.2)) == pytest.approx(0.2, abs=0.05)
    assert _lean(_ink(slant=-0.2)) == pytest.approx(-0.2, abs=0.05)


def test_each_difficulty_does_what_its_name_says():
    plain = _ink()
    assert _ink(width=0.6).sum() < 0.75 * plain.sum() and _ink(weight=2).sum() > 1.05 * plain.sum()
    assert np.abs(np.diff(_ink(blur=0.05))).max() < 0.6 * np.abs(np.diff(plain)).max()
    assert np.abs(np.diff(_ink(resolution=10))).max() < 0.8 * np.abs(np.diff(plain)).max()
    grey = {"background": np.full(3, 0.6)}
    assert _ink(**grey)[:4].std() < 1e-6
    assert _ink(noise=0.1, **grey)[:4].std() > 0.03 and _ink(shade=0.1, **grey)[:4].std() > 0.01
    assert _ink(neighbours=np.array([-1, 5, 5, -1]))[8:24, [0, -1]].max() > 0.5 > plain[:, [0, -1]].max()
    assert _ink(plate=0.1)[0].min() == pytest.approx(0.5, abs=0.02)  # the wall shows around the plate
    assert _ink(shadow=np.array([0.06, 0.06])).sum() > 1.05 * plain.sum()


@pytest.mark.parametrize("size", [8, 31, 64])
def test_other_sizes_show_the_same_scene(size):
    images, labels, _ = street_digits(20, size=size)
    assert images.shape == (20, 3, size, size)
    assert np.array_equal(labels, street_digits(20)[1])
    big, usual = _ink(size=64, tilt=5.0), _ink(tilt=5.0)
    assert np.abs(big.reshape(32, 2, 32, 2).mean((1, 3)) - usual).mean() < 0.03


@pytest.mark.parametrize(("n", "options"), [(0, {}), (-1, {}), (10, {"seed": -1}), (10, {"size": 4})])
def test_impossible_arguments_are_named(n, options):
    with pytest.raises(ValueError, match=f"{next(iter(options.values()), n)}"):
        street_digits(n, **options)


def _numbers(images: np.ndarray) -> np.ndarray:
    """Brightness, its spread, contrast within pictures and edge strength: (4,)."""
    light = images.mean(1) / 255
    edges = np.abs(np.diff(light, axis=1)).mean() + np.abs(np.diff(light, axis=2)).mean()
    return np.array([light.mean(), light.std(), light.std((1, 2)).mean(), edges])


def test_brightness_contrast_and_edges_are_those_of_real_crops(drawn, real_crops):
    with np.load(real_crops) as arrays:
        real = arrays["images"][::5].transpose(0, 3, 1, 2)
    ratio = _numbers(drawn[0]) / _numbers(real)
    assert (abs(ratio - 1) < 0.15).all(), ratio.round(2)
