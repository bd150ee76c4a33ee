"""The web site ``build/site``: the chapters with their outputs, made by Sphinx, readable without Python and a network.

``build`` writes the pages' sources into a folder beside the site, from the notebooks and the README, and lets Sphinx
turn them into HTML with warnings as errors. What Sphinx needs besides lies in ``docs/``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from course_utils.runtime import ROOT
from course_utils.tools import folders, sitetext, vendor
from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import Chapter, read_chapters
from course_utils.tools.notebook import WIDGET_TEXT, WIDGET_VIEW, outputs
from course_utils.tools.pages import fill, write_page

DOCS = ROOT / "docs"
README = ROOT / "README.md"
#: What stands in the place of a slider whose frames the notebook does not hold.
REMARK = "Here the running notebook has a slider. A still figure beside it shows some of its frames."
#: npm package → the files of it that the pages load.
SCRIPTS = {
    "mathjax-3": ("es5/tex-chtml.js", "es5/output/chtml/fonts", "es5/input/tex/extensions"),
    "requirejs": ("require.js",),
    "@jupyter-widgets/html-manager": ("dist/embed-amd.js", "dist/*.woff2", "dist/*.woff"),
}


def sources(output: Path) -> Path:
    """Return the folder beside a site in which its pages' sources lie."""
    return output.with_name(f"{output.name}-source")


def build(
    source: Path, output: Path, executed: Mapping[str, Path] | None = None, *, scripts: Path = vendor.FOLDER
) -> Path:
    """Build the site in ``output``, its sources beside it in ``NAME-source``, and return its ``index.html``.

    ``source`` holds ``course.yml``, notebooks and solutions; ``executed`` maps chapters to notebooks that were run and
    still hold their sliders, others are taken as they are stored; ``scripts`` is the cache of what pages load. An error
    or a warning of Sphinx is a ``RuntimeError`` with its last words, and leaves the site of before; a folder that holds
    files which no build has made is ``folders.NotOurs``.
    """
    folder = sources(output)
    with (
        folders.taken(output, "site", "--site", whole=True),
        folders.taken(folder, "site", "--site", whole=True),
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as made,
    ):
        folders.empty(folder)
        write_sources(source, folder, executed or {})
        vendor.copy(vendor.fetch(SCRIPTS, scripts), SCRIPTS, folder / "_static" / "vendor")
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
        command += ["-d", str(folder / "_doctrees"), str(folder), made]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Sphinx did not accept {folder}:\n{done.stderr.strip()[-4000:]}")
        folders.empty(output)
        for path in Path(made).iterdir():
            if path.name not in (".buildinfo", "objects.inv"):
                path.rename(output / path.name)
    return output / "index.html"


def write_sources(source: Path, folder: Path, executed: Mapping[str, Path]) -> None:
    """Write what Sphinx reads: conf.py, chapters, exercises, glossary, bibliography, interface, downloads."""
    chapters = read_chapters(source)
    stored = {chapter.name: notebooks.read(chapter.path) for chapter in chapters}
    references = sitetext.read_references(DOCS / "references.bib")
    known = {number for notebook in stored.values() for number in sitetext.equation_numbers(notebook)}
    for chapter in chapters:
        name, solutions = chapter.name, source / "solutions" / f"{chapter.name}.ipynb"
        notebook = notebooks.read(executed[name]) if name in executed else stored[name]
        page = chapter_page(notebook, name, known, references)
        write_page(folder / "chapters" / f"{name}.ipynb", json.dumps(page, ensure_ascii=False))
        _copy(chapter.path, folder / "_extra" / "downloads")
        solved = notebooks.read(solutions) if solutions.exists() else {"cells": []}
        text = sitetext.exercises_page(chapter.title, name, stored[name], solved)
        write_page(folder / "exercises" / f"{name}.md", sitetext.link_equations(text, known))
    write_page(folder / "glossary.md", sitetext.glossary_page(stored))
    write_page(folder / "bibliography.md", sitetext.bibliography_page(references, stored))
    write_interface(folder / "interface")
    _write_first_page(folder, chapters)


