"""A page as everybody sees it: wide and narrow, in light and dark colours."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

WIDTHS = (1280, 360)
HEIGHT = 900
EVERYTHING: dict[str, object] = {"resultTypes": ["violations"]}
# All that a scheme changes.
COLORS: dict[str, object] = {**EVERYTHING, "runOnly": ["color-contrast", "link-in-text-block"]}


def examine(page: Page, address: str = "") -> None:
    """Go there, or stay; assert that axe finds no fault in any look, and that all of it fits."""
    if address:
        page.goto(address)
    what = address or page.url
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.emulate_media(color_scheme="light")
        _examine_look(page, f"{what}, {width} wide", EVERYTHING)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{what} is wider than {width} pixels by {overflow}"
        page.emulate_media(color_scheme="dark")
        _examine_look(page, f"{what}, {width} wide and dark", COLORS)


def _examine_look(page: Page, what: str, options: dict[str, object]) -> None:
    results = Axe("" if page.evaluate("!!window.axe") else Axe().axe_script).run(
        page, options=options
    )
    assert results.response["passes"], f"{what}: nothing was examined"
    assert results.violations_count == 0, f"{what}: {results.generate_report()}"
