"""A page in a real browser: headless Chromium by Playwright, with all that the page complained of and asked for.

needs_browser()
with browser_page(width=390, dark=True) as seen:
    seen.page.goto(path.as_uri())
    assert seen.errors == [] and seen.overflow() == 0 and seen.asked_beyond(path.as_uri()) == []
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# quiet: of its own accord it asks for updates and the like. Root, as in a container, has no sandbox
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome; None where there is none."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


def needs_browser() -> None:
    """Skips the test where Playwright or a browser is missing."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install 'otto_gpu[test]'")
    if chromium() is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: apt-get install chromium")


@dataclass
class Seen:
    """page: Playwright's Page; errors: what the console called an error, and uncaught exceptions; requests: the URLs that the
    page asked for, its own among them."""

    page: object
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def asked_beyond(self, *allowed: str) -> list[str]:
        """The URLs that begin with none of these; data: URLs are part of the page."""
        return [url for url in self.requests if not url.startswith(("data:", "blob:", *allowed))]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@contextmanager
def browser() -> Iterator[Callable[..., Seen]]:
    """opened(width, height, dark): a fresh page, with nothing of another, in a window of so many pixels, in the light or the
    dark theme."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))

        def opened(width: int = 1280, height: int = 900, dark: bool = False) -> Seen:
            theme = "dark" if dark else "light"
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
            seen = Seen(page)
            page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: seen.errors.append(str(error)))
            page.on("request", lambda request: seen.requests.append(request.url))
            return seen

        try:
            yield opened
        finally:
            browser.close()


@contextmanager
def browser_page(**how) -> Iterator[Seen]:
    with browser() as opened:
        yield opened(**how)