def _write_first_page(folder: Path, chapters: Sequence[Chapter]) -> None:
    """Write index.md with the README's picture, and what Sphinx takes as it is: settings, styles, the changelog."""
    readme = README.read_text(encoding="utf-8")
    write_page(folder / "index.md", index_page(readme, chapters))
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme):
        _copy(ROOT / picture, folder / Path(picture).parent)
    for path in (ROOT / "CHANGELOG.md", DOCS / "conf.py", DOCS / "site.css", DOCS / "formulas.js"):
        _copy(path, folder if path.suffix in (".md", ".py") else folder / "_static")


def _copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder)


def chapter_page(notebook: dict, name: str, known: set[str], references: Sequence[sitetext.Work]) -> dict:
    """Return a chapter as the site shows it: linked, its figures named, with a line of ways to open it."""
    notebook = notebooks.for_readers(notebook)
    for figure in reversed(notebooks.figures(notebook)):  # a cell has one text: that of its first figure
        words = f"Figure {figure.number}, {figure.heading.replace('$', '')}"
        figure.cell["metadata"]["mystnb"] = {"image": {"alt": words}}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = sitetext.link_equations(sitetext.mark_equations(cell["source"]), known)
            cell["source"] = sitetext.link_solutions(sitetext.link_citations(text, references))
        outputs(cell)[:] = [_shown(output) for output in outputs(cell)]
    first = notebook["cells"][0]
    head, _, rest = first["source"].partition("\n")
    first["source"] = f"{head}\n\n{ways_to_open(name, repository())}\n\n{rest}"
    widgets = notebook["metadata"].get("widgets")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook["metadata"] |= {"widgets": widgets} if widgets else {}
    return notebook


def ways_to_open(name: str, address: str) -> str:
    """Return the line of HTML under a chapter's title: exercises, the notebook, the services that open a repository."""
    github = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", address)
    return fill("ways.html", name=name, address=address, github=github and github[1])


def repository() -> str:
    """Return the repository's public address from ``pyproject.toml``; an empty string while it has none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "").rstrip("/").removesuffix(".git")


def _shown(output: dict) -> dict:
    """Return an output as the site shows it: of a widget either the widget or the remark."""
    data = output.get("data", {})
    for kind in [kind for kind in data if kind.startswith("application/vnd.course-utils.")]:
        del data[kind]  # numbers and series for the report; their words stand beside them
    if WIDGET_VIEW in data:
        output["data"] = {WIDGET_VIEW: data[WIDGET_VIEW]}
    elif "".join(data.get("text/plain", "")) == WIDGET_TEXT:
        output["data"] = {"text/html": f'<p class="remark">{REMARK}</p>'}
    return output


def index_page(readme: str, chapters: Sequence[Chapter]) -> str:
    """Return the first page: the head of the README, its two commands, the chapters of course.yml."""
    head = readme.partition("## Where to start")[0].rstrip()
    return fill("index.md", head=head, chapters=chapters, links=sitetext.chapter_links, minutes=_in_words)


def _in_words(minutes: float | None) -> str:
    return f"{'?' if minutes is None else minutes} min"


def write_interface(folder: Path) -> None:
    """Write one page per module of the package, filled by Sphinx from the docstrings."""
    package = ROOT / "course_utils"
    names = sorted(path.stem for path in package.glob("[!_]*.py"))
    names += sorted({path.parent.name for path in package.glob("*/__init__.py")} - {"tools"})  # for the command
    for title in (f"course_utils.{name}" for name in names):
        text = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n   :members:\n"
        write_page(folder / f"{title.split('.')[1]}.rst", text)
    write_page(folder / "index.md", fill("interface.md", names=names))
