"""A page as everybody sees it: wide and narrow, in light and dark colours."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

WIDTHS = (1280, 360)
HEIGHT = 900
# WCAG's for reflow: what is read at 1280 pixels, magnified four times.
NARROWEST = 320
# Our pages have no frames, and no rule that is on looks into style sheets.
EVERYTHING: dict[str, object] = {
    "resultTypes": ["violations"],
    "iframes": False,
    "preload": False,
}
# What takes most of the time, and is the same at every width.
_ABOUT_COLORS = ("color-contrast", "link-in-text-block")
COLORS: dict[str, object] = {**EVERYTHING, "runOnly": list(_ABOUT_COLORS)}
ALL_BUT_COLORS: dict[str, object] = {
    **EVERYTHING,
    "rules": {name: {"enabled": False} for name in _ABOUT_COLORS},
}

# What repeats what was examined above it: rows of a long list, and calls of the API reference.
_REPEATS = ("tbody tr:nth-child(n+13)", ".story-row:nth-child(n+25)", ".call ~ .call ~ .call")
CONTEXT: dict[str, object] = {"exclude": [[selector] for selector in _REPEATS]}

_AXE = Axe()


def examine(page: Page, address: str = "") -> None:
    """Go there, or stay; assert that axe finds no fault in any look, and that all of it fits."""
    if address:
        page.goto(address)
    what = address or page.url
    wide, narrow = WIDTHS
    _set_look(page, wide, "light")
    _examine_look(page, f"{what}, {wide} wide", EVERYTHING)
    _assert_fits(page, what, wide)
    _set_look(page, wide, "dark")
    _examine_look(page, f"{what}, {wide} wide and dark", COLORS)
    _set_look(page, NARROWEST, "light")
    _assert_fits(page, what, NARROWEST)
    _set_look(page, narrow, "light")
    _examine_look(page, f"{what}, {narrow} wide", ALL_BUT_COLORS)


def _set_look(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")


def _assert_fits(page: Page, what: str, width: int) -> None:
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"{what} is wider than {width} pixels by {overflow}"


def _examine_look(page: Page, what: str, options: dict[str, object]) -> None:
    axe = Axe("") if page.evaluate("!!window.axe") else _AXE
    results = axe.run(page, context=CONTEXT, options=options)
    assert results.response["passes"], f"{what}: nothing was examined"
    assert results.violations_count == 0, f"{what}: {results.generate_report()}"
