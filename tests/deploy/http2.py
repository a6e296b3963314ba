"""A request over HTTP/2 (RFC 9113) with nothing checked: path and method go as they are.

Clients and their libraries refuse to send what an edge must refuse to take.
"""

import socket
import struct
from contextlib import suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 0x1, 0x4
# Longer than any edge takes for its answer.
PATIENCE_SECONDS = 5


def send_http2(
    port: int, method: str, target: str, body: bytes = b"{}", lines: dict[str, str] | None = None
) -> None:
    """Send a request without TLS, and wait until it is answered or refused.

    `lines` are more of its head; without any it says how long the body is.
    """
    head = [(":method", method), (":scheme", "http"), (":authority", "127.0.0.1")]
    head.append((":path", target))
    is_read = method in ("GET", "HEAD")
    if not is_read:
        head += (lines or {"content-length": str(len(body))}).items()
    block = b"".join(_literal(name, value) for name, value in head)
    sent = PREFACE + _frame(SETTINGS, 0, 0, b"")
    sent += _frame(HEADERS, END_HEADERS | (END_STREAM if is_read else 0), 1, block)
    if not is_read:
        sent += _frame(DATA, END_STREAM, 1, body)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        with suppress(OSError):
            connection.sendall(sent)
        with connection.makefile("rb") as received, suppress(ConnectionError):
            while (start := received.read(9)) and not _is_last(start):
                received.read(int.from_bytes(start[:3], "big"))


def _is_last(start: bytes) -> bool:
    """Whether the frame that begins so ends the answer, or the connection."""
    kind, flags, stream = struct.unpack(">BBI", start[3:])
    is_end = kind in (DATA, HEADERS) and bool(flags & END_STREAM)
    return (stream == 1 and (is_end or kind == RST_STREAM)) or kind == GOAWAY


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """Encode a header as two literals, neither of them compressed (RFC 7541, 6.2.2)."""
    return b"\0" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    encoded = text.encode("latin-1")
    rest = len(encoded) - 127
    if rest < 0:
        return bytes([len(encoded)]) + encoded
    length = b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + encoded
