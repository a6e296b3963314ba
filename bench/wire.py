"""The wire between gates and registry: now and then a write on it is late, or its answer is lost.

What a stopped registry does to all writes at once, this does to single ones: a write that its
sender has given up lands seconds later, after its repetition, and among those of others.
"""

import http.client
import random
import socket
import socketserver
import threading
import time
from collections import Counter, deque
from http import HTTPStatus

LONGEST_DELAY_SECONDS = 10.0
_SHORTEST_DELAY_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0
_FAULTS = {"passes": 0.92, "is late": 0.04, "loses its answer": 0.03, "is answered 500": 0.01}


class Wire(socketserver.ThreadingTCPServer):
    """A proxy in front of the registry at `registry_port`. It listens as soon as it is made."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, chance: random.Random) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.registry_port = 0
        self.is_faulty = False
        self.faults: Counter[str] = Counter()
        # Where writes were late of late: who looks for trouble looks there.
        self.late: deque[tuple[str, str]] = deque(maxlen=8)
        self._chance = chance
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """The address that stands for the registry's."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def pick_fault(self, method: str, target: str) -> tuple[str, float]:
        """Say what happens to a request, and after how many seconds it goes on."""
        if not self.is_faulty or method not in ("PUT", "DELETE"):
            return "passes", 0.0
        fault = self._chance.choices(list(_FAULTS), list(_FAULTS.values()))[0]
        if fault != "passes":
            self.faults[f"write {fault}"] += 1
        if fault != "is late":
            return fault, 0.0
        repository, _, reference = target.removeprefix("/v2/").rpartition("/manifests/")
        self.late.append((repository, reference))
        return fault, self._chance.uniform(_SHORTEST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: that connections end is what this is for."""


class _Exchange(socketserver.StreamRequestHandler):
    """A connection of a gate: one request after the other."""

    server: Wire
    timeout = _PATIENCE_SECONDS

    def handle(self) -> None:
        while self._handle_one():
            pass

    def _handle_one(self) -> bool:
        """Pass one request on; return whether another one may follow."""
        line = self.rfile.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return False
        method, target, _ = line
        headers = http.client.parse_headers(self.rfile)
        body = self.rfile.read(int(headers.get("Content-Length", "0")))
        fault, delay = self.server.pick_fault(method, target)
        time.sleep(delay)
        answer = self._ask(method, target, headers, body)
        if answer is None or fault == "loses its answer":
            self.connection.shutdown(socket.SHUT_RDWR)
            return False
        status, received, content = answer
        if fault == "is answered 500":
            status, content = 500, b""
        self._answer(method, status, received, content)
        return True

    def _ask(
        self, method: str, target: str, headers: http.client.HTTPMessage, body: bytes
    ) -> tuple[int, http.client.HTTPMessage, bytes] | None:
        upstream = http.client.HTTPConnection(
            "127.0.0.1", self.server.registry_port, timeout=_PATIENCE_SECONDS
        )
        try:
            upstream.request(method, target, body or None, dict(headers.items()))
            response = upstream.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            upstream.close()

    def _answer(
        self, method: str, status: int, headers: http.client.HTTPMessage, content: bytes
    ) -> None:
        length = headers.get("Content-Length", "0") if method == "HEAD" else str(len(content))
        kept = [
            f"{name}: {value}"
            for name, value in headers.items()
            if name.lower() not in ("content-length", "connection", "transfer-encoding")
        ]
        phrase = HTTPStatus(status).phrase
        head = [f"HTTP/1.1 {status} {phrase}", *kept, f"Content-Length: {length}", "", ""]
        self.wfile.write("\r\n".join(head).encode("latin-1") + content)
