"""Who may import whom: the package stays a set of leaves that one can read alone."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import course_utils
from course_utils.runtime import ROOT

PACKAGE = ROOT / "course_utils"

# Arrows that are allowed beside "anything may import runtime, which imports nothing of the course":
ALLOWED = {
    "batches": set(),
    # progress: the line that fit shows, and sweeps in notebooks share; checkpoint: the state of a run in a file
    # capture: the recorded step of a training on a card
    "fit": {"batches", "progress", "checkpoint", "capture"},
    "capture": {"batches"},
    "diagrams": {"plots"},  # the colours of the course
    "datasets": {"street_digits", "pictures"},  # load("street-digits") draws; load(path) reads pictures of one's own
    "judge": {"datasets", "fit"},  # a classifier is trained, on a Split
    "street_digits": {"progress"},  # drawing 20,000 takes some fifteen seconds, which must be seen
    "checks": {"checks"},  # checks.chapter_NN use the core in checks/__init__
}


def modules() -> dict[str, list[Path]]:
    """Top-level module name → its files, without tools."""
    found = {path.stem: [path] for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    found["checks"] = sorted((PACKAGE / "checks").glob("*.py"))
    return found


def imports_of(path: Path) -> set[str]:
    """Modules of the course that a file imports, by their name directly below course_utils."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path.name}: write imports from course_utils in full"
            if node.module == "course_utils":
                names |= {alias.name for alias in node.names}
            elif node.module.startswith("course_utils."):
                names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("course_utils.")}
    return names


@pytest.mark.parametrize("module", sorted(modules()))
def test_only_allowed_arrows(module):
    allowed = ALLOWED.get(module, set()) | ({"runtime"} if module != "runtime" else set())
    for path in modules()[module]:
        assert imports_of(path) <= allowed, f"{path.name} imports {imports_of(path) - allowed}"


@pytest.mark.parametrize("module", sorted(ALLOWED))
def test_every_allowed_arrow_is_used(module):
    used = set().union(*map(imports_of, modules().get(module, [])))
    assert ALLOWED[module] <= used, f"{module} imports no {ALLOWED[module] - used}: take the arrow away"


def test_the_check_sees_a_forbidden_arrow(tmp_path):
    bad = tmp_path / "plots.py"
    bad.write_text("from course_utils import fit\nfrom course_utils.tools import cli\nimport course_utils.metrics\n")
    assert imports_of(bad) == {"fit", "tools", "metrics"}


def test_nothing_but_tools_imports_tools():
    for module, files in modules().items():
        assert not any("tools" in imports_of(path) for path in files), module


def test_package_imports_without_network_or_side_effects(tmp_path):
    """Importing every module opens no socket and writes no file."""
    names = [f"course_utils.{name}" for name in modules()]
    code = (
        "import socket, sys, importlib\n"
        "def refuse(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse; socket.create_connection = refuse\n"
        f"[importlib.import_module(name) for name in {names!r}]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)
    assert list(tmp_path.iterdir()) == []


def rows_of_the_readme() -> list[str]:
    """The rows of the table of modules, the last of which is that of tools."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## The package") : text.index("## Data sets")]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_both_maps_name_every_module_once_and_no_other():
    here = sorted([*modules(), "tools"])
    assert sorted(re.findall(r"^``(\w+)``", course_utils.__doc__, re.MULTILINE)) == here
    assert sorted(name for row in rows_of_the_readme() for name in re.findall(r"`(\w+)`", row.split("|")[1])) == here


def test_the_readme_names_every_module_of_the_tools_once_and_no_other():
    named = re.findall(r"`(\w+)`", rows_of_the_readme()[-1])
    assert named[:2] == ["tools", "course"]  # the package and the command, then the modules
    assert sorted(named[2:]) == sorted(path.stem for path in (PACKAGE / "tools").glob("[!_]*.py"))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring, f"{path} has no docstring"
    assert docstring.splitlines()[0].rstrip().endswith((".", ":")), f"{path}: first line is no sentence"
