"""What a person, a program and an operator see of a Taglock of which a part is down."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.meetings import new_meeting
from tests.services.registry_user import Answer, send

SIGN_IN_COOKIE = "taglock_session"


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in, at a browser, and has an access token for programs."""

    port: int
    session: str
    token: str

    def open(self, path: str) -> Answer:
        """Open a page."""
        cookie = f"Cookie: {SIGN_IN_COOKIE}={self.session}\r\n"
        return send(self.port, "GET", path, headers=cookie)

    def call(self, method: str, path: str, body: object = None, headers: str = "") -> Answer:
        """Call the API below /api/v1/."""
        return send(
            self.port,
            method,
            f"/api/v1/{path}",
            None if body is None else json.dumps(body).encode(),
            "application/json",
            f"Authorization: Bearer {self.token}\r\n{headers}",
        )

    def check_push(self, repository: str, tag: str, digest: str) -> Answer:
        """Ask as a registry does before it accepts a push."""
        body = {"repository": repository, "tag": tag, "digest": digest, "current_digest": None}
        return self.call("POST", "check-push", body)


def read_json(answer: Answer) -> Any:
    return json.loads(answer.body)


def assert_try_again(answer: Answer) -> None:
    """Assert that a push or a delete was not decided, and that the client is told to come back."""
    assert answer.status in (502, 503), answer
    assert answer.headers["content-type"].startswith("application/json"), answer
    assert answer.code == "UNAVAILABLE", answer
    assert 0 < int(answer.headers["retry-after"]) <= 60, answer


def assert_clear_page(answer: Answer) -> None:
    """Assert that a person reads that it does not work now, and nothing of how it is made."""
    assert answer.status in (500, 503), answer
    assert answer.headers["content-type"].startswith("text/html"), answer
    text = answer.body.decode()
    assert "<h1" in text, text
    assert "The database cannot be used at the moment" in text, text
    for inside in ("Traceback", "OperationalError", "psycopg", "sqlite", "Redis"):
        assert inside not in text, text


def assert_undecided(answer: Answer) -> None:
    """Assert that a check was not answered by yes or no."""
    assert answer.status == 503, answer
    assert answer.headers["content-type"] == "application/problem+json", answer
    assert read_json(answer)["code"] == "undecided", answer


@contextmanager
def waiting(point: str, folder: Path, push: Callable[[str], Answer]) -> Iterator["Future[Answer]"]:
    """While this lasts, a push waits at a point of tests/services/faults.py; then it goes on.

    `push` gets the headers that make it wait. `folder` is the cluster's.
    """
    with ThreadPoolExecutor(1) as thread, new_meeting(folder, point) as meeting:
        answer = thread.submit(push, f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        yield answer
