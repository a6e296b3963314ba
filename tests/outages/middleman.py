"""A middleman before the registry: it counts writes, takes its time, and keeps one waiting."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SKIPPED = frozenset(("connection", "transfer-encoding", "server", "date"))
MOST_SECONDS = 20.0


class Middleman:
    """What stands at `url`. It notes the tags of the writes that came, and of those that landed."""

    def __init__(self, registry_port: int, *, write_seconds: float = 0.0) -> None:
        self.registry_port = registry_port
        self.write_seconds = write_seconds
        self.written: list[str] = []
        self.landed: list[str] = []
        self.has_one_waiting = threading.Event()
        self._may_go = threading.Event()
        self._may_go.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def keep_waiting(self) -> None:
        """Let no write through until `let_go`."""
        self.has_one_waiting.clear()
        self._may_go.clear()

    def let_go(self) -> None:
        """Let what waits through, and what comes after it."""
        self._may_go.set()

    def take(self, path: str) -> None:
        """Note a write, and hold it as long as it is to be held."""
        self.written.append(path.rpartition("/")[2])
        time.sleep(self.write_seconds)
        if not self._may_go.is_set():
            self.has_one_waiting.set()
            self._may_go.wait(MOST_SECONDS)

    def close(self) -> None:
        """Stop listening."""
        self.let_go()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def middleman(registry_port: int, *, write_seconds: float = 0.0) -> Iterator[Middleman]:
    """Run a middleman."""
    running = Middleman(registry_port, write_seconds=write_seconds)
    try:
        yield running
    finally:
        running.close()


def _handler(owner: Middleman) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name)
            pass

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command != "GET" and self.command != "HEAD":
                owner.take(self.path)
            behind = HTTPConnection("127.0.0.1", owner.registry_port, timeout=MOST_SECONDS)
            behind.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = behind.getresponse()
            content = answer.read()
            behind.close()
            if self.command == "PUT":
                owner.landed.append(self.path.rpartition("/")[2])
            try:
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in SKIPPED:
                        self.send_header(name, value)
                if self.command != "HEAD" and answer.getheader("Content-Length") is None:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # Who has asked is gone.

        do_GET = do_HEAD = do_PUT = do_DELETE = _pass_on  # noqa: N815  (their names)

    return Handler
