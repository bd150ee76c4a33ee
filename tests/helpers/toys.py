"""Toy courses: tiny chapters that are executed in a second, and screens that remember what was shown."""

import json
import os
import signal
from pathlib import Path

import nbformat
import yaml
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.tools import notebook as notebooks
from course_utils.tools.chapter import plan, read_chapters
from course_utils.tools.cli import main
from course_utils.tools.screen import Screen

RECORD = """from IPython.display import display
mime = "application/vnd.course-utils.{}+json"
display({{"text/plain": "numbers", mime.format("numbers"): {{"numbers": {}}}}}, raw=True)
display({{"text/plain": "series", mime.format("series"): {{"series": {{"curve": [1.0, 2.0]}}}}}}, raw=True)"""
PARAMETERS = 'profile = "quick"\nepochs = 2'


def record(numbers: str) -> str:
    """A cell that records numbers as ``results`` does, without importing the package."""
    return RECORD.format("{}", numbers)


def write_notebook(path: Path, *cells: str, parameters: str | None = PARAMETERS) -> Path:
    """Write a tiny chapter: heading, parameters, one code cell per argument."""
    code = [new_code_cell(source) for source in cells]
    if parameters is not None:
        code.insert(0, new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_markdown_cell(f"# {path.stem}"), *code], metadata={"kernelspec": kernel})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def write_course(source: Path, **numbers: dict) -> Path:
    """Write the course file of a toy course: chapter name → its bands."""
    profiles = {"quick": {"minutes": 0.1}, "full": {"minutes": 0.2, "parameters": {"epochs": 5}}}
    chapters = [
        {"name": name, "title": name.title(), "read_minutes": 3, "needs": [], "profiles": profiles, "numbers": bands}
        for name, bands in numbers.items()
    ]
    source.mkdir(parents=True, exist_ok=True)
    (source / "course.yml").write_text(yaml.safe_dump({"chapters": chapters}))
    return source


def course(*arguments):
    """Call the command line in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def plans(source: Path, profile: str = "quick", **overrides):
    """Plan every chapter of a toy course."""
    return [plan(chapter, profile, overrides) for chapter in read_chapters(source)]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[dict]:
    """The code cells of a notebook on the disk."""
    return notebooks.code_cells(notebooks.read(path))


class Remembers(Screen):
    """A screen that remembers its lines; once a chapter is in its second cell, it sends this process a signal."""

    def __init__(self, send: signal.Signals | None = None):
        super().__init__()
        self.lines, self.send = [], send

    def line(self, text):
        self.lines.append(text)

    def refresh(self, running, below=""):
        if self.send and any(" cell 2 " in line for line in running.values()):
            number, self.send = self.send, None
            os.kill(os.getpid(), number)
