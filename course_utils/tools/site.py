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
from collections.abc import Mapping
from pathlib import Path

from course_utils.tools import ROOT, launch, read_course, sitetext, vendor, write_text
from course_utils.tools.store import WIDGET_MIME, WIDGET_TEXT

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
#: Modules of the package that the pages of its interface leave out: they serve the command line.
LEFT_OUT = {"tools"}


def build(
    source: Path, output: Path, executed: Mapping[str, Path] | None = None, *, scripts: Path = vendor.FOLDER
) -> Path:
    """Build the site.

    Parameters
    ----------
    source
        Folder with ``course.yml``, the notebooks and their solutions.
    output
        Where the site goes; its sources go beside it, into ``NAME-source``.
    executed
        Chapter → a notebook that was run and still holds its sliders; others are taken as they are stored.
    scripts
        Cache of the scripts that pages load.

    Returns
    -------
    Path
        The page ``index.html``.

    Raises
    ------
    RuntimeError
        If Sphinx finds an error or a warning; the message holds its last words.
    VendorMissing
        If the scripts are not here and cannot be fetched.
    """
    folder = output.with_name(f"{output.name}-source")
    shutil.rmtree(folder, ignore_errors=True)
    write_sources(source, folder, executed or {})
    copy_scripts(folder / "_static" / "vendor", scripts)
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(folder / "_doctrees"), str(folder), str(output)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"Sphinx did not accept {folder}:\n{done.stderr.strip()[-4000:]}")
    for name in (".buildinfo", "objects.inv"):
        (output / name).unlink(missing_ok=True)
    return output / "index.html"


def write_sources(source: Path, folder: Path, executed: Mapping[str, Path]) -> None:
    """Write what Sphinx reads: conf.py, chapters, exercises, glossary, bibliography, interface, downloads."""
    entries = read_course(source)
    chapters = {entry["name"]: _read(source / f"{entry['name']}.ipynb") for entry in entries}
    references = sitetext.read_references(DOCS / "references.bib")
    known = {number for notebook in chapters.values() for number in sitetext.equation_numbers(notebook)}
    for name, stored in chapters.items():
        notebook = _read(executed[name]) if name in executed else stored
        page = chapter_page(notebook, name, known, references)
        write_text(folder / "chapters" / f"{name}.ipynb", json.dumps(page, ensure_ascii=False))
        _copy(source / f"{name}.ipynb", folder / "_extra" / "downloads")
    for entry in entries:
        path = source / "solutions" / f"{entry['name']}.ipynb"
        solutions = _read(path) if path.exists() else {"cells": []}
        text = sitetext.exercises_page(entry["title"], entry["name"], chapters[entry["name"]], solutions)
        write_text(folder / "exercises" / f"{entry['name']}.md", sitetext.link_equations(text, known))
    write_text(folder / "glossary.md", sitetext.glossary_page(chapters))
    write_text(folder / "bibliography.md", sitetext.bibliography_page(references, chapters))
    write_interface(folder / "interface")
    _write_first_page(folder, entries)


def _write_first_page(folder: Path, entries: list[dict]) -> None:
    """Write index.md with the README's picture, and what Sphinx takes as it is."""
    readme = README.read_text(encoding="utf-8")
    write_text(folder / "index.md", index_page(readme, entries))
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme):
        _copy(ROOT / picture, folder / Path(picture).parent)
    shutil.copy(DOCS / "conf.py", folder)
    for name in ("site.css", "formulas.js"):
        _copy(DOCS / name, folder / "_static")


def _read(notebook: Path) -> dict:
    return json.loads(Path(notebook).read_text(encoding="utf-8"))


def _copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder)


def copy_scripts(folder: Path, scripts: Path) -> None:
    """Copy the files that pages load out of the unpacked npm packages."""
    for name, package in vendor.fetch(SCRIPTS, scripts).items():
        for pattern in SCRIPTS[name]:
            for path in package.glob(pattern):
                target = folder / name / path.relative_to(package)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)


# ---------------------------------------------------------------- chapters


