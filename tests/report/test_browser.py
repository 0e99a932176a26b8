"""The pages in a real browser, as wide as a phone and as a screen, light and dark."""

from itertools import product

import pytest

from tests.browser import browser, browser_page, needs_browser
from tests.report.test_comparison import report
from tests.report.test_page import hostile

__all__ = ["hostile"]

READABLE = 10.5  # pixels: the least size of a letter
# what is on the page and wider than it, or smaller than can be read; what scrolls in a box of its own may be wider
LOOK = """least => {
    const wide = [], small = [], width = document.documentElement.clientWidth;
    for (const details of document.querySelectorAll("details")) details.open = true;
    for (const element of document.querySelectorAll("body *")) {
        const box = element.getBoundingClientRect();
        const text = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (box.width === 0 || element.closest(".scroll, pre")) continue;
        if (box.right > width + 1 || box.left < -1) wide.push(element.tagName + " " + element.textContent.slice(0, 40));
        if (!text) continue;
        const svg = element.closest("svg");
        const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
        const size = parseFloat(getComputedStyle(element).fontSize) * scale;
        if (size < least) small.push(size.toFixed(1) + " " + element.textContent.slice(0, 40));
    }
    return {wide, small};
}"""


@pytest.fixture(scope="module")
def pages(finished, changed, hostile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    shown = report(finished, changed, "--out", folder / "comparison.html")
    assert shown.returncode == 0, shown.stderr
    return {
        "run": finished / "report.html",
        "since": changed / "report.html",
        "comparison": folder / "comparison.html",
        "hostile": hostile / "report.html",
    }


def test_pages_are_shown_whole_and_ask_for_nothing(pages):
    needs_browser()
    with browser() as opened:
        for width, dark, (name, path) in product((390, 1280), (False, True), pages.items()):
            seen, where = opened(width=width, dark=dark), f"{name}, {width} wide, {'dark' if dark else 'light'}"
            seen.page.goto(path.as_uri())
            assert seen.page.locator("h1").inner_text() and seen.page.locator("svg").count() >= 3
            assert seen.overflow() <= 0, where
            found = seen.page.evaluate(LOOK, READABLE)
            assert found == {"wide": [], "small": []}, where
            assert seen.overflow() <= 0, f"{where}, with all that can be opened open"
            assert seen.errors == [] and seen.asked_beyond(path.as_uri()) == [], where


def test_the_theme_is_the_readers(pages):
    needs_browser()
    ground = {}
    with browser() as opened:
        for dark in (False, True):
            seen = opened(dark=dark)
            seen.page.goto(pages["run"].as_uri())
            ground[dark] = seen.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            text = seen.page.locator("svg text").first
            assert text.evaluate("t => getComputedStyle(t).fill") != ground[dark]
            seen.page.emulate_media(media="print")
            printed = seen.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert printed == "rgb(255, 255, 255)"
    assert ground[False] == "rgb(255, 255, 255)" != ground[True]


def test_the_contents_lead_somewhere(pages):
    needs_browser()
    with browser_page(width=390) as seen:
        seen.page.goto(pages["run"].as_uri())
        for link in seen.page.locator("nav a").all():
            link.click()
            assert seen.page.locator(":target h2").count() == 1
