"""A proxy in front of the registry: it does to the next request what a test has written down."""

import http.client
import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.services.registry_user import Answer

PATIENCE_SECONDS = 20.0
_DRIBBLE_SECONDS = 0.1
_NOT_PASSED_ON = frozenset({"connection", "transfer-encoding", "content-length", "host"})


STORE, POINT, DELETE = "store", "point", "delete"


class Hold:
    """A request is held here until it is let go."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._leave = threading.Event()
        self._landed = threading.Event()

    def wait_until_reached(self) -> None:
        """Wait until a request is held. Raises TimeoutError."""
        if not self._reached.wait(PATIENCE_SECONDS):
            raise TimeoutError("no request has come here")

    def let_go(self) -> None:
        """Let the request go on."""
        self._leave.set()

    def let_land(self) -> None:
        """Let the request go on, and wait until the registry has answered it."""
        self.let_go()
        if not self._landed.wait(PATIENCE_SECONDS):
            raise TimeoutError("the registry has not answered")

    def note_landed(self) -> None:
        """Say that the registry has answered the request."""
        self._landed.set()

    def pass_through(self) -> None:
        """Wait here, as the request."""
        self._reached.set()
        self._leave.wait(PATIENCE_SECONDS)


@dataclass(frozen=True)
class Fault:
    """What is done to one request.

    It is held or delayed before it is forwarded, if at all; then the answer is held, changed, cut
    short or dribbled byte by byte, or the connection is closed in its place.
    """

    before: Hold | None = None
    delay: float = 0.0
    is_forwarded: bool = True
    after: Hold | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    is_closed: bool = False
    is_cut: bool = False
    is_dribbled: bool = False


def answers(status: int, *, is_forwarded: bool) -> Fault:
    """Answer with this status, whatever the registry says, if it is asked at all."""
    return Fault(status=status, is_forwarded=is_forwarded)


class FaultyRegistry:
    """Stands in front of the registry of a cluster, on a port of its own.

    Faults are for a kind of request: STORE and POINT are pushes by digest and by tag; any other is
    its method, in small letters.
    """

    def __init__(self, registry_port: int = 0) -> None:
        self.registry_port = registry_port
        self.folder = Path()
        # The writes that came, in order, each with the end of its path.
        self.writes: list[tuple[str, str]] = []
        # Whether deletes of single tags work, which Debian's registry does not know.
        self.deletes_tags = False
        self._lock = threading.Lock()
        self._faults: dict[str, deque[Fault]] = {}
        self._holds: list[Hold] = []
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        self.reset()
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget the faults that have not struck, and let everything go on that is held."""
        with self._lock:
            self._faults.clear()
            holds, self._holds = self._holds, []
        self.writes.clear()
        self.deletes_tags = False
        for hold in holds:
            hold.let_go()

    def script(self, kind: str, *faults: Fault) -> None:
        """Write down what is done to the next requests of this kind, one fault each."""
        with self._lock:
            self._faults.setdefault(kind, deque()).extend(faults)
            for fault in faults:
                self._holds += [each for each in (fault.before, fault.after) if each is not None]

    def hold_next(self, kind: str) -> Hold:
        """Hold the next request of this kind before it is forwarded; return the hold."""
        hold = Hold()
        self.script(kind, Fault(before=hold))
        return hold

    def sent(self, kind: str) -> list[str]:
        """Return the tags or digests of the writes of this kind, as they came."""
        return [reference for each, reference in list(self.writes) if each == kind]

    def take_fault(self, method: str, path: str) -> Fault:
        """Return what is to be done to a request: nothing, if nothing is written down."""
        reference = path.rpartition("/")[2]
        kind = method.lower()
        if method == "PUT":
            kind = STORE if ":" in reference else POINT
        with self._lock:
            if kind in (STORE, POINT, DELETE):
                self.writes.append((kind, reference))
            faults = self._faults.get(kind)
            if faults:
                return faults.popleft()
        return self.choose_fault(kind, path)

    def choose_fault(self, kind: str, path: str) -> Fault:
        """Return what is to be done to a request for which nothing is written down."""
        return Fault()

    def forward(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """Ask the registry."""
        if method == "DELETE" and self.deletes_tags and ":" not in path:
            return self._delete_tag(path)
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.registry_port, timeout=PATIENCE_SECONDS
        )
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def _delete_tag(self, path: str) -> Answer:
        """Delete a tag where the registry keeps it, as Distribution 3 does."""
        name, _, tag = path.removeprefix("/v2/").rpartition("/manifests/")
        root = self.folder / "registry" / "docker" / "registry" / "v2" / "repositories"
        folder = root / name / "_manifests" / "tags" / tag
        if not folder.exists():
            return _make_error(404, "MANIFEST_UNKNOWN")
        shutil.rmtree(folder)
        return Answer(202, {}, b"")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: FaultyRegistry) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        """Answer one request. The client may have given up meanwhile."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        fault = self.server.proxy.take_fault(self.command, self.path)
        if fault.before is not None:
            fault.before.pass_through()
        time.sleep(fault.delay)
        answer = self._forward(body) if fault.is_forwarded else _make_error(503, "UNKNOWN")
        if fault.before is not None:
            fault.before.note_landed()
        if fault.status:
            answer = _make_error(fault.status, "UNKNOWN")
        if fault.after is not None:
            fault.after.pass_through()
        if fault.is_closed or answer is None:
            self.close_connection = True
        else:
            self._answer(answer, fault)

    def _forward(self, body: bytes | None) -> Answer | None:
        try:
            headers = _pass_on_headers(dict(self.headers.items()))
            return self.server.proxy.forward(self.command, self.path, headers, body)
        except (OSError, http.client.HTTPException):
            return None

    def _answer(self, answer: Answer, fault: Fault) -> None:
        body = b"" if self.command == "HEAD" else answer.body
        length = {"Content-Length": answer.headers.get("Content-Length", str(len(answer.body)))}
        headers = _pass_on_headers(answer.headers) | length | dict(fault.headers)
        lines = [f"HTTP/1.1 {answer.status} Faulty"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        whole = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        if fault.is_cut:
            whole, self.close_connection = whole[: len(whole) // 2], True
        pieces = [bytes([byte]) for byte in whole] if fault.is_dribbled else [whole]
        for piece in pieces:
            self.wfile.write(piece)
            if fault.is_dribbled:
                time.sleep(_DRIBBLE_SECONDS)

    do_GET = do_HEAD = do_PUT = do_DELETE = _pass_on  # noqa: N815  (the library's names)


def _pass_on_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}


def _make_error(status: int, code: str) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": "faulty", "detail": {}}]}).encode()
    return Answer(status, {"Content-Type": "application/json"}, body)
