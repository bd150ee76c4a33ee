import io
from functools import partial

import ipywidgets
import matplotlib.pyplot as plt
import pytest
from helpers import keywords

from course_utils import widgets
from course_utils.plots import plot_curves
from course_utils.widgets import control, slider, static_twin


@pytest.fixture(autouse=True)
def _figures_are_closed():
    plt.close("all")
    yield
    assert plt.get_fignums() == []  # else a notebook would show every frame


VALUES = [0.5, 1.0, 2.0, 4.0]


def draw(value):
    return plot_curves([0, 1], {"line": [0, value]}, xlabel="x", ylabel=f"{value} x")


@pytest.fixture
def links(monkeypatch):
    made = []
    monkeypatch.setattr(ipywidgets, "jslink", lambda *ends: made.append(ends))
    return made


def test_there_is_one_frame_and_one_word_per_value(links):
    box = slider(draw, iter(VALUES), name="σ", label=lambda v: f"σ = {v}", start=2)
    (control, words), frames = box.children[0].children, box.children[1]
    assert len(frames.children) == len(words.children) == len(VALUES)
    assert [word.value for word in words.children] == ["σ = 0.5", "σ = 1.0", "σ = 2.0", "σ = 4.0"]
    assert (control.min, control.max, control.value, control.description) == (0, 3, 2, "σ")
    assert words.selected_index == frames.selected_index == 2
    pictures = [bytes(frame.value) for frame in frames.children]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures) and len(set(pictures)) == 4


def test_the_slider_is_linked_in_the_browser_to_words_and_frame(links):
    box = slider(draw, VALUES)
    (control, words), frames = box.children[0].children, box.children[1]
    assert links == [((control, "value"), (words, "selected_index")), ((control, "value"), (frames, "selected_index"))]


def test_the_links_are_widgets_that_a_page_can_store():
    box = slider(draw, VALUES[:2])
    control = box.children[0].children[0]
    instances = ipywidgets.Widget.get_manager_state()["state"].values()
    source = f"IPY_MODEL_{control.model_id}"
    linked = [w for w in instances if w["model_name"] == "LinkModel" and w["state"]["source"][0] == source]
    assert len(linked) == 2


def test_one_control_can_choose_in_several_stacks(links):
    stacks = [ipywidgets.Stack([ipywidgets.Label(value=text) for text in "ab"]) for _ in range(2)]
    handle, words = control("z2", ["-1", "+1"], 1, stacks).children
    assert (handle.description, handle.value, words.selected_index) == ("z2", 1, 1)
    assert links == [((handle, "value"), (stack, "selected_index")) for stack in (words, *stacks)]


@pytest.mark.parametrize(("values", "start"), [([], 0), (VALUES, 4), (VALUES, -1)])
def test_a_start_that_is_no_frame_is_refused(values, start):
    with pytest.raises(ValueError, match=f"start = {start}, but there are {len(values)} frames"):
        slider(draw, values, start=start)


def test_the_static_twin_shows_the_frames_side_by_side():
    figure = static_twin(draw, VALUES, label=lambda v: f"σ = {v}", columns=3)
    assert len(figure.axes) == 6
    assert [axis.get_title() for axis in figure.axes] == ["σ = 0.5", "σ = 1.0", "σ = 2.0", "σ = 4.0", "", ""]
    shown = [axis.images for axis in figure.axes]
    assert [len(images) for images in shown] == [1, 1, 1, 1, 0, 0]
    frame = plt.imread(io.BytesIO(widgets._png(draw(0.5))))
    assert (shown[0][0].get_array() == frame).all()


def test_a_static_twin_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        static_twin(draw, [])


def test_frames_are_drawn_by_every_kind_of_values():
    assert len(slider(draw, range(1, 4)).children[1].children) == 3


# ------------------------------------------------------------------------------------------- keywords


def _words(box):
    """The words beside the first slider."""
    return [word.value for word in box.children[0].children[1].children]


def _grid(figure):
    """Rows and columns of the axes of a figure."""
    return figure.axes[0].get_subplotspec().get_gridspec().get_geometry()


def _titles(figure):
    return [axis.get_title() for axis in figure.axes]


choose = partial(slider, draw, [1, 2])
twin = partial(static_twin, draw, [1, 2])

#: make, keyword, its value, what it changes (read from what is made), before and after.
KEYWORDS = [
    (choose, "name", "σ", lambda box: box.children[0].children[0].description, "", "σ"),
    (choose, "label", "σ = {}".format, _words, ["1", "2"], ["σ = 1", "σ = 2"]),
    (
        choose,
        "start",
        1,
        lambda box: (box.children[0].children[0].value, box.children[1].selected_index),
        (0, 0),
        (1, 1),
    ),
    (twin, "label", "σ = {}".format, _titles, ["1", "2"], ["σ = 1", "σ = 2"]),
    (twin, "columns", 1, _grid, (1, 2), (2, 1)),
    (partial(static_twin, draw, [1] * 4), "columns", 2, _grid, (2, 3), (2, 2)),
    (twin, "width", 5.0, lambda figure: figure.get_figwidth(), 2 * 3.6, 2 * 5.0),
]


@pytest.mark.parametrize(
    ("make", "keyword", "value", "read", "before", "after"),
    KEYWORDS,
    ids=[f"{make.func.__name__}-{keyword}" for make, keyword, *_ in KEYWORDS],
)
def test_each_keyword_changes_what_it_says(make, keyword, value, read, before, after):
    assert read(make()) == before
    assert read(make(**{keyword: value})) == after


def test_every_keyword_is_tried():
    assert keywords.optional(widgets) <= {(make.func.__name__, keyword) for make, keyword, *_ in KEYWORDS}
