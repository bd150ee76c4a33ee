"""The web site in a real browser, Debian's chromium without a window, with every other host cut off.

Built once from two stored chapters and a tiny one that was executed, so that it has sliders. Nothing is installed
here: without chromium, playwright or the scripts in build/vendor the tests are skipped (`make vendor`, `.ci/run`).
"""

import functools
import http.server
import shutil
import threading

import nbformat
import pytest
import yaml
from helpers.pages import launch, skip_without_browser
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_files import NOTEBOOKS

from course_utils.tools import site

STORED = ("00_start_here", "05_variational_autoencoder")
PAGES = ["index", *(f"chapters/{name}" for name in (*STORED, "06_sliders")), "exercises/05_variational_autoencoder"]
PAGES += ["glossary", "bibliography", "interface/index", "interface/fit"]
SLIDERS = """
import matplotlib.pyplot as plt
from course_utils import widgets

def draw(slope):
    figure, axis = plt.subplots(figsize=(3, 2))
    axis.plot([0, 1], [0, slope])
    return figure

widgets.slider(draw, [0, 1, 2, 3], name="slope", label=lambda k: f"slope {k}", start=1)
"""
EXPLORER_IMPORTS = """
import io
import ipywidgets
import torch
from PIL import Image
from course_utils import plots
"""
EXPLORER = """
grey = lambda z: ((z + 2) / 4)[:, None, None, :].expand(-1, 1, 8, 2)
latent_explorer(grey, [-2.0, 0.0, 2.0])
"""


