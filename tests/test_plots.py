from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers import keywords
from matplotlib.colors import same_color, to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from course_utils import plots
from course_utils.plots import (
    CLASS_COLOURS,
    COLOURS,
    as_picture,
    plot_bars,
    plot_curves,
    plot_decoded_grid,
    plot_latents,
    show_images,
    show_rows,
    use_style,
)


@pytest.fixture(autouse=True)
def _figures_are_closed():
    plt.close("all")
    with plt.rc_context():
        yield
    assert plt.get_fignums() == []  # else a notebook would show them twice


def _place(figure, image) -> tuple[int, int]:
    """Find an image, pixel by pixel, in the one picture of a figure: its upper row and left column."""
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    windows = np.lib.stride_tricks.sliding_window_view(canvas, np.shape(image), axis=(0, 1))
    ((row, column),) = np.argwhere(np.isclose(windows, image).all(axis=(-2, -1)))
    return int(row), int(column)


# --------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (torch.rand(1, 3, 4), (3, 4)),
        (torch.rand(3, 5, 4), (5, 4, 3)),
        (np.random.rand(5, 4), (5, 4)),
        (np.random.rand(5, 4, 3), (5, 4, 3)),
        (np.random.rand(5, 4, 1), (5, 4)),
    ],
)
def test_one_image_of_every_layout(image, shape):
    assert as_picture(image).shape == shape


def test_bytes_are_scaled_and_floats_clipped():
    assert as_picture(np.array([[0, 51, 255]], np.uint8)).tolist() == [[0, 0.2, 1]]
    assert as_picture(torch.tensor([[-1.0, 0.5, 2.0]], requires_grad=True)).tolist() == [[0, 0.5, 1]]


@pytest.mark.parametrize("shape", [(4,), (2, 5, 4), (5, 4, 2), (1, 1, 5, 4)])
def test_what_is_no_image_is_refused_with_its_shape(shape):
    with pytest.raises(ValueError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
        as_picture(np.zeros(shape))


def test_every_image_is_shown_once_and_unchanged():
    images = torch.rand(7, 1, 12, 10)
    figure = show_images(images, columns=3, titles=list("abcdefg"), title="seven")
    (axis,) = figure.axes
    places = [_place(figure, image[0]) for image in images]
    assert places == sorted(places)  # row after row
    assert [len({row for row, _ in places}), len({column for _, column in places})] == [3, 3]
    canvas = np.asarray(axis.images[0].get_array())
    assert canvas.sum() - float(images.sum()) == pytest.approx(canvas.size - images.numel(), rel=1e-5)  # else white
    assert axis.images[0].get_clim() == (0, 1)  # dark stays dark: nothing is stretched
    assert axis.get_title() == "seven" and [text.get_text() for text in axis.texts] == list("abcdefg")
    for (row, column), text in zip(places, axis.texts, strict=True):
        assert text.get_position() == (pytest.approx(column + 5), pytest.approx(row, abs=1))


def test_grey_and_coloured_images_can_stand_side_by_side():
    grey, coloured = torch.rand(1, 12, 10), torch.rand(3, 12, 10)
    canvas = np.asarray(show_images([grey, coloured]).axes[0].images[0].get_array())
    np.testing.assert_allclose(canvas[-12:, :10], grey[0][..., None].expand(-1, -1, 3))
    np.testing.assert_allclose(canvas[-12:, -10:], coloured.permute(1, 2, 0))


def test_pictures_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"different sizes: \[\(4, 4\), \(5, 5\)\]"):
        show_images([np.zeros((4, 4)), np.zeros((5, 5))])


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="no images"):
        show_images(torch.zeros(0, 1, 4, 4))
    with pytest.raises(ValueError, match="no rows"):
        show_rows({})


def test_rows_carry_their_names_and_stay_in_order():
    rows = {"original": torch.rand(12, 1, 12, 10), "reconstruction": torch.rand(6, 1, 12, 10)}
    figure = show_rows(rows, columns=10)
    places = {name: [_place(figure, image[0]) for image in images[:6]] for name, images in rows.items()}
    above, below = places["original"], places["reconstruction"]
    assert [column for _, column in above] == [column for _, column in below] == sorted(c for _, c in above)
    width = figure.axes[0].images[0].get_array().shape[1]
    assert width < 7 * 10  # as many columns as the shorter row has images
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["original", "reconstruction"]
    middles = [row + 5.5 for row, _ in (above[0], below[0])]  # of pictures 12 pixels high, the first at 0
    assert figure.axes[0].get_yticks().tolist() == middles


