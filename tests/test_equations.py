"""Every tagged equation makes a claim, so every tagged equation has a cell that verifies it, compared in CI."""

import re

import pytest
from notebook_files import CHAPTERS, code_cells, markdown, read, shown, tags

every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=shown)


def tagged(path) -> list[str]:
    """Numbers of the tagged equations, in order."""
    return re.findall(r"\\tag\{(\d+\.\d+)\}", markdown(path))


def verified(path) -> list[tuple[str, object]]:
    """(number, cell) for every number in a `# verifies (…)` first line."""
    pairs = []
    for cell in code_cells(path):
        first = cell.source.splitlines()[0] if cell.source else ""
        if first.startswith("# verifies"):
            pairs += [(number, cell) for number in re.findall(r"\((\d+\.\d+)\)", first)]
    return pairs


@every_chapter
def test_each_tagged_equation_has_exactly_one_verifying_cell(path):
    numbers = tagged(path)
    assert numbers, "a chapter without a single claim"
    assert len(set(numbers)) == len(numbers)
    assert all(number.split(".")[0] == str(int(path.stem[:2])) for number in numbers)
    assert sorted(number for number, _ in verified(path)) == sorted(numbers)


@every_chapter
def test_verifying_cells_are_compared_and_print_what_they_found(path):
    for number, cell in verified(path):
        assert "nbval-check-output" in tags(cell), number
        printed = "".join("".join(o.get("text", "")) for o in cell.outputs)
        assert printed.strip(), f"the cell of ({number}) prints nothing"
        assert "False" not in printed, f"the stored output of ({number}) says False"


@every_chapter
def test_verifying_cells_come_after_their_equation(path):
    cells = read(path).cells
    for number, cell in verified(path):
        stated = next(k for k, c in enumerate(cells) if f"\\tag{{{number}}}" in c.source and c.cell_type == "markdown")
        assert stated < next(k for k, c in enumerate(cells) if c.id == cell.id)


@every_chapter
def test_references_point_to_equations_that_exist(path):
    chapter = str(int(path.stem[:2]))
    referred = set(re.findall(rf"\(({chapter}\.\d+)\)", markdown(path)))
    assert referred <= set(tagged(path))
