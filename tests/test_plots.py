import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from course_utils.plots import (
    CLASS_COLOURS,
    COLOURS,
    as_picture,
    normal_quantiles,
    plot_arrows,
    plot_curves,
    plot_decoded_grid,
    plot_history,
    plot_latents,
    plot_manifold,
    plot_prerequisites,
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


@pytest.mark.parametrize("shape", [(4,), (2, 5, 4), (1, 1, 5, 4)])
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
    with pytest.raises(ValueError, match=r"different sizes: \(5, 5\) and \(4, 4\)"):
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
    labels = [(label.get_text(), label.get_position()[1]) for label in figure.axes[0].get_yticklabels()]
    assert labels == [("original", pytest.approx(above[0][0] + 6, abs=1)),
                      ("reconstruction", pytest.approx(below[0][0] + 6, abs=1))]  # fmt: skip


# --------------------------------------------------------------------------------------------- curves

HISTORY = [
    {"epoch": 1, "loss": 3.0, "kl": 1.0, "seconds": 0.1, "images_per_second": 9.0, "valid_loss": 3.5, "valid_kl": 1.1},
    {"epoch": 2, "loss": 2.0, "kl": 1.5, "seconds": 0.1, "images_per_second": 9.0, "valid_loss": 2.5, "valid_kl": 1.6},
]


def test_a_history_is_drawn_term_by_term_train_beside_valid():
    figure = plot_history(HISTORY, unit="nats")
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss (nats)", "kl (nats)"]
    for axis, name in zip(figure.axes, ("loss", "kl"), strict=True):
        train, valid = axis.lines
        assert list(train.get_xdata()) == [1, 2] and axis.get_xlabel() == "epoch"
        assert list(train.get_ydata()) == [row[name] for row in HISTORY]
        assert list(valid.get_ydata()) == [row[f"valid_{name}"] for row in HISTORY]
        assert [text.get_text() for text in axis.get_legend().get_texts()] == ["train", "valid"]
        assert train.get_color() == COLOURS["train"] and train.get_linestyle() != valid.get_linestyle()


def test_chosen_terms_without_validation():
    figure = plot_history([{"epoch": 1, "loss": 3.0, "kl": 1.0}], terms=["kl"])
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 1
    assert figure.axes[0].get_ylabel() == "kl"


def test_a_history_that_lacks_something_is_refused():
    with pytest.raises(ValueError, match="empty"):
        plot_history([])
    with pytest.raises(ValueError, match=r"no term 'elbo'; it has \['loss', 'kl'\]"):
        plot_history(HISTORY, terms=["elbo"])


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


def test_curves_can_go_into_axes_that_are_there():
    figure, axes = plt.subplots(1, 2)
    assert plot_curves([0, 1], {"a": [1, 2]}, xlabel="", ylabel="", axis=axes[1], title="right") is figure
    assert axes[1].get_title() == "right" and not axes[0].lines


def test_a_curve_of_another_length_is_named():
    with pytest.raises(ValueError, match="curve 'short' has 2 points, x has 3"):
        plot_curves([1, 2, 3], {"short": [1, 2]}, xlabel="", ylabel="")


# --------------------------------------------------------------------------------------------- latents


def test_codes_are_drawn_where_they_lie_in_the_colour_of_their_class():
    codes, labels = torch.tensor([[0.0, 1.0], [2.0, 3.0], [0.0, 3.0]]), torch.tensor([3, 7, 3])
    (axis,) = plot_latents(codes, labels, classes=list("abcdefgh"), title="codes").axes
    np.testing.assert_allclose(axis.collections[0].get_offsets(), codes)
    from matplotlib.colors import to_rgb

    np.testing.assert_allclose(axis.collections[0].get_facecolors()[:2, :3], [to_rgb(CLASS_COLOURS[k]) for k in (3, 7)])
    assert {text.get_text(): text.get_position() for text in axis.texts} == {"d": (0.0, 2.0), "h": (2.0, 3.0)}
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title()) == ("$z_1$", "$z_2$", "codes")


def test_of_many_codes_only_some_are_drawn():
    (axis,) = plot_latents(np.random.rand(50, 2), np.zeros(50), limit=20).axes
    assert len(axis.collections[0].get_offsets()) == 20


