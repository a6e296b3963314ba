"""Clients that push, one image after the other, while something happens to what they push to."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.services.registry_user import Repository, digest_of, log_in

# Between two pushes of a client: what is restarted beside it needs the processor more.
PAUSE_SECONDS = 0.1


@dataclass
class Client(Repository):
    """One that logs in, uploads, pushes and looks, through the edge alone.

    The digests that it pushed are in `pushed`, by tag. What it got instead, an answer or an error,
    is in `failures`.
    """

    port: int
    name: str
    username: str
    secret: str
    pushed: dict[str, str] = field(default_factory=dict)
    failures: list[object] = field(default_factory=list)
    first_number: int = 0
    account: None = None
    header: str = ""

    @property
    def login(self) -> str:
        """The line of a request's head that says who is asking."""
        return self.header

    def push(self) -> None:
        """Push an image of its own, as a client does that logs in for it."""
        tag = f"v1.{self.first_number + len(self.pushed) + len(self.failures)}.0"
        try:
            digest = self._push(tag)
        except AssertionError as error:
            self.failures += error.args
        except OSError as error:
            self.failures.append(error)
        else:
            self.pushed[tag] = digest

    def _push(self, tag: str) -> str:
        scope = f"repository:{self.name}:pull,push"
        login = log_in(self.port, self.username, self.secret, scope)
        assert login.status == 200, login
        self.header = f"Authorization: Bearer {json.loads(login.body)['token']}\r\n"
        image = self.make_image(f"{self.name} {tag}")
        pushed = self.put(tag, image)
        assert pushed.status == 201, pushed
        found = self.read(tag)
        assert found == digest_of(image), found
        return digest_of(image)


@contextmanager
def pushing(clients: Sequence[Client]) -> Iterator[None]:
    """Let the clients push, each at least once before and once after what is done meanwhile."""
    is_over = threading.Event()

    def push(client: Client, has_begun: threading.Event) -> None:
        client.push()
        has_begun.set()
        while not is_over.wait(PAUSE_SECONDS):
            client.push()
        client.push()

    begun = [threading.Event() for _ in clients]
    threads = [
        threading.Thread(target=push, args=pair) for pair in zip(clients, begun, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        for each in begun:
            each.wait()
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
