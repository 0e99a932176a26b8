"""The page in a real browser: it asks nobody but the service, and what it is told it shows as text."""

import pytest

from tests.browser import browser_page, needs_browser
from tests.serve.service import serving
from tests.serve.test_app import lists

SIZES = [(1280, False), (1280, True), (390, False), (390, True)]


@pytest.fixture(scope="module", autouse=True)
def browser():
    needs_browser()


def is_calm(seen, service) -> None:
    """Nothing complained of, nothing asked elsewhere, nothing wider than the window."""
    assert seen.errors == [] and seen.asked_beyond(service.address) == [] and seen.overflow() == 0


def shown(seen) -> dict[str, list[str]]:
    """{target: items} as the page shows them."""
    sections = seen.page.locator("#lists section").all()
    return {s.locator("h3").inner_text(): s.locator(".id").all_inner_texts() for s in sections}


def as_text(found: dict[str, list]) -> dict[str, list[str]]:
    return {target: [str(aid) for aid in items] for target, items in found.items()}


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_an_example_its_lists_and_why(service, recommender, width, dark):
    examples = service.get("/examples?n=20").json["sessions"]
    with browser_page(width=width, dark=dark) as seen:
        page = seen.page
        page.goto(service.address)
        page.wait_for_selector(".item")
        assert shown(seen) == as_text(lists(recommender, examples[0]["events"]))
        with page.expect_response("**/reasons"):
            page.select_option("#example", "2")
        page.wait_for_selector("body:not(.stale)")
        page.wait_for_selector("#status:text-matches('^Answered')")
        assert page.locator("#events li").count() == len(examples[2]["events"])
        assert shown(seen) == as_text(lists(recommender, examples[2]["events"]))
        assert all(page.locator(".reason").all_inner_texts())
        is_calm(seen, service)
        # side by side where there is room, one below the other where not
        tops = {round(box["y"]) for box in (s.bounding_box() for s in page.locator("#lists section").all())}
        assert len(tops) == (1 if width > 1000 else 3)
        assert len({page.evaluate(f"getComputedStyle(document.body).{c}") for c in ("color", "backgroundColor")}) == 2
        page.locator(".item").nth(4).click()
        page.wait_for_selector("#why[open] table")
        assert page.locator("#why-title").inner_text() == f"{shown(seen)['clicks'][4]} in clicks"
        box = page.locator("#why").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert page.evaluate("document.querySelector('#why').scrollWidth <= document.querySelector('#why').clientWidth")
        page.keyboard.press("Escape")
        assert not page.locator("#why").is_visible()
        is_calm(seen, service)


def test_events_are_typed_changed_and_removed(service, recommender):
    example = service.get("/examples?n=20").json["sessions"][0]["events"]
    with browser_page() as seen:
        page = seen.page
        page.goto(service.address)
        page.wait_for_selector(".item")

        def recommended() -> dict[str, list[str]]:
            with page.expect_response("**/reasons"):
                page.click("text=Recommend")
            page.wait_for_selector("#status:text-matches('^Answered')")
            return shown(seen)

        page.locator("#events li").nth(0).get_by_role("button").click()
        assert "stale" in page.locator("body").get_attribute("class")
        assert recommended() == as_text(lists(recommender, example[1:]))  # to the millisecond, which is not shown
        page.click("text=Add an event")
        added = page.locator("#events li").last
        added.locator(".aid").fill("1")
        added.locator("select").select_option("orders")
        added.locator(".time").fill("2022-08-28 21:59:42.5")
        event = {"aid": 1, "ts": 1_661_723_982_500, "type": "orders"}
        page.fill("#k", "5")
        assert recommended() == as_text(lists(recommender, [*example[1:], event], 5))
        added.locator(".time").fill("yesterday")
        page.click("text=Recommend")
        assert '"yesterday" is no time' in page.locator("#status").inner_text()
        assert added.locator(".time").get_attribute("aria-invalid") == "true"
        page.click("text=Clear")
        assert page.locator("#none").is_visible()
        assert recommended() == as_text(lists(recommender, [], 5))
        assert "popular items" in page.locator("#notes").inner_text()
        page.locator(".item").first.click()
        page.wait_for_selector("#reasons p:not(.soft)")
        assert "No source named it" in page.locator("#reasons").inner_text()
        is_calm(seen, service)


def test_what_the_run_is_called_by_is_text(worded_dir):
    """Ids with markup in them, times as text."""
    with serving(worded_dir) as service, browser_page(width=390) as seen:
        page = seen.page
        page.on("dialog", lambda dialog: seen.errors.append(dialog.message))
        page.goto(service.address)
        page.wait_for_selector(".item")
        first = shown(seen)["clicks"][0]
        assert first.startswith("<b>") and first.endswith("</script>")
        assert page.locator("#lists b, #lists script").count() == 0
        page.locator(".item").first.click()
        page.wait_for_selector("#reasons table, #reasons p:not(.soft)")
        assert first in page.locator("#why-title").inner_text() and page.locator("#why script").count() == 0
        is_calm(seen, service)


def test_a_service_that_is_gone_is_said(run_dir):
    with serving(run_dir) as service, browser_page() as seen:
        seen.page.goto(service.address)
        seen.page.wait_for_selector(".item")
        service.stop()
        seen.page.click("text=Recommend")
        seen.page.wait_for_selector("#status.wrong")
        assert seen.page.locator("#status").inner_text() == "The service does not answer."


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_the_api_is_readable_offline(service, width, dark):
    with browser_page(width=width, dark=dark) as seen:
        seen.page.goto(f"{service.address}/docs")
        assert "POST /recommend" in seen.page.locator("main").inner_text()
        seen.page.click("text=OneSession >> nth=0")
        assert seen.page.url.endswith("#OneSession")
        is_calm(seen, service)