# --------------------------------------------------------------------------------------------- curves


def test_curves_of_several_runs_are_their_mean_and_a_band_of_one_deviation():
    runs = np.array([[1.0, 2.0, 4.0], [3.0, 2.0, 0.0]])
    figure = plot_curves(
        [1, 2, 4], {"pca": runs[0], "mine": runs}, xlabel="d", ylabel="error", log="x", colours={"mine": "red"}
    )
    (axis,) = figure.axes
    pca, mine = axis.lines
    assert list(pca.get_ydata()) == [1, 2, 4] and pca.get_color() == COLOURS["pca"]
    assert list(mine.get_ydata()) == [2, 2, 2] and mine.get_color() == "red"
    assert pca.get_marker() != mine.get_marker()
    edges = axis.collections[1].get_paths()[0].vertices[:, 1]
    deviation = runs.std(0, ddof=1)
    assert edges.min() == pytest.approx(2 - deviation.max()) and edges.max() == pytest.approx(2 + deviation.max())
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "linear")
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["1", "2", "4"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("d", "error")


def test_a_curve_of_another_length_is_named():
    with pytest.raises(ValueError, match="'short' has 2 values, expected 3"):
        plot_curves([1, 2, 3], {"short": [1, 2]}, xlabel="", ylabel="")


# --------------------------------------------------------------------------------------------- latents


def test_codes_are_drawn_where_they_lie_in_the_colour_of_their_class():
    codes, labels = torch.tensor([[0.0, 1.0], [2.0, 3.0], [0.0, 3.0]]), torch.tensor([3, 7, 3])
    (axis,) = plot_latents(codes, labels, title="codes").axes
    np.testing.assert_allclose(axis.collections[0].get_offsets(), codes)
    np.testing.assert_allclose(axis.collections[0].get_facecolors()[:2, :3], [to_rgb(CLASS_COLOURS[k]) for k in (3, 7)])
    assert {text.get_text(): text.get_position() for text in axis.texts} == {"3": (0.0, 2.0), "7": (2.0, 3.0)}
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title()) == ("$z_1$", "$z_2$", "codes")