@pytest.mark.parametrize(
    ("codes", "labels", "message"), [((5, 3), 5, r"\(5, 3\)"), ((5, 2), 4, "5 codes, but 4 labels")]
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


# --------------------------------------------------------------------------------------------- style


def test_chapters_stand_to_the_right_of_what_they_need():
    chapters = [
        {"name": "00_start", "title": "Start", "needs": []},
        {"name": "01_one", "title": "One", "needs": ["00_start"]},
        {"name": "02_two", "title": "Two", "needs": ["00_start"], "planned": True},
        {"name": "03_three", "title": "Three", "needs": ["00_start", "02_two"]},
    ]
    (axis,) = plot_prerequisites(chapters).axes
    boxes = {text.get_text(): text for text in axis.texts if text.get_text()}
    x = {name.split("\n")[1]: text.get_position()[0] for name, text in boxes.items()}
    assert x["Start"] < x["One"] == x["Two"] < x["Three"]
    assert len({text.get_position() for text in boxes.values()}) == len(axis.patches) == 4
    arrows = [text for text in axis.texts if not text.get_text()]
    assert len(arrows) == 4 and all(arrow.xyann[0] < arrow.xy[0] for arrow in arrows)
    assert boxes["02\nTwo"].get_color() != boxes["01\nOne"].get_color()
    with pytest.raises(ValueError, match=r"'03_three' needs \['02_two'\]"):
        plot_prerequisites([chapters[0], chapters[3]])


def test_the_style_is_set_for_every_figure():
    use_style()
    assert plt.rcParams["font.size"] >= 12 and plt.rcParams["image.cmap"] == "gray"


def test_ten_classes_have_ten_colours():
    assert len(set(CLASS_COLOURS)) == 10


def test_an_empty_row_and_a_grid_of_one_column_are_refused_by_name():
    with pytest.raises(ValueError, match="'empty'"):
        show_rows({"full": torch.rand(3, 4, 4), "empty": torch.rand(0, 4, 4)})
    with pytest.raises(ValueError, match="2 × 1"):
        plot_decoded_grid(torch.rand(2, 4, 4), [0.0], [0.0, 1.0])


# ------------------------------------------------------------------------------ manifold and arrows


def test_quantiles_cut_the_normal_into_equal_shares():
    z = normal_quantiles(7)
    shares = torch.distributions.Normal(0.0, 1.0).cdf(z)
    torch.testing.assert_close(shares, (torch.arange(7) + 0.5) / 7)
    with pytest.raises(ValueError, match="count = 1"):
        normal_quantiles(1)


def test_each_image_of_the_manifold_stands_at_its_code():
    """The decoder writes its code into the picture; reading the figure back gives the grid of codes."""
    figure = plot_manifold(lambda z: (z[:, :, None] / 4 + 0.5).unsqueeze(1), count=4)  # images of 2 × 1 pixels
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (8, 4)
    z = normal_quantiles(4).numpy()
    for row in range(4):  # the upper row has the largest z2
        np.testing.assert_allclose((shown[2 * row] - 0.5) * 4, z, atol=1e-5)
        np.testing.assert_allclose((shown[2 * row + 1] - 0.5) * 4, z[3 - row], atol=1e-5)
    axis = figure.axes[0]
    names = dict(zip(axis.get_xticks(), [t.get_text() for t in axis.get_xticklabels()], strict=True))
    assert all(float(name) == pytest.approx(z[int(place)], abs=0.06) for place, name in names.items())


def test_a_manifold_needs_one_image_per_code():
    with pytest.raises(ValueError, match="3 images for a grid of 4 × 4"):
        plot_manifold(lambda z: torch.zeros(3, 1, 2, 2), count=4)


def test_arrows_start_at_their_points_and_are_as_long_as_asked():
    points, arrows = np.random.rand(5, 2), np.random.rand(5, 2)
    figure = plot_arrows(torch.tensor(points), arrows, background=np.zeros((3, 2)), scale=2.0)
    dots, quiver = figure.axes[0].collections
    np.testing.assert_allclose(quiver.get_offsets(), points)
    np.testing.assert_allclose(np.stack([quiver.U, quiver.V], 1), 2 * arrows)
    assert (quiver.angles, quiver.scale_units, quiver.scale) == ("xy", "xy", 1)
    assert len(dots.get_offsets()) == 3


@pytest.mark.parametrize(("points", "arrows"), [((4, 2), (3, 2)), ((4, 3), (4, 3)), ((4,), (4,))])
def test_arrows_of_other_shapes_are_refused(points, arrows):
    with pytest.raises(ValueError, match="expected both"):
        plot_arrows(np.zeros(points), np.zeros(arrows))