def chapter_page(notebook: dict, name: str, known: set[str], references: list[sitetext.Entry]) -> dict:
    """Return a chapter as the site shows it: linked, its figures named, with a line of ways to open it."""
    notebook = json.loads(json.dumps(launch.without(notebook)))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = sitetext.mark_equations(cell["source"])
            cell["source"] = sitetext.link_citations(sitetext.link_equations(text, known), references)
        else:
            cell["outputs"] = [_shown(output) for output in cell["outputs"]]
    _describe_figures(notebook["cells"])
    first = notebook["cells"][0]
    head, _, rest = first["source"].partition("\n")
    first["source"] = f"{head}\n\n{ways_to_open(name, launch.address())}\n{rest}"
    widgets = notebook["metadata"].get("widgets")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook["metadata"] |= {"widgets": widgets} if widgets else {}
    return notebook


def ways_to_open(name: str, repository: str) -> str:
    """Return the line of HTML under a chapter's title: exercises, the notebook, and the services that open it."""
    ways = {
        "Exercises with solutions": f"../exercises/{name}.html",
        "Download the notebook": f"../downloads/{name}.ipynb",
    }
    ways |= {f"Open in {service}": at for service, at in launch.links(repository, f"notebooks/{name}.ipynb").items()}
    download = {"Download the notebook": " download"}
    links = "".join(f'<a href="{at}"{download.get(words, "")}>{words}</a>' for words, at in ways.items())
    return f'<p class="ways">{links}</p>\n'


def _shown(output: dict) -> dict:
    """Return an output as the site shows it: of a widget either the widget or the remark."""
    data = output.get("data", {})
    for kind in [kind for kind in data if kind.startswith("application/vnd.course-utils.")]:
        del data[kind]  # numbers and series for the report; their words stand beside them
    if WIDGET_MIME in data:
        output["data"] = {WIDGET_MIME: data[WIDGET_MIME]}
    elif "".join(data.get("text/plain", "")) == WIDGET_TEXT:
        output["data"] = {"text/html": f'<p class="remark">{REMARK}</p>'}
    return output


def _describe_figures(cells: list[dict]) -> None:
    """Give each figure a text for readers who do not see it: its number and the heading under which it stands."""
    heading, number = "", 0
    for cell in cells:
        if cell["cell_type"] == "markdown":
            found = re.findall(r"^#{1,6}\s+(.+?)\s*$", cell["source"], flags=re.M)
            heading = found[-1] if found else heading
        elif any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            number += 1
            cell["metadata"]["mystnb"] = {"image": {"alt": f"Figure {number}, {heading.replace('$', '')}"}}


# ---------------------------------------------------------------- the other pages


def index_page(readme: str, entries: list[dict]) -> str:
    """Return the first page: the head of the README, its two commands, the chapters of course.yml."""
    head = readme.partition("## Where to start")[0].rstrip()
    rows = ["| | chapter | before it | read | run | |", "|---|---|---|---|---|---|"]
    for entry in entries:
        name = entry["name"]
        needs = ", ".join(f"[{need.split('_')[0]}](chapters/{need}.ipynb)" for need in entry.get("needs") or [])
        minutes = entry["profiles"].get("quick", {}).get("minutes", "?")
        row = [name.split("_")[0], f"[{entry['title']}](chapters/{name}.ipynb)", needs or "–"]
        row += [f"{entry.get('read_minutes', '?')} min", f"{minutes} min", f"[exercises](exercises/{name}.md)"]
        rows.append(f"| {' | '.join(row)} |")
    names = [entry["name"] for entry in entries]
    trees = [
        _tree("Chapters", [f"chapters/{name}" for name in names]),
        _tree("Exercises", [f"{e['name'].split('_')[0]} {e['title']} <exercises/{e['name']}>" for e in entries]),
        _tree("Reference", ["glossary", "bibliography", "interface/index"]),
    ]
    return "\n\n".join([head, "## Chapters", "\n".join(rows), *trees]) + "\n"


def _tree(caption: str, pages: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"])


def write_interface(folder: Path) -> None:
    """Write one page per module of the package, filled by Sphinx from the docstrings."""
    package = ROOT / "course_utils"
    names = sorted(path.stem for path in package.glob("[!_]*.py"))
    names += sorted({path.parent.name for path in package.glob("*/__init__.py")} - LEFT_OUT)
    for name in names:
        title = f"course_utils.{name}"
        write_text(folder / f"{name}.rst", f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n   :members:\n")
    text = "# The package\n\nWhat the chapters import, from its docstrings.\n\n"
    write_text(folder / "index.md", text + "\n".join(["```{toctree}", *names, "```"]) + "\n")
