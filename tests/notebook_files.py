"""What the notebook tests share: the chapters of course.yml and their solutions, read once."""

from functools import cache
from pathlib import Path

import nbformat

from course_utils.results import read_course
from course_utils.runtime import ROOT

NOTEBOOKS = ROOT / "notebooks"
NAMES = [chapter["name"] for chapter in read_course()]
CHAPTERS = [NOTEBOOKS / f"{name}.ipynb" for name in NAMES]
SOLUTIONS = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))


@cache
def read(path: Path):
    return nbformat.read(path, as_version=4)


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code_cells(path: Path) -> list:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def markdown(path: Path) -> str:
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def shown(path: Path):
    """Name of a notebook in a test's id."""
    return str(path.relative_to(NOTEBOOKS))
