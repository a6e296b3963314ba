"""Whatever a client sends: no traceback, and at most one bounded line, in any log."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from packages_site.logs import MAX_LINE_CHARACTERS
from tests.services.cluster import Cluster
from tests.services.parts import is_answering, wait_until

pytestmark = pytest.mark.cluster

HOST = b"Host: 127.0.0.1\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def get(path: bytes, headers: bytes = HOST, method: bytes = b"GET") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n"


def post(path: bytes, headers: bytes, body: bytes = b"", method: bytes = b"POST") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return get(path, HOST + length + headers, method) + body


SIGN_IN = b"/accounts/login/"
MANIFEST = b"/v2/acme/x/manifests/v1"
NOISE = {
    "no host": [
        b"GET / HTTP/1.0\r\n\r\n",
        get(b"/", b""),
        get(b"/api/v1/schema", b""),
        get(b"/auth/token", b""),
        get(MANIFEST, b"", b"DELETE"),
    ],
    "bad host": [
        get(b"/", b"Host: " + host + b"\r\n")
        for host in (
            b"",
            b"evil.example.org",
            b"a b",
            b"\xff\xfe",
            b"a'\"<>\x1b[31m",
            b"[::1",
            b"a:99999999",
            b"a" * 7000,
            b"a\r\nHost: b",
        )
    ],
    "path": [
        get(path)
        for path in (
            b"/%00",
            b"/a%0d%0aERROR%20forged",
            b"/%ed%a0%80",
            b"/%ff%fe\xff",
            "/é".encode(),
            b"/" + b"a" * 7000,
            b"/" + b"a" * 70_000,
            b"/?q=" + b"%0a" * 2000,
            b"//evil.example.org",
            b"/acme" + b"/a" * 1500,
            b"/static/%00/../x",
            b"/#\xff",
            b"*",
            b"http://evil.example.org/x",
            b"/accounts/login/?next=http://[::1",
            b"/auth/token?scope=%ff%00&service=taglock",
        )
    ],
    "header": [
        get(b"/", HOST + line + b"\r\n")
        for line in (
            b"Cookie: \xff\xfe=;;; taglock_session=\x01",
            b"Cookie: taglock_session=" + b"x" * 5000,
            b"Authorization: Bearer \xff\xfe",
            b"X-A: \x00\x1b[31m",
            b"X-A: a\r\n folded",
            b"User-Agent: \x1b[31m\xff",
            b"X-Real-IP: \xff\r\nX-Forwarded-For: zz\r\nX-Forwarded-Proto: \xff",
            b"Accept-Language: \xff" + b"a" * 3000 + b"\r\nAccept: \xff\r\nAccept-Encoding: \xff",
            b"HX-Request: true\r\nHX-Current-URL: http://[::1",
            b"Range: bytes=zz\r\nIf-Modified-Since: \xff\r\nIf-None-Match: \xff",
            b"no colon",
        )
    ],
    "form": [
        post(SIGN_IN, b"Content-Type: text/plain; charset=\xff\r\n", b"abc"),
        post(SIGN_IN, b"Content-Type: multipart/form-data; boundary=\xff\r\n", b"abc"),
        post(SIGN_IN, b"Content-Type: multipart/form-data; boundary=x\r\n", b"--x\r\n"),
        post(SIGN_IN, FORM, b"a=&" * 500),
        post(SIGN_IN, FORM, b"a" * 2_000_000),
        post(SIGN_IN, FORM, b"a=b")[:-2],
        post(SIGN_IN, FORM + b"Origin: http://[::1\r\n"),
        post(SIGN_IN, FORM + b"Origin: http://evil\xff\r\nReferer: http://e\r\n"),
        post(SIGN_IN, FORM + b"Referer: http://[::1\r\n"),
        post(b"/accounts/login", FORM),
        get(SIGN_IN, HOST + b"Content-Length: abc\r\n", b"POST"),
        get(SIGN_IN, HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n", b"POST") + b"ab",
        get(SIGN_IN, HOST + b"Transfer-Encoding: chunked\r\n", b"POST") + b"zz\r\n",
    ],
    "manifest": [
        post(MANIFEST, b"Authorization: Bearer a.b.\xff\r\n", b"{}", b"PUT"),
        post(MANIFEST, b"Content-Type: \xff\r\n", b"{}", b"PUT"),
        post(b"/v2/acme/%ff/manifests/v1", b"", b"{}", b"PUT"),
        get(MANIFEST, b"Host: \xff\r\n", b"DELETE"),
        get(b"http://evil.example.org/v2/a/b/manifests/c", HOST, b"DELETE"),
    ],
    "no HTTP": [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        get(b"/", HOST, b"FOO\xff"),
        get(b"/", HOST, b"TRACE"),
        get(b"a:1", HOST, b"CONNECT"),
        b"\n\n\n",
    ],
}


def _send(port: int, request: bytes) -> None:
    """Send it, and read to the end of the answer, or for as long as an unfinished request waits."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as client:
        client.sendall(request)
        while client.recv(65536):
            pass


@pytest.fixture
def logs(cluster: Cluster) -> Iterator[dict[int, Path]]:
    """The logs of edge, site and gate by port, each of them empty."""
    found = {cluster.ports.edge: cluster.edge.log, cluster.ports.site: cluster.site.log}
    found |= {cluster.gate_ports[0]: cluster.gates[0].log}
    for log in found.values():
        log.write_bytes(b"")
    yield found
    for log in found.values():
        assert log.exists()


@pytest.mark.parametrize("kind", list(NOISE))
def test_a_request_writes_one_bounded_line_at_most(
    cluster: Cluster, logs: dict[int, Path], kind: str
) -> None:
    for request in NOISE[kind]:
        for port in logs:
            before = {each: log.stat().st_size for each, log in logs.items()}
            _send(port, request)
            for each, log in logs.items():
                written = log.read_bytes()[before[each] :].decode()
                assert "Traceback" not in written, request[:200]
                lines = written.split("\n")
                assert len(lines) <= 2, (request[:200], lines)
                assert lines[-1] == ""
                assert len(lines[0]) <= MAX_LINE_CHARACTERS
                assert lines[0].isprintable()
    for port in (cluster.ports.site, cluster.gate_ports[0]):
        wait_until(lambda port=port: is_answering(f"http://127.0.0.1:{port}/healthz"))  # type: ignore[misc]
