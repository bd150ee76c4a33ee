"""The lectures in a real browser with the network cut: Debian's chromium, headless; skipped with a reason without it.

Every chapter is built from the stored notebooks. Nothing is installed or downloaded by these tests.
"""

import re

import pytest
from helpers.pages import executed_with_slider, launch, skip_without_browser
from notebook_files import CHAPTERS, NOTEBOOKS, shown

from course_utils.tools import slides, vendor
from course_utils.tools.chapter import read_chapters
from course_utils.tools.notebook import read
from course_utils.tools.pages import fill

every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=shown)

#: Go through every slide, all fragments shown, and return what is wrong with each.
INSPECT = r"""
() => {
  const wrong = [], number = (x) => Math.round(x * 10) / 10;
  for (let k = 0; k < Reveal.getTotalSlides(); k++) {
    const section = Reveal.getSlides()[k], place = Reveal.getIndices(section);
    Reveal.slide(place.h, place.v, 99);
    const say = (text) => wrong.push(`slide ${k + 1}, "${section.querySelector("h2").innerText}": ${text}`);
    for (const part of section.querySelectorAll("*")) {
      if (part.closest("aside") || part.tagName === "STYLE" || part.tagName === "SCRIPT") continue;
      const box = part.getBoundingClientRect();
      if (!box.width || !box.height) continue;
      if (box.left < -1 || box.top < -1 || box.right > 1281 || box.bottom > 706)
        say(`<${part.tagName} ${part.className}> reaches from ${number(box.left)}, ${number(box.top)} to ` +
            `${number(box.right)}, ${number(box.bottom)}`);
      if (part.tagName === "PRE" && part.scrollWidth > part.clientWidth + 1) say("code is wider than the slide");
      if (part.tagName === "IMG" && !part.closest(".jupyter-widgets")) {
        const scale = Math.min(box.width / part.naturalWidth, box.height / part.naturalHeight);
        if (!(scale >= 0.7)) say(`a figure is shrunk to ${number(scale)} of its size`);
      }
      const size = parseFloat(getComputedStyle(part).fontSize);
      if (["P", "LI", "TD"].includes(part.tagName) && size < 24) say(`text of ${size} px`);
      if (part.tagName === "PRE" && size < 20) say(`code of ${size} px`);
    }
    const boxes = [...section.querySelectorAll(".frame .text, .frame pre, .frame img")].filter(
      (part) => !part.closest("aside") && part.getBoundingClientRect().height);
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
      const p = a.getBoundingClientRect(), q = b.getBoundingClientRect();
      if (!a.contains(b) && Math.min(p.right, q.right) - Math.max(p.left, q.left) > 2 &&
          Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 2) say(`${a.tagName} and ${b.tagName} overlap`);
    }));
    const words = [...section.children].filter((part) => part.tagName !== "ASIDE").map((part) => {
      const copy = part.cloneNode(true);
      copy.querySelectorAll("pre, code, script, style, svg").forEach((node) => node.remove());
      return copy.textContent }).join(" ");
    if (/\$|\\\(|\\\[|\\[a-z]{3,}/.test(words)) say("raw mathematics: " + words.trim().slice(0, 200));
    if (section.querySelector(".MathJax_Error, .merror, .noError, [data-mjx-error]")) say("a formula has an error");
  }
  return wrong;
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The lectures of all chapters, from the stored notebooks, with the scripts that they load."""
    skip_without_browser(slides.SCRIPTS)
    target = tmp_path_factory.mktemp("slides")
    scripts = {name: vendor.cached(name) for name in slides.SCRIPTS}
    slides.write(read_chapters(NOTEBOOKS), NOTEBOOKS, target, target / "nothing-executed", scripts)
    return target


