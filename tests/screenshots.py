"""Draw every page in every state, in light and dark, wide and narrow.

    python -m tests.screenshots FOLDER [TEXT …]    those whose name has one of these texts
    python -m tests.screenshots --readme           the pictures of README.md, into docs/images

It starts what it needs: Chromium, and a site with a database of its own.
"""

import argparse
import os
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.core.management import call_command
from django.db import connections
from django.test.utils import override_settings
from playwright.sync_api import Error, Page, ViewportSize, sync_playwright

from tests.services.chromium import find_chromium

if TYPE_CHECKING:
    from tests.browser.states import State
    from tests.browser.visitors import Visitors

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
THEMES = ("light", "dark")
# Of README.md: a state, and how much of it is shown.
README: dict[str, tuple[str, ViewportSize]] = {
    "container-settings": ("container-settings-effects", {"width": 1280, "height": 900}),
    "repository": ("repository-in-use", {"width": 1280, "height": 620}),
    "lock-log": ("lock-log-in-use", {"width": 1280, "height": 620}),
    "overview": ("overview-in-use", {"width": 1280, "height": 620}),
}
# A third of what a PNG of these pages weighs, and no difference that one sees.
README_FORMAT, README_QUALITY = "webp", 80


def main() -> int:
    """Draw what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, nargs="?", help="where the pictures go")
    parser.add_argument("names", nargs="*", help="only states with one of these in their names")
    parser.add_argument("--readme", action="store_true", help="draw the pictures of README.md")
    options = parser.parse_args()
    if not options.readme and options.folder is None:
        parser.error("name a folder, or --readme")
    with open_site() as visitors:
        if options.readme:
            draw_readme(visitors)
            return 0
        return draw_states(visitors, options.folder, options.names)


@contextmanager
def open_site() -> Iterator["Visitors"]:
    """Start a site, with its data, and Chromium before it."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("taglock: install Debian's chromium-headless-shell")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ |= {
            "DATA_DIR": folder,
            "DATABASE_URL": "",
            "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
            "DJANGO_SETTINGS_MODULE": "tests.services.fast_settings",
        }
        # WhiteNoise warns of a folder that is not there.
        (Path(folder) / "static").mkdir()
        print("taglock: preparing the site …", file=sys.stderr)
        django.setup()
        # They need Django's settings, which are made above.
        from pytest_django.live_server_helper import LiveServer  # noqa: PLC0415

        from tests.browser.visitors import Visitors  # noqa: PLC0415
        from tests.browser.world import make_world  # noqa: PLC0415
        from tests.services.browser import ARGUMENTS  # noqa: PLC0415

        stack.enter_context(override_settings(ALLOWED_HOSTS=["localhost", "testserver"]))
        call_command("migrate", verbosity=0)
        names = make_world()
        server = LiveServer("localhost")
        stack.callback(connections.close_all)
        stack.callback(server.stop)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        stack.callback(browser.close)
        visitors = Visitors(browser, server.url, names)
        stack.callback(visitors.close)
        yield visitors


def draw_states(visitors: "Visitors", folder: Path, names: list[str]) -> int:
    """Draw the states whose names have one of these texts in them, or all; return the exit status.

    It says how far it is, and goes on after a state that cannot be reached.
    """
    from tests.browser.states import STATES  # noqa: PLC0415  (as above)

    folder.mkdir(parents=True, exist_ok=True)
    wanted = [state for state in STATES if not names or any(name in state.name for name in names)]
    failed = 0
    for number, state in enumerate(wanted, start=1):
        print(f"{number}/{len(wanted)} {state.name}", file=sys.stderr)
        try:
            draw_state(visitors, state, folder)
        except (AssertionError, Error) as error:
            print(f"taglock: {state.name}: {error}", file=sys.stderr)
            failed += 1
    print(f"taglock: {len(wanted) - failed} of {len(wanted)} states are drawn in {folder}")
    return 1 if failed else 0


def draw_state(visitors: "Visitors", state: "State", folder: Path) -> None:
    """Draw a state in each width and theme."""
    from tests.browser.looks import HEIGHT, WIDTHS  # noqa: PLC0415  (as above)

    with state.in_force():
        page, _ = visitors.open(state)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            for theme in THEMES:
                draw(page, folder / f"{state.name}-{width}-{theme}.png", theme)


def draw_readme(visitors: "Visitors") -> None:
    """Draw the pictures of README.md."""
    from tests.browser.states import STATES  # noqa: PLC0415  (as above)

    states = {state.name: state for state in STATES}
    for picture, (name, size) in README.items():
        with states[name].in_force():
            page, _ = visitors.open(states[name])
            page.set_viewport_size(size)
            write_picture(page, IMAGES / f"{picture}.{README_FORMAT}")


def write_picture(page: Page, file: Path) -> None:
    """Draw what is to be seen of a page into a small file."""
    session = page.context.new_cdp_session(page)
    options = {"format": README_FORMAT, "quality": README_QUALITY}
    drawn = session.send("Page.captureScreenshot", options)
    file.write_bytes(b64decode(drawn["data"]))


def draw(page: Page, file: Path, theme: str) -> None:
    """Draw all of a page that can be scrolled to."""
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    if size := page.viewport_size:
        # What sticks to an edge of the window is drawn once, at that edge of the page.
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": size["width"], "height": height})
    page.screenshot(path=file, animations="disabled")


if __name__ == "__main__":
    sys.exit(main())
