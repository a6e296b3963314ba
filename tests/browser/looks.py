"""A page as everybody sees it: wide and narrow, in light and dark colours."""

from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import BrowserContext, Page

WIDTHS = (1280, 360)
HEIGHT = 900
# WCAG's for reflow: what is read at 1280 pixels, magnified four times.
NARROWEST = 320

# Contrast takes most of the time of all rules, and is measured by itself. Neither rule about
# colours depends on the width.
CONTRAST = "color-contrast"
LINKS = "link-in-text-block"

# What repeats what was examined above it: rows of a long list, and calls of the API reference.
_REPEATS = ("tbody tr:nth-child(n+13)", ".story-row:nth-child(n+25)", ".call ~ .call ~ .call")
CONTEXT = {"exclude": [[selector] for selector in _REPEATS]}

_SCRIPT = AXE_SCRIPT + Path(__file__).with_suffix(".js").read_text()
# The looks of texts in which axe has found enough contrast, on any page, in either theme.
_readable: set[str] = set()


def prepare(context: BrowserContext) -> None:
    """Let pages that are opened from now on be examined."""
    context.add_init_script(_SCRIPT)


def examine(page: Page) -> None:
    """Assert that axe finds no fault of a page in any look, and that all of it fits."""
    wide, narrow = WIDTHS
    set_width(page, wide)
    rules = _examine_look(page, f"{wide} wide", {"rules": _without(CONTRAST)})
    _examine_contrast(page, f"{wide} wide")
    _assert_fits(page)
    page.emulate_media(color_scheme="dark")
    # Whether there are links in texts is no matter of colours.
    if LINKS in rules:
        _examine_look(page, f"{wide} wide and dark", {"runOnly": [LINKS]})
    _examine_contrast(page, f"{wide} wide and dark")
    page.emulate_media(color_scheme="light")
    set_width(page, NARROWEST)
    _assert_fits(page)
    set_width(page, narrow)
    _examine_look(page, f"{narrow} wide", {"rules": _without(CONTRAST, LINKS)})


def set_width(page: Page, width: int) -> None:
    """Let the window of a page be this wide."""
    page.set_viewport_size({"width": width, "height": HEIGHT})


def _without(*rules: str) -> dict[str, object]:
    return {name: {"enabled": False} for name in rules}


def _examine_look(page: Page, look: str, options: dict[str, object]) -> list[str]:
    """Assert that axe finds no fault; return the rules that there was something to examine by."""
    found = page.evaluate("([context, options]) => examine(context, options)", [CONTEXT, options])
    assert found["examined"], f"{page.url}, {look}: nothing was examined"
    _assert_faultless(page, look, found)
    return list(found["examined"])


def _examine_contrast(page: Page, look: str) -> None:
    """Assert that texts can be read, where none that looks the same was found to be readable."""
    found = page.evaluate("known => examineContrast(known)", " ".join(_readable))
    _assert_faultless(page, look, found)
    _readable.update(found["readable"].split())


def _assert_faultless(page: Page, look: str, found: dict[str, Any]) -> None:
    results = AxeResults(found)
    assert results.violations_count == 0, f"{page.url}, {look}: {results.generate_report()}"


def _assert_fits(page: Page) -> None:
    width, overflow = page.evaluate(
        "[innerWidth, document.documentElement.scrollWidth - innerWidth]"
    )
    assert overflow <= 0, f"{page.url} is wider than {width} pixels by {overflow}"
