"""The people who look at the pages of `states.py`: a browser each, open from page to page."""

from collections.abc import Mapping

from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, Response

from tests.browser.looks import WIDTHS, prepare, set_width
from tests.browser.states import PATIENCE_MS, State
from tests.services.browser import note_errors
from workspaces.models import User


class Visitors:
    """Opens states, each in the page that its visitor has open: a new one costs a process.

    `complaints` is what pages have written as errors.
    """

    def __init__(self, browser: Browser, base_url: str, names: Mapping[str, object]) -> None:
        """Let them see the site at `base_url`; `names` is what addresses have in braces."""
        self._browser = browser
        self._base_url = base_url
        self._names = names
        self._pages: dict[str, Page] = {}
        self._answers: list[Response] = []
        self.complaints: list[str] = []

    def open(self, state: State) -> tuple[Page, Response]:
        """Open a state, wide and light; return the page, and the answer that it is made of."""
        page = self._find_page(state.who)
        set_width(page, WIDTHS[0])
        page.emulate_media(color_scheme="light")
        self._answers.clear()
        page.goto(state.path.format(**self._names), wait_until="load")
        state.do(page)
        page.wait_for_load_state("load")
        answer = self._answers[-1]
        assert answer.status == state.status, f"{state.name} is answered {answer.status}"
        return page, answer

    def close(self) -> None:
        """Close every browser."""
        for page in self._pages.values():
            page.context.close()

    def _find_page(self, who: str) -> Page:
        if who not in self._pages:
            # Moving pictures would be examined, or drawn, halfway.
            context = self._browser.new_context(base_url=self._base_url, reduced_motion="reduce")
            context.set_default_timeout(PATIENCE_MS)
            prepare(context)
            if who:
                _sign_in(context, who, self._base_url)
            page = self._pages[who] = context.new_page()
            page.on("response", lambda response: _keep_document(response, self._answers))
            note_errors(page, self.complaints)
        return self._pages[who]


def _sign_in(context: BrowserContext, who: str, url: str) -> None:
    """Give the browser a session."""
    client = Client()
    client.force_login(User.objects.get(username=who))
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": url}])


def _keep_document(response: Response, answers: list[Response]) -> None:
    is_redirect = 300 <= response.status < 400
    is_download = response.headers.get("content-disposition", "").startswith("attachment")
    request = response.request
    # htmx sends a form in place of the browser, and the page stays.
    is_page = request.is_navigation_request() or (
        request.method == "POST" and response.url == request.frame.url
    )
    if is_page and not is_redirect and not is_download:
        answers.append(response)
