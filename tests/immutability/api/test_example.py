"""The example of a registry's own hook does what the guide says, against a server."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from immutability.policy.protection import Policy, Protection
from packages_site.local import find_free_ports
from tests.conftest import AA, BB
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import Workspace

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "check_push.py"

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run() -> Run:
    """Return a function that runs the example; it returns its exit status and its lines."""

    def run(url: str, token: str, digest: str = AA) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, "-I", EXAMPLE, "acme/api", "v1", digest, "dana"],
            env={"TAGLOCK_URL": url, "TAGLOCK_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    return run


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a server that answers every check with 200 and something else."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.django_db(transaction=True)
def test_the_example_relays_what_taglock_says(
    live_server: Any, acme: Workspace, protect: Callable[..., Policy], run: Run
) -> None:
    protect(acme, Protection.ALL)
    token = create_access_token(acme, "hook", [Scope.REGISTRY], actor=SYSTEM)
    assert run(live_server.url, token) == (0, [])
    assert run(live_server.url, token) == (0, [])
    status, (answered, body) = run(live_server.url, token, BB)
    error = json.loads(body)["errors"][0]
    assert (status, answered, error["code"]) == (1, "403", "DENIED")
    assert "cannot be overwritten because the tag is immutable" in error["message"]
    status, (answered, body) = run(live_server.url, "wrong", BB)
    assert (status, answered) == (1, "503")


def test_where_taglock_is_away_or_someone_else_answers_the_push_is_refused(
    stranger: str, run: Run
) -> None:
    (closed,) = find_free_ports(1)
    for url in (f"http://127.0.0.1:{closed}", stranger):
        status, (answered, body) = run(url, "token")
        assert (status, answered) == (1, "503")
        assert json.loads(body)["errors"][0]["code"] == "UNAVAILABLE"
