"""A real identity provider that tests start: npm's oidc-provider, and a browser that is there."""

import http.server
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urljoin

from packages_site.local import find_free_ports
from tests.conftest import ROOT, skip_or_fail
from tests.services.parts import Part, is_answering
from workspaces.single_sign_on.settings import Provider

SCRIPT = Path(__file__).with_suffix(".mjs")
# What makes the encoding of HTTP Basic matter.
_CLIENT_SECRET = "a:secret/with%odd characters"


class IdentityProvider:
    """The running provider: who it knows, and the logout tokens that it has sent."""

    def __init__(self, port: int, sent: list[str]) -> None:
        self.settings = Provider(
            f"http://127.0.0.1:{port}", "taglock", _CLIENT_SECRET, name="the test provider"
        )
        self.logout_tokens = sent

    def set_person(self, subject: str, *groups: str) -> None:
        """Know a person, with these groups. The part after the bar is their name."""
        self._tell("PUT", subject, f"?{urlencode([('group', each) for each in groups])}")

    def forget_person(self, subject: str) -> None:
        """Know someone no longer."""
        self._tell("DELETE", subject)

    def _tell(self, method: str, subject: str, query: str = "") -> None:
        address = f"{self.settings.issuer}/people/{quote(subject, safe='')}{query}"
        with urllib.request.urlopen(urllib.request.Request(address, method=method)) as answer:
            assert answer.status == 204


class ProviderBrowser:
    """A browser as the provider sees it, with its cookies."""

    def __init__(self, callback: str) -> None:
        self._callback = callback
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(CookieJar()), _NoRedirects()
        )

    def sign_in(self, address: str, subject: str) -> dict[str, str]:
        """Do all that the provider asks for; return what it then tells the site's callback."""
        for _ in range(12):
            if address.startswith(self._callback):
                query = parse_qs(address.partition("?")[2])
                return {name: each for name, (each,) in query.items()}
            page, moved = self._open(address)
            if not moved:
                moved = self._answer(address, page, subject)
            address = urljoin(address, moved)
        raise AssertionError(f"the provider does not come to an end: {address}")

    def sign_out(self, address: str) -> None:
        """End the session at the provider."""
        page, _ = self._open(address)
        secret = re.search(r'name="xsrf" value="([^"]+)"', page)
        assert secret is not None
        self._open(f"{address}/confirm", {"xsrf": secret[1], "logout": "yes"})

    def _answer(self, address: str, page: str, subject: str) -> str:
        prompt = re.search(r'name="prompt" value="([^"]+)"', page)
        assert prompt is not None, page
        _, moved = self._open(address, {"prompt": prompt[1], "login": subject, "password": "any"})
        return moved

    def _open(self, address: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """Return a page, and where it leads on to."""
        data = urlencode(form).encode() if form else None
        try:
            answer = self._opener.open(address, data, timeout=20)
        except urllib.error.HTTPError as error:
            # Redirects are not followed, so each is an error to urllib.
            if error.code >= 400:
                raise AssertionError(error.read()) from error
            answer = error
        with answer:
            return answer.read().decode(), answer.headers.get("Location", "")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


@contextmanager
def running_identity_provider(folder: Path, callback: str) -> Iterator[IdentityProvider]:
    """Start it, with what it needs by requirements/identity-provider."""
    if shutil.which("npm") is None:
        skip_or_fail("Node and npm, to run an identity provider with")
    done = subprocess.run(
        [ROOT / "requirements" / "identity-provider", ROOT / ".venv" / "go"],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        skip_or_fail(f"npm's oidc-provider, which cannot be installed: {done.stderr}")
    sent: list[str] = []
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _make_listener(sent))
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    (port,) = find_free_ports(1)
    logout = f"http://127.0.0.1:{listener.server_port}/logout"
    part = Part(
        f"exec node {SCRIPT} {done.stdout.strip()} {port} {callback} {logout}",
        folder / "identity-provider.out",
        is_ready=lambda: is_answering(f"http://127.0.0.1:{port}/jwks"),
    )
    try:
        part.start()
        yield IdentityProvider(port, sent)
    finally:
        part.stop()
        listener.shutdown()
        thread.join()
        listener.server_close()


def _make_listener(sent: list[str]) -> type[http.server.BaseHTTPRequestHandler]:
    class Listener(http.server.BaseHTTPRequestHandler):
        """Keeps the logout tokens that the provider sends."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            sent.extend(parse_qs(body)["logout_token"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Listener
