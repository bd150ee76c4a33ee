"""Rows become aligned text or Markdown; the README's tables are tested in test_readme."""

import pytest

from course_utils.tools.tables import as_markdown, as_text

ROWS = [["model", "nats ↑", "far"], ["a", "−1.5", "20"], ["the best", "240.25", ""]]


def test_text_has_names_to_the_left_and_numbers_to_the_right():
    assert as_text(ROWS).splitlines() == [
        "model     nats ↑  far",
        "a           −1.5   20",
        "the best  240.25",
    ]


@pytest.mark.parametrize(("align", "line"), [("<<", "a         −1.5     20"), (">><", "       a    −1.5  20")])
def test_sides_can_be_chosen_for_each_column(align, line):
    assert as_text(ROWS, align).splitlines()[1] == line


def test_markdown_has_a_head_and_a_rule():
    assert as_markdown(ROWS).splitlines()[:3] == [
        "| model | nats ↑ | far |",
        "| --- | --- | --- |",
        "| a | −1.5 | 20 |",
    ]


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="argument"):
        as_text([["a", "b"], ["a"]])
