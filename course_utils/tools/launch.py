"""Ways to open a chapter elsewhere, all made from the one repository address in ``pyproject.toml``.

While ``[project.urls]`` is empty there is none of them: no line of links, no cell for Colab.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from urllib.parse import quote

from course_utils.tools import ROOT, write_text

BRANCH = "main"
#: Stands around the line of links in a notebook's first cell, and as the tag of the cell for Colab.
MARK = "launch"
_LINE = re.compile(rf"\n*<!-- {MARK} -->.*?<!-- /{MARK} -->", re.DOTALL)


def address(project: Path = ROOT / "pyproject.toml") -> str:
    """Return the repository's public address; an empty string while it has none."""
    urls = tomllib.loads(Path(project).read_text(encoding="utf-8"))["project"].get("urls", {})
    return urls.get("Repository", "").rstrip("/").removesuffix(".git")


def links(repository: str, path: str) -> dict[str, str]:
    """Return name → address of the services that open a notebook of a repository.

    Parameters
    ----------
    repository
        Such as ``https://github.com/OWNER/NAME``; with an empty one there are no links. Colab opens GitHub's
        repositories only, Binder any.
    path
        Of the notebook in the repository.
    """
    if not repository:
        return {}
    github = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", repository)
    where = f"gh/{github[1]}" if github else f"git/{quote(repository, safe='')}"
    found = {"Binder": f"https://mybinder.org/v2/{where}/{BRANCH}?urlpath=lab/tree/{path}"}
    if github:
        found = {"Colab": f"https://colab.research.google.com/github/{github[1]}/blob/{BRANCH}/{path}"} | found
    return found


def colab_source(repository: str) -> str:
    """Return the cell that brings the course to Colab; elsewhere it does nothing."""
    return (
        "# On Colab this fetches the course and installs its package. Elsewhere it does nothing.\n"
        "import sys\n\n"
        'if "google.colab" in sys.modules:\n'
        f"    !git clone -q --depth 1 {repository} /content/course\n"
        "    %pip install -q -e /content/course\n"
        "    %cd -q /content/course/notebooks\n"
        '    sys.path.insert(0, "/content/course")'
    )


def without(notebook: dict) -> dict:
    """Return a notebook without the line of links and without the cell for Colab."""
    cells = [dict(cell) for cell in notebook["cells"] if MARK not in cell["metadata"].get("tags", [])]
    cells[0]["source"] = _LINE.sub("", "".join(cells[0]["source"]))
    return notebook | {"cells": cells}


def equipped(notebook: dict, path: str, repository: str) -> dict:
    """Return a notebook with the links and the cell for Colab that an address gives; without an address, neither."""
    notebook = without(notebook)
    found = links(repository, path)
    if found:
        line = " · ".join(f"[Open in {name}]({target})" for name, target in found.items())
        notebook["cells"][0]["source"] += f"\n\n<!-- {MARK} -->{line}<!-- /{MARK} -->"
    if "Colab" in found:
        notebook["cells"].insert(1, _colab_cell(repository))
    _number(notebook["cells"])
    return notebook


def _colab_cell(repository: str) -> dict:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": "open-on-colab",
        "metadata": {"tags": [MARK]},
        "outputs": [],
        "source": colab_source(repository),
    }


def _number(cells: list[dict]) -> None:
    """Number the executed cells anew: one cell more or less does not change what the others computed."""
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    if not any(cell["execution_count"] for cell in code):
        return
    for count, cell in enumerate(code, start=1):
        cell["execution_count"] = count
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = count


def write(notebook: Path, repository: str) -> bool:
    """Equip a notebook on disk, or strip it; return whether it changed."""
    import nbformat

    before = notebook.read_text(encoding="utf-8")
    found = equipped(json.loads(before), f"notebooks/{notebook.name}", repository)
    after = nbformat.writes(nbformat.reads(json.dumps(found), as_version=4)) + "\n"
    if nbformat.reads(after, as_version=4) == nbformat.reads(before, as_version=4):
        return False
    write_text(notebook, after)
    return True