#: Linear RGB as eyes see it that lack one kind of cone: Machado, Oliveira & Fernandes 2009, severity 1.
EYES = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def least_difference(colours, eyes) -> float:
    """The least CIEDE2000 difference of any two colours."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(eyes), 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    first, second = np.triu_indices(len(colours), 1)
    return float(deltaE_ciede2000(lab[first], lab[second]).min())


@pytest.mark.parametrize("eyes", EYES)
def test_ten_classes_have_ten_colours_in_every_eye(eyes):
    assert len(CLASS_COLOURS) == 10 and least_difference(CLASS_COLOURS, EYES[eyes]) > 15


@pytest.mark.parametrize("eyes", EYES)
def test_things_that_recur_have_colours_of_their_own_in_every_eye(eyes):
    assert least_difference(sorted(set(COLOURS.values())), EYES[eyes]) > 8


def test_a_rainbow_would_not_do():
    rainbow = plt.get_cmap("tab10")(range(10))[:, :3]
    assert min(least_difference(rainbow, eyes) for eyes in EYES.values()) < 8


def test_of_many_codes_only_some_are_drawn():
    (axis,) = plot_latents(np.random.rand(50, 2), np.zeros(50), limit=20).axes
    assert len(axis.collections[0].get_offsets()) == 20


@pytest.mark.parametrize(
    ("codes", "labels", "message"),
    [((5, 3), 5, r"\(5, 3\)"), ((5, 2), 4, r"\(5, 2\), labels \(4,\); expected"), ((5, 2), (5, 1), r"labels \(5, 1\)")],
)
def test_codes_that_do_not_fit_are_refused(codes, labels, message):
    with pytest.raises(ValueError, match=message):
        plot_latents(np.zeros(codes), np.zeros(labels))


def test_decoded_images_lie_at_their_codes():
    """z2 grows upwards, z1 to the right; image k = row · columns + column is filled with k / 6."""
    images = torch.arange(6.0)[:, None, None, None].expand(6, 1, 4, 4) / 6
    (axis,) = plot_decoded_grid(images, z1=[-1, 0, 1], z2=[0, 2]).axes
    canvas = np.asarray(axis.images[0].get_array())
    assert canvas.shape == (8, 12)
    np.testing.assert_allclose(canvas[::4, ::4], np.array([[3, 4, 5], [0, 1, 2]]) / 6)
    assert list(axis.images[0].get_extent()) == [-1.5, 1.5, -1, 3]


def test_a_grid_with_too_few_images_is_refused():
    with pytest.raises(ValueError, match="5 images for a grid of 2 × 3"):
        plot_decoded_grid(torch.zeros(5, 1, 4, 4), [0, 1, 2], [0, 1])


# --------------------------------------------------------------------------------------------- bars


def test_bars_stand_side_by_side_at_the_mean_of_the_runs_with_their_deviation():
    runs = np.array([[1.0, 4.0], [3.0, 2.0]])
    (axis,) = plot_bars(["left", "right"], {"several": runs, "pca": torch.tensor([5.0, 6.0])}, ylabel="error").axes
    boxes = [[(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in box] for box in _bars(axis)]
    assert [[height for _, _, height in row] for row in boxes] == [[2, 3], [5, 6]]
    for group in (0, 1):
        (start, middle, _), (next_start, end, _) = (row[group] for row in boxes)
        assert group - 0.5 < start < middle <= next_start < end < group + 0.5
        assert start + end == pytest.approx(2 * group)
    errorbar, none = (box.errorbar for box in _bars(axis))
    lines = [line[:, 1] for line in errorbar.lines[2][0].get_segments()]
    np.testing.assert_allclose(lines, [[m - s, m + s] for m, s in zip(runs.mean(0), runs.std(0, ddof=1), strict=True)])
    assert none is None  # one run has no spread
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["left", "right"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["several", "pca"]


def test_heights_are_written_above_their_bars():
    figure = plot_bars("ab", {"one": [1.0, 2.0], "two": [[3.0, 0.5], [5.0, 1.5]]}, ylabel="", form=".1f")
    figure.draw_without_rendering()
    (axis,) = figure.axes
    bars = [bar for box in _bars(axis) for bar in box]
    assert [text.get_text() for text in axis.texts] == ["1.0", "2.0", "4.0", "1.0"]
    for bar, text in zip(bars, axis.texts, strict=True):
        place, box = text.get_window_extent(), bar.get_window_extent()
        assert place.y0 >= box.y1 and place.x0 + place.x1 == pytest.approx(box.x0 + box.x1, abs=1)


def test_bars_for_other_groups_are_named():
    with pytest.raises(ValueError, match="'short' has 2 values, expected 3"):
        plot_bars("abc", {"short": [1, 2]}, ylabel="")


# --------------------------------------------------------------------------------------------- keywords


def _bars(axis):
    return [box for box in axis.containers if hasattr(box, "patches")]


def _columns(figure):
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    return int((canvas < 1).any(0).sum() / 4)  # of black pictures 4 pixels wide


def _line(figure, k):
    return figure.axes[0].lines[k]


def _scales(figure):
    return figure.axes[0].get_xscale(), figure.axes[0].get_yscale()


def _title(figure):
    return figure.axes[0].get_title()


def _texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def _inches_per_image(figure):
    """Width of the figure for six images, less that for five."""
    return round(figure.get_figwidth(), 3)


def _bar_colours(figure):
    return [box.patches[0].get_facecolor() for box in _bars(figure.axes[0])]


BLACK = np.zeros((12, 50, 50))
images = partial(show_images, np.zeros((12, 4, 4)))
rows = partial(show_rows, {"a": np.zeros((12, 4, 4)), "b": np.zeros((12, 4, 4))})
curves = partial(plot_curves, [1, 2], {"one": [1, 2], "vae": [3, 1]}, xlabel="x", ylabel="y")
bars = partial(plot_bars, "ab", {"one": [1, 2], "vae": [3, 1]}, ylabel="y")
latents = partial(plot_latents, np.arange(12.0).reshape(6, 2), [0, 1, 2] * 2)
grid = partial(plot_decoded_grid, np.zeros((4, 2, 2)), [0, 1], [0, 1])

#: draw, keyword, its value, what it changes (read from the figure), before and after.
KEYWORDS = [
    (images, "columns", 3, _columns, 10, 3),
    (images, "titles", list("abcdefghijkl"), _texts, [], list("abcdefghijkl")),
    (images, "title", "all", _title, "", "all"),
    (partial(show_images, BLACK), "scale", 1.5, _inches_per_image, 0.1 + 0.9 * 536 / 54, 0.1 + 1.5 * 536 / 54),
    (rows, "columns", 3, _columns, 10, 3),
    (rows, "title", "all", _title, "", "all"),
    (partial(show_rows, {"a": BLACK}), "scale", 1.5, _inches_per_image, 0.2 + 0.9 * 536 / 54, 0.2 + 1.5 * 536 / 54),
    (curves, "xlabel", "d", lambda f: f.axes[0].get_xlabel(), "x", "d"),
    (curves, "ylabel", "error", lambda f: f.axes[0].get_ylabel(), "y", "error"),
    (curves, "colours", {"one": "red"}, lambda f: _line(f, 0).get_color(), "C0", "red"),
    (curves, "colours", {"vae": "red"}, lambda f: _line(f, 1).get_color(), COLOURS["vae"], "red"),
    (curves, "log", "x", _scales, ("linear", "linear"), ("log", "linear")),
    (curves, "log", "y", _scales, ("linear", "linear"), ("linear", "log")),
    (curves, "log", "xy", _scales, ("linear", "linear"), ("log", "log")),
    (curves, "title", "all", _title, "", "all"),
    (bars, "ylabel", "error", lambda f: f.axes[0].get_ylabel(), "y", "error"),
    (bars, "xlabel", "digit", lambda f: f.axes[0].get_xlabel(), "", "digit"),
    (bars, "colours", {"vae": "red"}, lambda f: same_color(_bar_colours(f), ["C0", "red"]), False, True),
    (bars, "colours", {}, lambda f: same_color(_bar_colours(f), ["C0", COLOURS["vae"]]), True, True),
    (bars, "form", ".2f", _texts, [], ["1.00", "2.00", "3.00", "1.00"]),
    (bars, "log", True, _scales, ("linear", "linear"), ("linear", "log")),
    (bars, "title", "all", _title, "", "all"),
    (latents, "title", "all", _title, "", "all"),
    (
        latents,
        "limit",
        4,
        lambda f: f.axes[0].collections[0].get_offsets()[:, 0].tolist(),
        [0, 2, 4, 6, 8, 10],
        [0, 2, 6, 10],
    ),
    (grid, "title", "all", _title, "", "all"),
]


@pytest.mark.parametrize(
    ("draw", "keyword", "value", "read", "before", "after"),
    KEYWORDS,
    ids=[
        f"{draw.func.__name__}-{keyword}={value if np.isscalar(value) else '…'}"
        for draw, keyword, value, *_ in KEYWORDS
    ],
)
def test_each_keyword_changes_what_it_says(draw, keyword, value, read, before, after):
    near = pytest.approx if isinstance(before, float) else lambda value, **_: value
    assert read(draw()) == near(before, abs=1e-3)
    assert read(draw(**{keyword: value})) == near(after, abs=1e-3)


AXIS = [curves, bars, latents, grid]


@pytest.mark.parametrize("draw", AXIS, ids=lambda draw: draw.func.__name__)
def test_figures_can_go_into_axes_that_are_there(draw):
    alone = draw(title="right").axes[0]
    figure, (left, right) = plt.subplots(1, 2)
    ticks = left.get_xticks().tolist()
    assert draw(title="right", axis=right) is figure
    assert not left.has_data() and left.get_xticks().tolist() == ticks
    assert [type(artist) for artist in right.get_children()] == [type(artist) for artist in alone.get_children()]
    for read in ("get_title", "get_xlabel", "get_ylabel", "get_aspect", "get_xscale"):
        assert getattr(right, read)() == getattr(alone, read)()
    assert right.dataLim.bounds == alone.dataLim.bounds


def test_every_keyword_is_tried():
    tried = {(draw.func.__name__, keyword) for draw, keyword, *_ in KEYWORDS}
    tried |= {(draw.func.__name__, "axis") for draw in AXIS}
    assert keywords.optional(plots) <= tried


# --------------------------------------------------------------------------------------------- style


def test_the_style_is_set_for_every_figure():
    use_style()
    assert plt.rcParams["font.size"] >= 12 and plt.rcParams["image.cmap"] == "gray"


def test_korean_words_are_drawn_where_a_font_has_them(monkeypatch):
    monkeypatch.setattr(plots.font_manager, "get_font_names", lambda: ["NanumGothic", "DejaVu Sans"])
    with plt.rc_context():
        use_style()
        assert plt.rcParams["font.family"] == ["DejaVu Sans", "NanumGothic"]


def test_an_empty_row_and_a_grid_of_one_column_are_refused_by_name():
    with pytest.raises(ValueError, match="'empty'"):
        show_rows({"full": torch.rand(3, 4, 4), "empty": torch.rand(0, 4, 4)})
    with pytest.raises(ValueError, match="2 × 1"):
        plot_decoded_grid(torch.rand(2, 4, 4), [0.0], [0.0, 1.0])
