"""Whole answers are read from a socket as they came, and everything else is refused."""

import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from urllib.parse import urlsplit

import pytest

from workspaces.http_answer import BadAnswerError, ClosedEarlyError, WholeAnswer, read_answer
from workspaces.transport import Deadline, make_pool

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(sent: bytes, method: str = "GET", *, at_once: int = 1000) -> WholeAnswer:
    """Read what a server sends, so many bytes at once, before it closes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        receive = ours.recv_into

        class Slow(socket.socket):
            def recv_into(self, buffer: bytearray) -> int:  # type: ignore[override]
                return receive(buffer, at_once)

        with Slow() as slow:
            return read_answer(slow, method, 1000)


@pytest.mark.parametrize("at_once", [1, 1000])
@pytest.mark.parametrize(
    ("method", "sent", "status", "body", "is_last"),
    [
        ("GET", OK + b"Content-Length: 3\r\n\r\nabc", 200, b"abc", False),
        ("GET", OK + b"Content-Length: 3\r\nConnection: close\r\n\r\nabc", 200, b"abc", True),
        ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", True),
        ("GET", CHUNKED + b"3\r\nabc\r\n0\r\nDocker-Content-Digest: x\r\n\r\n", 200, b"abc", False),
        ("HEAD", OK + b"Content-Length: 3\r\n\r\n", 200, b"", False),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", False),
        (
            "PUT",
            b"HTTP/1.1 100 Continue\r\nDocker-Content-Digest: x\r\n\r\n"
            b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
            201,
            b"",
            False,
        ),
        # The status counts, however long it takes to say more.
        ("PUT", b"HTTP/1.1 400 No\r\nContent-Length: 2000\r\n\r\n" + 2000 * b"x", 400, None, False),
    ],
)
def test_a_whole_answer(
    method: str, sent: bytes, status: int, body: bytes | None, *, is_last: bool, at_once: int
) -> None:
    answer = read(sent, method, at_once=at_once)
    assert (answer.status, answer.body, answer.is_last) == (status, body, is_last)
    assert "Docker-Content-Digest" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "HEAD"])
@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n"])
@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 400 No\r\nContent-Length: 3\r\n\r\nabc", b"HTTP/1.1 40", b"\0"]
)
def test_what_follows_a_whole_answer_is_none(method: str, head: bytes, more: bytes) -> None:
    answer = read(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n" + head + b"\r\n" + more, method)
    assert (answer.status, answer.body, answer.is_last) == (201, b"", True)


def test_a_connection_with_something_behind_an_answer_is_not_used_again() -> None:
    assert read(OK + b"Content-Length: 3\r\n\r\nabc", "HEAD").is_last


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (OK + b"Content-Length: 2000\r\n\r\n" + 2000 * b"x", "too large"),
        (OK + b"\r\nabc", "cut short"),
        (OK + b"Content-Length: 3\r\n\r\nab", "closed before"),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", "closed before"),
        (
            b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
            "not valid|closed",
        ),
        (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not valid"),
        (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "not valid"),
        (OK + 150 * (b"X: " + 999 * b"x" + b"\r\n"), "headers"),
    ],
)
def test_what_is_no_whole_answer(sent: bytes, why: str) -> None:
    with pytest.raises(BadAnswerError, match=why):
        read(sent)


def test_an_answer_counts_that_comes_before_all_was_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
            # What was not read makes it a reset.

        Thread(target=refuse, daemon=True).start()
        pool = make_pool(urlsplit(f"http://127.0.0.1:{server.getsockname()[1]}"))
        with Deadline(10):
            assert pool.ask("PUT", "/", {}, bytes(8_000_000), max_bytes=10).status == 413


def serve_then_close(listener: socket.socket, received: list[bytes]) -> None:
    """Answer one request of each connection; close it when another one comes, as one that stops."""
    with listener:
        while len(received) < 3:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(1000))
                connection.sendall(OK + b"Content-Length: 0\r\n\r\n")
                if len(received) == 1:
                    received.append(connection.recv(1000))


@pytest.mark.parametrize("may_repeat", [True, False])
def test_only_what_may_be_repeated_is_sent_again_where_a_kept_connection_is_closed(
    *, may_repeat: bool
) -> None:
    listener, received = socket.create_server(("127.0.0.1", 0)), list[bytes]()
    pool = make_pool(urlsplit(f"http://127.0.0.1:{listener.getsockname()[1]}"))
    with ThreadPoolExecutor(1) as threads, Deadline(5):
        serving = threads.submit(serve_then_close, listener, received)
        assert pool.ask("GET", "/one", {}, max_bytes=10).status == 200
        if may_repeat:
            assert pool.ask("PUT", "/two", {}, b"", max_bytes=10, may_repeat=True).status == 200
        else:
            with pytest.raises(ClosedEarlyError):
                pool.ask("PUT", "/two", {}, b"", max_bytes=10)
            assert len(received) == 2
            assert pool.ask("PUT", "/two", {}, b"", max_bytes=10).status == 200
        serving.result()
    assert [each.split()[1] for each in received] == [b"/one", b"/two", b"/two"]


def test_a_line_break_is_never_sent() -> None:
    pool = make_pool(urlsplit("http://127.0.0.1:9"))
    for target, headers in (("/\r\nX: y", {}), ("/", {"X": "a\r\nY: b"}), ("/", {"X\n": "a"})):
        with pytest.raises(ValueError, match="line break"):
            pool.ask("GET", target, headers, max_bytes=10)
