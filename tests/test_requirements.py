"""Notebooks need the core requirements and nothing else; what runs the course is an extra."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

from course_utils.runtime import ROOT

PACKAGE = ROOT / "course_utils"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Distributions whose modules have another name.
MODULES = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "math-core": "math_core",
}
#: Modules that come with a distribution which is required, and are part of what it is made of.
BROUGHT = {"IPython": "ipywidgets", "traitlets": "ipywidgets"}
NOTEBOOKS = sorted([*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "notebooks" / "solutions").glob("*.ipynb")])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def modules_of(lines: Iterable[str]) -> set[str]:
    """The modules that requirements bring."""
    names = {canonical(Requirement(line).name) for line in lines}
    return {MODULES.get(name, name.replace("-", "_")) for name in names - {canonical(PROJECT["name"])}}


CORE, TOOLS = (modules_of(lines) for lines in (PROJECT["dependencies"], PROJECT["optional-dependencies"]["tools"]))


def imported(code: str) -> set[str]:
    """Full names of the modules that code imports, wherever in it; of ``from a import b`` both ``a`` and ``a.b``."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files_of(names: set[str]) -> set[Path]:
    """The files of this package that are run when modules of these names are imported."""
    found = set()
    for name in names:
        place = ROOT / Path(*name.split("."))
        found |= {path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists()}
    return {path for path in found if path.is_relative_to(PACKAGE)}


def needed_by_notebooks() -> tuple[set[str], set[Path]]:
    """The modules that notebooks import, directly or through this package, and the files of the package among them."""
    cells = (cell.source for path in NOTEBOOKS for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    names = set().union(*map(imported, cells))
    seen: set[Path] = set()
    while new := files_of(names) - seen:
        seen |= new
        names |= set().union(*(imported(path.read_text(encoding="utf-8")) for path in new))
    return names, seen


def test_the_core_requirements_are_what_notebooks_import():
    names, files = needed_by_notebooks()
    assert {path.name for path in files} >= {"runtime.py", "fit.py", "chapter_00.py"} and PACKAGE / "tools" not in files
    top = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"course_utils"}
    assert {BROUGHT.get(name, "") for name in top} - {""} <= CORE
    assert top - set(BROUGHT) == CORE


def test_modules_that_are_brought_are_needed_by_what_brings_them():
    for module, by in BROUGHT.items():
        assert module.lower() in {canonical(Requirement(line).name) for line in metadata.requires(by)}


def test_no_module_for_notebooks_imports_a_tool_even_one_that_no_notebook_uses():
    for path in [path for path in PACKAGE.rglob("*.py") if "tools" not in path.parts and path.stem != "__main__"]:
        top = {name.split(".")[0] for name in imported(path.read_text(encoding="utf-8"))}
        assert not top & (TOOLS - CORE), path


def run(code: str, *blocked: str) -> subprocess.CompletedProcess:
    """Run code in a Python that finds none of the blocked modules."""
    head = f"import sys\nsys.modules |= dict.fromkeys({sorted(blocked)!r})\n"
    return subprocess.run([sys.executable, "-c", head + code], cwd=ROOT, capture_output=True, text=True, timeout=300)


def brought(lines: Iterable[str]) -> set[str]:
    """Names of the distributions that requirements bring here, with all that these bring in turn."""
    left, found = [Requirement(line) for line in lines], set()
    while left:
        wanted = left.pop()
        name = canonical(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        left += map(Requirement, metadata.requires(name) or ())
    return found


def test_the_package_is_imported_without_the_tools():
    names = [f"course_utils.{path.stem}" for path in PACKAGE.glob("[!_]*.py")]
    names += [f"course_utils.checks.{path.stem}" for path in (PACKAGE / "checks").glob("[!_]*.py")]
    lines = [f"import {name}" for name in sorted(names)]
    blocked = TOOLS - modules_of(brought(PROJECT["dependencies"]))
    done = run("\n".join(lines), *blocked, "jupyter_client", "jupyter_server", "pytest", "playwright")
    assert len(names) > 20 and blocked >= {"jupyterlab", "papermill", "nbclient", "nbconvert", "ipykernel", "click"}
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("blocked", "arguments"), [("click", "list"), ("filelock", "doctor"), ("papermill", "run")])
def test_the_command_without_its_tools_says_in_one_sentence_what_to_install(blocked, arguments, tmp_path):
    options = ["--output", str(tmp_path / "run")] if arguments == "run" else []
    code = f"import runpy\nsys.argv = ['course', {arguments!r}, *{options!r}]\n"
    done = run(code + "runpy.run_module('course_utils', run_name='__main__')", blocked)
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert f"import of {blocked} halted" in line and 'pip install -e ".[tools]"' in line


def test_the_installed_command_is_the_one_that_says_so():
    assert PROJECT["scripts"] == {"course": "course_utils.__main__:main"}


# ------------------------------------------------------------------------------------ ipywidgets of hosted notebooks


OLD = """
import ipywidgets
del ipywidgets.Stack
from course_utils import widgets

words = [ipywidgets.Label(value=text) for text in "abc"]
stack = ipywidgets.Stack(words)
handle, beside = widgets.control("z", ["0", "1", "2"], 1, [stack]).children
for place in (1, 2, 0):
    handle.value = place
    shown = [[child.layout.display != "none" for child in box.children] for box in (stack, beside)]
    assert shown == [[k == place for k in range(3)]] * 2, (place, shown)
"""


def test_a_slider_also_moves_with_ipywidgets_7_which_has_no_stack():
    done = run(OLD)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------ Binder


def test_binder_installs_the_core_requirements_with_torch_for_the_cpu():
    listed = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    core = {Requirement(line).name: line for line in PROJECT["dependencies"]}
    tools = {Requirement(line).name: line for line in PROJECT["optional-dependencies"]["tools"]}
    names = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base"}  # of conda-forge: without CUDA, without windows
    wanted = {name: names.get(name, name) + line.removeprefix(name) for name, line in core.items()}
    wanted |= {name: tools[name] for name in ("ipywidgets", "jupyterlab")}
    python = next(line for line in listed if line.startswith("python="))
    assert sorted(listed) == sorted([*wanted.values(), "pip", python])
    assert python.removeprefix("python=") in Requirement(f"python{PROJECT['requires-python']}").specifier


def test_binder_adds_the_package_to_what_is_there():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK) and "pip install --no-deps --no-cache-dir -e ." in script.read_text()
