"""What stands around the course: change log, citation, forms for reports, and the version on every page."""

import re
import tomllib

import pytest
import yaml
from click.testing import CliRunner

from course_utils import __version__
from course_utils.runtime import ROOT
from course_utils.tools import pages
from course_utils.tools.chapter import read_chapters
from course_utils.tools.cli import main

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def test_the_newest_entry_of_the_changelog_is_this_version():
    heads = re.findall(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", CHANGELOG, re.M)
    assert len(heads) == CHANGELOG.count("\n## ") and heads[0] == __version__
    numbers = [tuple(map(int, head.split("."))) for head in heads]
    assert numbers == sorted(set(numbers), reverse=True)


def test_the_command_says_the_version():
    assert CliRunner().invoke(main, ["--version"]).output == f"{__version__}\n"


def test_the_changelog_names_every_chapter_and_every_command():
    for chapter in read_chapters(ROOT / "notebooks"):
        assert re.search(rf"\b{chapter.number}\b", CHANGELOG), f"CHANGELOG.md: when did chapter {chapter.number} come?"
    for command in main.commands:
        assert f"`course {command}" in CHANGELOG, f"CHANGELOG.md: when did `course {command}` come?"


def test_the_citation_is_complete_and_agrees_with_the_project():
    needed = {"cff-version", "message", "title", "authors"}
    assert needed <= set(CITATION) and CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert all(author.get("name") for author in CITATION["authors"])
    assert f"# {CITATION['title']}\n" in README
    assert PROJECT["dynamic"] == ["version"] and CITATION["version"] == __version__
    code, text = re.fullmatch(r"([\w.-]+) \(code\), ([\w. -]+) \(text\)", PROJECT["license"]["text"]).groups()
    assert CITATION["license"] == code and text in CITATION["abstract"]
    assert CITATION.get("repository-code", "") == PROJECT.get("urls", {}).get("Repository", "")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_has_what_the_service_asks_for(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(form) >= {"name", "description", "body"}
    assert len({part["id"] for part in form["body"]}) == len(form["body"])
    assert all(part["type"] in ("input", "textarea") and part["attributes"]["label"] for part in form["body"])
    assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_forms_ask_for_what_is_needed_to_help():
    asked = {path.stem: path.read_text(encoding="utf-8") for path in FORMS}
    assert set(asked) == {"bug", "check", "sentence"}
    assert "`course doctor`" in asked["bug"] and "Which exercise?" in asked["check"]
    request = (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")
    for command in re.findall(r"`course (\w+)", request + "".join(asked.values())):
        assert command in main.commands
    for name in re.findall(r"`([A-Z]+\.md)`", request):
        assert (ROOT / name).exists()


@pytest.mark.parametrize(("name", "values"), [("lectures.html", {"lectures": []}), ("slides.html", {"slides": []})])
def test_the_version_stands_on_the_slides(name, values):
    assert __version__ in pages.fill(name, title="x", widgets=None, **values)


def test_the_version_stands_on_every_page_of_the_report():
    assert f"Course version {__version__} · code: BSD 3-Clause" in pages.fill("page.html", title="x")
    for name in ("report.html", "executed.html"):
        assert '{% extends "page.html" %}' in (pages.TEMPLATES / name).read_text(encoding="utf-8")


def test_the_site_shows_version_licence_and_changelog():
    settings = {"__file__": str(ROOT / "docs" / "conf.py")}
    exec((ROOT / "docs" / "conf.py").read_text(encoding="utf-8"), settings)
    footer = settings["html_theme_options"]["extra_footer"]
    assert settings["release"] == __version__ and __version__ in footer and "CC BY 4.0" in footer
    assert "extra-footer.html" in settings["html_theme_options"]["footer_content_items"]
    assert "\nCHANGELOG\n" in (pages.TEMPLATES / "index.md").read_text(encoding="utf-8")
