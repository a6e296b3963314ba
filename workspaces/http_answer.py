"""Read one whole answer of HTTP/1.1 from a socket: parsed by llhttp, and checked to be complete."""

import socket
from dataclasses import dataclass

import httptools
from urllib3 import HTTPHeaderDict

_CHUNK_BYTES = 64 * 1024
# Of status line and headers, with what comes of the body at the same time.
_MAX_HEAD_BYTES = 2 * _CHUNK_BYTES
_WITHOUT_BODY = (204, 304)


class BadAnswerError(ValueError):
    """What came is no whole answer."""


class ClosedEarlyError(BadAnswerError):
    """The connection was closed before the whole answer came."""


@dataclass(frozen=True)
class WholeAnswer:
    """An answer as it came; the body is None for one that is larger than was wanted.

    With `is_last` the connection cannot be used again.
    """

    status: int
    headers: HTTPHeaderDict
    body: bytes | None
    is_last: bool


def read_answer(sock: socket.socket, method: str, max_bytes: int) -> WholeAnswer:
    """Read the answer to a request that was sent.

    A body that is too large is read to its end and dropped: the status is what counts. Raises
    BadAnswerError for such a one where GET was answered with success, and for an answer that ends
    early, is no HTTP or does not say its length; and OSError.
    """
    reader = _Reader(method, max_bytes)
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    while not reader.is_whole:
        count = sock.recv_into(buffer)
        if not count:
            raise ClosedEarlyError("the connection was closed before the whole answer came")
        reader.feed(view[:count])
    return reader.answer()


class _Reader:
    """Puts together what the parser calls out. Of 1xx, which announce another answer, nothing.

    Once the answer is whole, what follows it changes nothing: no one has asked for it.
    """

    def __init__(self, method: str, max_bytes: int) -> None:
        self.is_whole = False
        self._method = method
        self._max_bytes = max_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._has_head = False
        self._head_bytes = 0
        self._status = 0
        self._headers = HTTPHeaderDict()
        self._body: bytearray | None = bytearray()
        self._is_last = False

    def feed(self, data: memoryview) -> None:
        """Take what was received. Raises BadAnswerError."""
        if not self._has_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                raise BadAnswerError("the headers of the answer are too large")
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_whole:
                raise BadAnswerError(f"the answer is not valid HTTP: {error}") from error
            self._is_last = True
        if self._has_head and not self.is_whole:
            self._require_length()
        if self._body is None and self._method == "GET" and self._status < 300:
            raise BadAnswerError("the answer is too large")

    def answer(self) -> WholeAnswer:
        """Return the answer, which is whole."""
        body = bytes(self._body) if self._body is not None else None
        return WholeAnswer(self._status, self._headers, body, self._is_last)

    def _require_length(self) -> None:
        """Raise BadAnswerError for an answer that ends with the connection: it may be cut short."""
        is_chunked = "chunked" in self._headers.get("Transfer-Encoding", "").lower()
        if not is_chunked and not self._headers.get("Content-Length", "").isdigit():
            raise BadAnswerError("the answer may be cut short: it does not say its length")

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Give up a connection on which more comes than was asked for."""
        self._is_last = self._is_last or self.is_whole

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Those behind a chunked body say nothing."""
        if not self._has_head:
            self._headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Note what the head says. That is all of the answer to HEAD."""
        if self.is_whole:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._headers = HTTPHeaderDict()
            return
        self._has_head = True
        self._is_last = not self._parser.should_keep_alive()
        self.is_whole = self._method == "HEAD" or self._status in _WITHOUT_BODY

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body; nothing of one that is too large."""
        if self.is_whole:
            # Of what has no body: what comes next on this connection is no answer.
            self._is_last = True
        elif self._body is not None:
            self._body += part
            if len(self._body) > self._max_bytes:
                self._body = None

    def on_message_complete(self) -> None:
        """Note that all of the answer is here."""
        self.is_whole = self.is_whole or self._has_head
