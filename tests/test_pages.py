"""Templates: each is used, HTML escapes what it is given, and text does not."""

import pytest

from course_utils.runtime import ROOT
from course_utils.tools import pages

NAMES = sorted(path.name for path in pages.TEMPLATES.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_every_template_is_used_and_comes_with_the_package(name):
    files = [*(ROOT / "course_utils" / "tools").glob("*.py"), *pages.TEMPLATES.iterdir()]
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in files if path.name != name)
    assert '"course_utils.tools" = ["templates/*"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith((".html", ".css"))])
def test_pages_name_no_file_of_another_host(name):
    text = (pages.TEMPLATES / name).read_text(encoding="utf-8")
    hosts = ("https://colab.research.google.com", "https://mybinder.org") if name == "ways.html" else ()
    for host in hosts:
        text = text.replace(host, "")
    assert "://" not in text


def test_html_is_escaped_and_text_is_not():
    assert '<li><a href="a.html">a · &lt;b&gt;</a><br>c</li>' in pages.fill(
        "lectures.html", lectures=[("a", "<b>", "c")]
    )
    assert "| <b> | c |" in pages.fill("glossary.md", terms=[("<b>", ["c"], [])], links=lambda names: "")


def test_a_page_is_written_whole(tmp_path):
    pages.write_page(tmp_path / "new" / "page.html", "ä")
    assert (tmp_path / "new" / "page.html").read_bytes() == "ä".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_markdown_embeds_pictures_of_its_folder_only(tmp_path):
    (tmp_path / "a.svg").write_text("<svg/>")
    assert 'src="data:image/svg+xml;base64,' in pages.markdown_to_html("![a](a.svg)", str(tmp_path))
    assert 'src="../a.svg"' in pages.markdown_to_html("![a](../a.svg)", str(tmp_path / "below"))
    assert pages.markdown_to_html("<details>\n\n*a*\n\n</details>").count("<details>") == 1


def test_colours_of_code_can_be_dark():
    assert pages.highlighting() != pages.highlighting("github-dark") and ".highlight" in pages.highlighting()
