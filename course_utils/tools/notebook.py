"""The one reader of notebooks: their cells, headings, exercises, figures, widgets, and the numbers they recorded.

A notebook is the dictionary that its JSON holds. Everything here takes one and leaves it as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_utils.results import NUMBERS_MIME, SERIES_MIME
from course_utils.runtime import replacing

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
#: What stands in a stored notebook where a widget was.
WIDGET_TEXT = "interactive figure: run the notebook from the top to use it"
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*$", re.MULTILINE)
EXERCISE = re.compile(
    r"^#+ Exercise (?P<number>\d+\.\d+)"
    r"(?:\s*[—:-]\s*(?P<title>.+?)\s*·\s*difficulty (?P<difficulty>\d)/5\s*·\s*(?P<minutes>\d+) minutes?)?",
    re.MULTILINE,
)


class NotebookError(ValueError):
    """A file is no notebook that can be read; the message names it and says why."""


def read(path: str | Path) -> dict:
    """Read a notebook; ``FileNotFoundError`` if it is not there, ``NotebookError`` if it is no notebook."""
    path = Path(path)
    return parse(path.read_bytes(), path)


def parse(content: bytes, name: str | Path = "the notebook") -> dict:
    """Return the notebook that these bytes hold; ``name`` is what an error calls it."""
    try:
        notebook = json.loads(content.decode("utf-8"))
        cells = notebook["cells"]
        complete = all(isinstance(cell["metadata"], dict) and {"cell_type", "source"} <= set(cell) for cell in cells)
    except (ValueError, KeyError, TypeError) as error:
        raise NotebookError(f"{name} is damaged and no notebook any more ({type(error).__name__}: {error})") from error
    if not complete:
        raise NotebookError(f"{name} is damaged: a cell lacks its type, its source or its metadata")
    return notebook


def to_bytes(notebook: dict) -> bytes:
    """Return a notebook as nbformat writes it, which is how JupyterLab saves it."""
    import nbformat

    return (nbformat.writes(nbformat.from_dict(notebook)) + "\n").encode("utf-8")


def write(path: str | Path, notebook: dict) -> None:
    """Write a notebook whole; an interruption leaves the old file."""
    with replacing(path) as file:
        file.write(to_bytes(notebook))


def copy(notebook: dict) -> dict:
    """Return a copy that may be changed, the sources and texts of its cells joined to single strings."""
    twin = json.loads(json.dumps(notebook))
    for cell in twin["cells"]:
        cell["source"] = source(cell)
    return twin


def for_readers(notebook: dict) -> dict:
    """Return a copy without the cells tagged "bookkeeping", which record numbers; one that failed stays."""
    twin = copy(notebook)
    failed = [any(output["output_type"] == "error" for output in outputs(cell)) for cell in twin["cells"]]
    pairs = zip(twin["cells"], failed, strict=True)
    twin["cells"] = [cell for cell, stays in pairs if stays or "bookkeeping" not in tags(cell)]
    return twin


def source(cell: dict) -> str:
    """Return the text of a cell."""
    return "".join(cell["source"])


def outputs(cell: dict) -> list[dict]:
    """Return the outputs of a cell; a text cell has none."""
    return cell.get("outputs", [])


def is_cleared(notebook: dict) -> bool:
    """Tell whether no code cell of a notebook, of which there are some, holds an output."""
    cells = code_cells(notebook)
    return bool(cells) and not any(map(outputs, cells))


def tags(cell: dict) -> list[str]:
    """Return the tags of a cell."""
    return cell["metadata"].get("tags", [])


def code_cells(notebook: dict) -> list[dict]:
    """Return the code cells that are not empty, which are those that a run executes."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and source(cell).strip()]


def markdown_texts(notebook: dict) -> list[str]:
    """Return the texts of the Markdown cells."""
    return [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def parts(notebook: dict) -> Iterator[tuple[str, str, dict]]:
    """Yield what a notebook holds, in order, as kind ("heading", "text" or "code"), text, and the cell it is from."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            yield "code", source(cell), cell
            continue
        for part in re.split(r"(?m)^(#+ .*)$", source(cell)):
            if part.strip():
                yield ("heading" if re.match(r"#+ ", part) else "text"), part.strip(), cell


def exercise_parts(notebook: dict) -> dict[str, list[tuple[str, str, dict]]]:
    """Return for each number of an exercise its parts, from its heading to the next heading."""
    found: dict[str, list[tuple[str, str, dict]]] = {}
    current: list[tuple[str, str, dict]] = []
    for part in parts(notebook):
        if part[0] == "heading":
            exercise = EXERCISE.match(part[1])
            current = found.setdefault(exercise["number"], []) if exercise else []
        current.append(part)
    return found


@dataclass(frozen=True)
class Figure:
    """One PNG of a notebook: its number from 1, the heading it stands under, its base64, its cell."""

    number: int
    heading: str
    png: str
    cell: dict

    def title(self) -> str:
        """Return the words under which the figure is listed."""
        return f"Figure {self.number}" + (f": {self.heading}" if self.heading else "")


def figures(notebook: dict) -> list[Figure]:
    """Return the PNG outputs of a notebook, in order."""
    found: list[Figure] = []
    heading = ""
    for kind, text, cell in parts(notebook):
        heading = text.lstrip("# ") if kind == "heading" else heading
        for data in (output.get("data", {}) for output in outputs(cell)):
            if "image/png" in data:
                found.append(Figure(len(found) + 1, heading, "".join(data["image/png"]), cell))
    return found


def widget_views(cell: dict) -> list[dict]:
    """Return what the outputs of a cell say of the widgets they show, each with its ``model_id``."""
    return [out["data"][WIDGET_VIEW] for out in outputs(cell) if WIDGET_VIEW in out.get("data", {})]


def widget_state(notebook: dict) -> dict:
    """Return the state of all widgets of an executed notebook; empty if it keeps none."""
    return notebook["metadata"].get("widgets", {}).get(WIDGET_STATE, {})


def recorded(notebook: dict) -> tuple[dict[str, float], dict[str, list]]:
    """Return the numbers and the series that ``results`` left in the outputs; of a name recorded twice, the later."""
    found: dict[str, dict] = {"numbers": {}, "series": {}}
    for data in (output.get("data", {}) for cell in notebook["cells"] for output in outputs(cell)):
        for mime, kind in ((NUMBERS_MIME, "numbers"), (SERIES_MIME, "series")):
            payload = data.get(mime, {})
            found[kind] |= (json.loads(payload) if isinstance(payload, str) else payload).get(kind, {})
    return {name: float(value) for name, value in found["numbers"].items()}, found["series"]  # NaN comes as a word