def tiny_chapter(path):
    """Execute a chapter with two kinds of sliders; the result keeps their state, as that of `course run` does."""
    text = new_markdown_cell("# 06 Sliders\n\nIn $x$:\n\n$$y = a x \\tag{6.1}$$\n\nBy (6.1) they move.")
    sources = [cell.source for cell in nbformat.read(NOTEBOOKS / f"{STORED[1]}.ipynb", 4).cells]
    (explorer,) = [source for source in sources if "def latent_explorer(" in source]
    codes = (SLIDERS, EXPLORER_IMPORTS, explorer, EXPLORER)
    notebook = new_notebook(cells=[text, *map(new_code_cell, codes)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the built site."""
    skip_without_browser(site.SCRIPTS)
    folder = tmp_path_factory.mktemp("site")
    source = folder / "notebooks"
    (source / "solutions").mkdir(parents=True)
    entries = yaml.safe_load((NOTEBOOKS / "course.yml").read_text(encoding="utf-8"))["chapters"]
    entries = [entry | {"needs": []} for entry in entries if entry["name"] in STORED]
    for name in STORED:
        shutil.copy(NOTEBOOKS / f"{name}.ipynb", source)
        shutil.copy(NOTEBOOKS / "solutions" / f"{name}.ipynb", source / "solutions")
    tiny_chapter(source / "06_sliders.ipynb")
    sliders = {"name": "06_sliders", "title": "Sliders", "needs": [STORED[1]], "profiles": {"quick": {"minutes": 1}}}
    (source / "course.yml").write_text(yaml.safe_dump({"chapters": [*entries, sliders]}), encoding="utf-8")
    site.build(source, folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def address(built):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(built)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser(built):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Open a page of the site; afterwards no request may have gone elsewhere, failed, or left an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(180_000)  # on a machine that is busy with something else, too
    complaints = []

    def refuse(route):
        complaints.append(f"request to another host: {route.request.url}")
        route.abort()

    def open_one(path: str, **viewport):
        page = context.new_page()
        if viewport:
            page.set_viewport_size(viewport)
        page.route(lambda url: not url.startswith((address, "data:", "blob:")), refuse)
        page.on("console", lambda m: complaints.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("response", lambda r: complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.goto(f"{address}/{path}")
        page.evaluate("() => window.MathJax?.startup?.promise")
        return page

    yield open_one
    context.close()
    assert complaints == []


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_without_another_host(open_page, path):
    page = open_page(f"{path}.html")
    assert page.locator("h1").first.inner_text().strip()
    text = page.locator("article").inner_text()
    for raw in ("\\(", "\\[", "\\tag", "$$", "{ref}", "<details"):
        assert raw not in text, f"{raw} is shown as it is written"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", [f"chapters/{STORED[1]}.html", "exercises/05_variational_autoencoder.html"])
def test_mathematics_is_set_and_fits_the_page(open_page, path, width):
    page = open_page(path, width=width, height=800)
    page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_timeout(300)
    assert page.locator("mjx-container").count() > 5
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    wide = """() => [...document.querySelectorAll('div.math')].filter(block => {
        const box = block.getBoundingClientRect();
        return [...block.querySelectorAll('mjx-math')].some(m => {
            const own = m.getBoundingClientRect(); return own.left < box.left - 3 || own.width > box.width + 3 })
    }).map(block => block.id)"""
    assert page.evaluate(wide) == []


def test_the_number_of_an_equation_leads_to_it(open_page):
    page = open_page(f"chapters/{STORED[1]}.html")
    page.locator("a", has_text="(5.4)").first.click()
    assert page.url.endswith("#equation-5-4")
    block = page.locator("#equation-5-4")
    assert block.bounding_box()["y"] < 800 and block.locator("mjx-container").count() == 1


def shown_frame(page, view: int) -> str:
    """The picture that a widget shows now."""
    return page.locator("div.cell_output").nth(view).locator("img:visible").last.get_attribute("src")


def test_a_slider_moved_by_the_keyboard_changes_the_picture(open_page):
    page = open_page("chapters/06_sliders.html")
    handle = page.locator(".noUi-handle").first
    handle.wait_for()
    seen = {shown_frame(page, 0)}
    assert page.get_by_text("slope 1", exact=True).is_visible()
    handle.focus()
    for position in (2, 3):
        page.keyboard.press("ArrowRight")
        page.get_by_text(f"slope {position}", exact=True).wait_for()
        seen.add(shown_frame(page, 0))
    assert len(seen) == 3


def test_both_sliders_of_an_explorer_change_the_picture(open_page):
    page = open_page("chapters/06_sliders.html")
    handles = page.locator(".noUi-handle")
    handles.nth(2).wait_for()
    seen = [shown_frame(page, 1)]
    for which in (1, 2):
        handles.nth(which).focus()
        page.keyboard.press("ArrowLeft")
        page.get_by_text("-2.00").locator("visible=true").nth(which - 1).wait_for()
        seen.append(shown_frame(page, 1))
    assert len(set(seen)) == 3


def test_a_stored_chapter_says_where_its_slider_would_be(open_page):
    page = open_page(f"chapters/{STORED[0]}.html")
    assert page.get_by_text(site.REMARK).count() == 1
    assert page.locator(".noUi-handle").count() == 0


def test_search_finds_a_chapter(open_page):
    page = open_page("search.html?q=posterior+collapse")
    results = page.locator("#search-results a")
    results.first.wait_for()
    assert any("05_variational" in results.nth(k).get_attribute("href") for k in range(results.count()))


def test_a_solution_is_folded_until_it_is_asked_for(open_page):
    page = open_page("exercises/05_variational_autoencoder.html")
    code = page.get_by_text("logsumexp").first
    assert not code.is_visible()
    page.locator("article summary").nth(4).click()
    assert code.is_visible()


def test_the_download_is_the_notebook(open_page, built):
    page = open_page(f"chapters/{STORED[1]}.html")
    with page.expect_download() as download:
        page.get_by_text("Download the notebook").click()
    stored = (NOTEBOOKS / f"{STORED[1]}.ipynb").read_bytes()
    assert download.value.path().read_bytes() == stored


@pytest.mark.parametrize("path", ["index.html", f"chapters/{STORED[1]}.html", "glossary.html"])
def test_a_telephone_need_not_scroll_sideways(open_page, path):
    page = open_page(path, width=390, height=800)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 391
