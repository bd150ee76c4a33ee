"""Diagrams: boxes of the text's size where they were asked for, arrows from edge to edge, and unknown names refused."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import same_color

from course_utils.diagrams import SHAPES, draw_diagram
from course_utils.plots import COLOURS

BOXES = {"a": (1, 1, "encoder", "model", "narrowing"), "b": (4, 1, "code\n$z$", "pca"), "c": (4, 2, "noise", "wrong")}


def texts(figure):
    return {text.get_text(): text for text in figure.axes[0].texts}


def test_boxes_stand_where_asked_in_their_colour_and_shape():
    figure = draw_diagram(BOXES, [], size=(6, 3))
    assert tuple(figure.get_size_inches()) == (6, 3) and not plt.get_fignums()
    first, second, _ = figure.axes[0].patches
    assert same_color(first.get_edgecolor(), COLOURS["model"]) and same_color(second.get_edgecolor(), COLOURS["pca"])
    np.testing.assert_allclose(first.get_xy()[:-1].mean(0), (1, 1))
    left, right = np.ptp(first.get_xy()[[0, 3], 1]), np.ptp(first.get_xy()[[1, 2], 1])
    assert left > right, "an encoder narrows to the right"
    assert texts(figure)["encoder"].get_position() == (1, 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_box_holds_its_text(shape):
    boxes = {"a": (3, 2, "a rather long text\nin two lines", "model", shape)}
    figure = draw_diagram(boxes, [], size=(6, 4))
    figure.canvas.draw()
    inside = texts(figure)["a rather long text\nin two lines"].get_window_extent()
    around = figure.axes[0].patches[0].get_window_extent()
    assert around.x0 <= inside.x0 and inside.x1 <= around.x1 and around.y0 <= inside.y0 and inside.y1 <= around.y1


def test_arrows_go_from_edge_to_edge_with_label_and_style():
    figure = draw_diagram(BOXES, [("a", "b", "z = h(x)", "--"), ("c", "b")], size=(6, 3))
    first, _, second = [text for text in figure.axes[0].texts if not text.get_text() or text.get_text() == "z = h(x)"]
    assert first.arrow_patch.get_linestyle() == "--" and second.arrow_patch.get_linestyle() == "-"
    box = figure.axes[0].patches[0].get_xy()
    assert first.xyann[0] == pytest.approx(box[:, 0].max()) and first.xyann[1] == pytest.approx(1)
    assert texts(figure)["z = h(x)"].get_position()[1] > 1, "the label stands above a level arrow"
    assert second.xyann[0] == pytest.approx(4) and second.xy[1] < second.xyann[1]


def test_text_alone_title_and_size_of_the_letters():
    figure = draw_diagram({"a": (1, 1, "pixels", "data", "plain")}, [], size=(3, 2), title="What it does", fontsize=14)
    assert not figure.axes[0].patches
    assert texts(figure)["pixels"].get_fontsize() == 14 and "What it does" in texts(figure)


@pytest.mark.parametrize(
    ("boxes", "arrows", "words"),
    [
        (BOXES, [("a", "d")], "an arrow leads to 'd', which is none of a, b, c"),
        ({"a": (1, 1, "x", "green")}, [], "box 'a' has the colour 'green'"),
        ({"a": (1, 1, "x", "model", "circle")}, [], "the shape 'circle'"),
    ],
)
def test_unknown_names_are_refused(boxes, arrows, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        draw_diagram(boxes, arrows, size=(6, 3))
    plt.close("all")
