"""What stands behind an edge in its tests: a server that takes every request, and keeps it."""

import ssl
import threading
import time
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

# Enough to be a nuisance, and short enough for a test.
READ_TIMEOUT_SECONDS = 1


@dataclass(frozen=True)
class Asked:
    """A request that came through: its first line, its head, and how long its body was."""

    line: str
    head: Message
    body_length: int


class Upstream(ThreadingHTTPServer):
    """A registry, gate or site.

    What a path ends in says how it answers: `/slow` late, `/lost` not at all, `/teapot` 418. One
    that `is_leaving` answers 502, as Taglock does where it begins nothing any more.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.asked: list[Asked] = []
        self.is_leaving = False
        self.port: int = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Say nothing: the edge may have given up meanwhile."""


# What a query may say of the answer's head.
_HEADERS = {
    "type": "Content-Type",
    "encoding": "Content-Encoding",
    "location": "Location",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def __getattr__(self, name: str) -> object:
        """Take any method, in any case of letters."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        self.server.asked.append(Asked(self.requestline, self.headers, self._read_body()))
        if self.path.endswith("/slow"):
            time.sleep(READ_TIMEOUT_SECONDS * 3)
        elif self.path.endswith("/lost"):
            self.close_connection = True
            return
        # A query may say how much of what is answered.
        query = dict(parse_qsl(urlsplit(self.path).query))
        body = b"ok" * int(query.get("times", "1"))
        self.send_response(self._choose_status())
        for key, name in _HEADERS.items():
            if key in query:
                self.send_header(name, query[key])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _choose_status(self) -> int:
        if self.server.is_leaving:
            return 502
        return 418 if self.path.endswith("/teapot") else 200

    def _read_body(self) -> int:
        """Return how long the body is. Raises ConnectionError if it ends before it should."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            length = int(self.headers.get("Content-Length") or 0)
            if len(self.rfile.read(length)) < length:
                raise ConnectionError
            return length
        length = 0
        while size := int(self.rfile.readline(), 16):
            length += len(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return length

    def log_message(self, *_: object) -> None:
        """Say nothing."""
