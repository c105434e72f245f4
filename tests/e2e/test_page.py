"""The page of a fleet of a thousand tenants in a real browser: how fast it opens, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.report.page import html_of
from tests.e2e.browser import Browser, open_browser
from tests.unit.test_page import fleet_of
from tests.unit.test_waves import rolling

pytestmark = pytest.mark.e2e

SHOWN = "document.querySelectorAll('#map tbody tr:not([hidden])').length"
COUNT = "document.getElementById('filter').elements.count.value"
# The browser's own clock, from the start of the navigation to the end of its load event.
OPENED_MS = "performance.getEntriesByType('navigation')[0].loadEventEnd"
PAINTED_MS = "performance.getEntriesByType('paint').reduce((last, each) => Math.max(last, each.startTime), 0)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a thousand tenants with four applications each, in the middle of a rollout."""
    path = tmp_path_factory.mktemp("page") / "fleet.html"
    status = fleet_of(1000)
    path.write_text(html_of(status, rolling(status)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that has the page open."""
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(page)
        yield browser


def _select(browser: Browser, name: str, value: str) -> None:
    field = f"document.getElementById('filter').elements['{name}']"
    browser.ask(f"{field}.value = {value!r}; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))")


def test_a_thousand_tenants_open_in_two_seconds(browser: Browser, page: Path) -> None:
    """Painted and ready to be used, without a single request beside the page itself."""
    assert browser.ask(SHOWN) == 1000
    assert browser.ask("document.querySelectorAll('.rollout tbody tr').length") == 3
    opened = [max(browser.ask(OPENED_MS), browser.ask(PAINTED_MS))]
    # On a machine that has other work the best of a few tells what the page takes.
    while min(opened) >= 2000 and len(opened) < 4:
        browser.open(page)
        opened.append(max(browser.ask(OPENED_MS), browser.ask(PAINTED_MS)))
    assert min(opened) < 2000
    assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
    assert browser.complaints() == []


def test_search_and_filters_by_the_keyboard_alone(browser: Browser) -> None:
    """Tab leads to the search, typing narrows the table at once, and the number of tenants is told."""
    browser.ask("document.activeElement.blur()")
    for _ in range(40):
        browser.press("Tab", 9)
        if browser.ask("document.activeElement.name") == "text":
            break
    assert browser.ask("document.activeElement.name") == "text"

    browser.type("t000")

    assert browser.ask(SHOWN) == 10
    assert browser.ask(COUNT) == "10 of 1000 tenants"
    _select(browser, "state", "failed")
    assert browser.ask(SHOWN) == 1
    browser.ask("document.getElementById('filter').reset()")
    assert browser.ask(f"new Promise(done => setTimeout(() => done({SHOWN}), 50))") == 1000


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"state": "failed"}, 50),
        ({"state": "unknown"}, 20),
        ({"label": "ring=canary"}, 334),
        ({"application": "3", "version": "2.20.0"}, 150),
        ({"application": "2", "state": "unknown"}, 20),
        ({"version": "9.9.9"}, 0),
    ],
)
def test_filters_narrow_the_table(browser: Browser, fields: dict[str, str], count: int) -> None:
    """By state, label, application and version, together."""
    for name, value in fields.items():
        _select(browser, name, value)

    assert browser.ask(SHOWN) == count
    for name in fields:
        _select(browser, name, "")
    assert browser.ask(SHOWN) == 1000


def test_the_page_is_dark_for_whom_prefers_it(browser: Browser, tmp_path: Path) -> None:
    """By the browser's own setting."""
    background = "getComputedStyle(document.body).backgroundColor"
    browser.prefer("light")
    light = browser.ask(background)
    browser.prefer("dark")

    assert (light, browser.ask(background)) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)")
    browser.picture(tmp_path / "dark.png")
    assert (tmp_path / "dark.png").stat().st_size > 10_000
    browser.prefer("light")


def test_a_narrow_window_scrolls_the_table_and_not_the_page(browser: Browser, tmp_path: Path) -> None:
    """A telephone shows it, too."""
    browser.picture(tmp_path / "narrow.png", width=380, height=800)

    assert browser.ask("document.documentElement.scrollWidth <= window.innerWidth")
