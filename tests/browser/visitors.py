"""The people who look at the pages of `states.py`: a browser each, open from page to page."""

from collections.abc import Mapping

from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, Response

from tests.browser.looks import HEIGHT, WIDTHS
from tests.browser.states import PATIENCE_MS, State
from tests.services.browser import note_errors
from workspaces.models import User


class Visitors:
    """Opens states. `complaints` is what pages have written as errors."""

    def __init__(self, browser: Browser, base_url: str, names: Mapping[str, object]) -> None:
        """Let them see the site at `base_url`; `names` is what addresses have in braces."""
        self._browser = browser
        self._base_url = base_url
        self._names = names
        self._contexts: dict[str, BrowserContext] = {}
        self.complaints: list[str] = []

    def open(self, state: State) -> tuple[Page, Response]:
        """Open a state, wide and light; return the page, and the answer that it is made of."""
        page = self._find_context(state.who).new_page()
        page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
        answers: list[Response] = []
        page.on("response", lambda response: _keep_document(response, answers))
        note_errors(page, self.complaints)
        page.goto(state.path.format(**self._names), wait_until="load")
        state.do(page)
        page.wait_for_load_state("load")
        assert answers[-1].status == state.status, f"{state.name} is answered {answers[-1].status}"
        return page, answers[-1]

    def close(self) -> None:
        """Close every browser."""
        for context in self._contexts.values():
            context.close()

    def _find_context(self, who: str) -> BrowserContext:
        if who not in self._contexts:
            # Moving pictures would be examined, or drawn, halfway.
            context = self._browser.new_context(base_url=self._base_url, reduced_motion="reduce")
            context.set_default_timeout(PATIENCE_MS)
            if who:
                _sign_in(context, who, self._base_url)
            self._contexts[who] = context
        return self._contexts[who]


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