@pytest.fixture(scope="module")
def browser(folder):
    """Debian's chromium, which ``folder`` looked for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture
def show(browser):
    """Open a page whose every request elsewhere is cut and noted, as are errors; at the end there must be none."""
    noted, opened = [], []

    def open_page(path):
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(180_000)
        opened.append(page)

        def route(request):
            inside = request.request.url.startswith(("file:", "data:", "blob:"))
            return request.continue_() if inside else (noted.append(request.request.url), request.abort())

        page.route("**/*", route)
        page.on("console", lambda message: noted.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: noted.append(str(error)))
        page.on("requestfailed", lambda request: noted.append(f"failed: {request.url[:200]}"))
        page.goto(path.as_uri())
        page.wait_for_function("window.Reveal && Reveal.isReady()", timeout=180_000)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert not noted, noted


def now(page) -> int:
    return page.evaluate("Reveal.getSlidePastCount()")


@every_chapter
def test_nothing_is_cut_off_and_mathematics_is_set(path, folder, show):
    page = show(folder / f"{path.stem}.html")
    made = slides.slides_of(read(path))
    assert page.evaluate("Reveal.getTotalSlides()") == len(made)
    wrong = page.evaluate(INSPECT)
    assert not wrong, "\n".join(wrong)
    formulas = sum(1 for slide in made for cell in slide.cells if "$$" in str(cell["metadata"].get("lecture")))
    assert formulas and page.evaluate("document.querySelectorAll('.MathJax_SVG_Display svg').length") >= formulas


def test_the_inspection_sees_what_is_cut_off(folder, show):
    page = show(folder / f"{CHAPTERS[0].stem}.html")
    page.evaluate("""() => {
      const frames = document.querySelectorAll("section > section .frame");
      frames[1].innerHTML += "<p style='font-size: 30px'>" + "many words ".repeat(900) + "</p>";
      frames[2].innerHTML += "<pre>" + "x".repeat(300) + "</pre><p style='font-size: 12px'>small</p>";
      frames[3].innerHTML += "<p>a formula: $x^2$</p>";
    }""")
    wrong = "\n".join(page.evaluate(INSPECT))
    assert re.search(r"slide 2, .*reaches from", wrong) and re.search(r"slide 3, .*reaches|slide 3, .*wider", wrong)
    assert "text of 12 px" in wrong and "raw mathematics: " in wrong


def test_keys_lead_through_every_slide_and_back(folder, show):
    page = show(folder / f"{CHAPTERS[0].stem}.html")
    total = page.evaluate("Reveal.getTotalSlides()")
    assert now(page) == 0
    for k in range(1, total):
        page.keyboard.press("ArrowRight" if k % 2 else "Space")
        assert now(page) == k
    page.keyboard.press("ArrowLeft")
    assert now(page) == total - 2
    notes = page.evaluate("Reveal.getSlideNotes()")
    assert re.search(r"\d+:\d\d of \d+:\d\d", notes)


@pytest.fixture
def moving(folder, show):
    """The lecture of a chapter whose slider has its state, as `course run` brings it; and the number of its slide."""
    name, twin = next(
        (path.stem, cell["id"])
        for path in CHAPTERS
        for cell in read(path)["cells"]
        if "twin" in cell["metadata"].get("lecture", {})
    )
    chapter = read(NOTEBOOKS / f"{name}.ipynb")
    executed, _, _ = executed_with_slider(chapter, twin)
    (folder / "slider.html").write_text(fill("slides.html", **slides.deck(chapter, executed)), encoding="utf-8")
    page = show(folder / "slider.html")
    page.wait_for_selector(".jupyter-widgets img", state="attached")
    place = page.evaluate("""() => {
      const all = Reveal.getSlides(), k = all.findIndex((section) => section.querySelector(".jupyter-widgets"));
      const to = Reveal.getIndices(all[k]); Reveal.slide(to.h, to.v); return k }""")
    return page, place


def test_a_slider_moves_by_keyboard_and_leaves_the_slide_alone(moving):
    page, place = moving
    wrong = page.evaluate(INSPECT)
    assert not [words for words in wrong if words.startswith(f"slide {place + 1},")]
    page.evaluate("(k) => { const to = Reveal.getIndices(Reveal.getSlides()[k]); Reveal.slide(to.h, to.v) }", place)
    picture = page.locator("section.present section.present .jupyter-widgets img:visible")
    first = picture.get_attribute("src")
    page.locator("section.present section.present .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "(before) => [...document.querySelectorAll('section.present section.present .jupyter-widgets img')]"
        ".some((image) => image.offsetParent && image.src !== before)",
        arg=first,
    )
    assert picture.get_attribute("src") != first and now(page) == place
    page.keyboard.press("Space")
    assert now(page) == place + 1, "Space goes on although the slider has the focus"


def test_index_leads_to_every_lecture(folder, browser):
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    links = page.eval_on_selector_all("a", "all => all.map((a) => a.getAttribute('href'))")
    assert links == [f"{path.stem}.html" for path in CHAPTERS]
    assert all((folder / link).exists() for link in links)
    page.close()
