"""Requests to an edge as raw bytes, and what comes back."""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class Answer:
    """What came back, read to the end of the connection."""

    status: int
    head: str
    body: bytes = field(repr=False)

    @property
    def code(self) -> str:
        """The OCI code of the one error; fails where the answer is no OCI error."""
        assert "\r\ncontent-type: application/json" in self.head.lower()
        document = json.loads(self.body)
        assert list(document) == ["errors"]
        (error,) = document["errors"]
        assert set(error) == {"code", "message", "detail"}
        assert error["message"]
        code: str = error["code"]
        return code


def ask(
    port: int,
    *pieces: bytes,
    wrap: Callable[[socket.socket], socket.socket] | None = None,
    source: str = "127.0.0.1",
) -> Answer:
    """Send these bytes from the address `source`, and read until the connection is closed."""
    with socket.create_connection(
        ("127.0.0.1", port), timeout=PATIENCE_SECONDS, source_address=(source, 0)
    ) as plain:
        connection = wrap(plain) if wrap else plain
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # It has answered already, and reads no more.
        while not _is_whole(received) and (more := connection.recv(65536)):
            received += more
        connection.close()
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head.split(b" ", 2)[1]), head.decode("latin-1"), body)


def _is_whole(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(separator) and len(body) >= int(line.partition(b":")[2])
    return False


def to_request(
    target: str, rest: str = "", method: str = "GET", version: str = "HTTP/1.1"
) -> bytes:
    """Return the head of a request; `rest` are more lines of it, each with its end."""
    head = f"{method} {target} {version}\r\nHost: 127.0.0.1\r\nConnection: close\r\n{rest}\r\n"
    return head.encode("latin-1")


def is_open(port: int) -> bool:
    """Whether someone listens on this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
