"""Requests as they go out, over connections that are kept: as cheap as Python allows.

This imports no Django and no library, so that the processes that send start at once.
"""

import hashlib
import json
import os
import socket
from dataclasses import dataclass
from typing import NamedTuple, Protocol

# Stand in a request for the numbers of the operation and of its client, which are as long.
NUMBER, CLIENT = b"##########", b"@@"
MAX_CLIENTS = 100
# What is to be made faster may still take minutes.
PATIENCE_SECONDS = 300.0
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
LAYERS, LAYER_BYTES = 3, 20 * 1024


class WrongAnswerError(RuntimeError):
    """A server answered something else than what is measured."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def make_number(client: int, count: int) -> bytes:
    """Return the number of a client's operation: no other of its row has the same."""
    return f"{client:02}{count:08}".encode()


class Connection:
    """A connection to a server on loopback, opened again where the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def send(self, request: bytes) -> Answer:
        """Send one request and return the answer to it."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._file = self._socket.makefile("rb")
        self._socket.sendall(request)
        answer = self._read(has_body=not request.startswith(b"HEAD "))
        if answer.headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return answer

    def close(self) -> None:
        """Close it. The next request opens another one."""
        if self._socket is not None:
            self._file.close()
            self._socket.close()
            self._socket = None

    def _read(self, *, has_body: bool) -> Answer:
        status_line = self._file.readline()
        if not status_line:
            raise WrongAnswerError("the server closed the connection without an answer")
        headers = {}
        while line := self._file.readline().rstrip():
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        status = int(status_line.split(b" ", 2)[1])
        return Answer(status, headers, self._read_body(headers) if has_body else b"")

    def _read_body(self, headers: dict[bytes, bytes]) -> bytes:
        if headers.get(b"transfer-encoding") != b"chunked":
            return self._file.read(int(headers.get(b"content-length", b"0")))
        chunks = []
        while size := int(self._file.readline(), 16):
            chunks.append(self._file.read(size))
            self._file.readline()
        self._file.readline()
        return b"".join(chunks)


def make_request(
    method: str, target: str, *, authorization: str = "", body: bytes = b"", more: str = ""
) -> bytes:
    """Return the bytes of a request. `more` are further lines of its head, each with its end."""
    lines = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n{more}"
    if authorization:
        lines += f"Authorization: {authorization}\r\n"
    if method not in ("GET", "HEAD"):
        lines += f"Content-Length: {len(body)}\r\n"
    return lines.encode() + b"\r\n" + body


class Operation(Protocol):
    """What is done again and again, each time with another number."""

    @property
    def port(self) -> int:
        """Where it is sent."""

    def perform(self, connection: Connection, number: bytes) -> None:
        """Do it once. Raises WrongAnswerError."""


@dataclass(frozen=True)
class Call:
    """One request, the status that it must get, and a text that the answer must have."""

    port: int
    request: bytes
    status: int
    text: bytes = b""

    def perform(self, connection: Connection, number: bytes) -> None:
        """Send it."""
        request = self.request.replace(NUMBER, number).replace(CLIENT, number[: len(CLIENT)])
        answer = send_expecting(connection, request, self.status)
        if self.text not in answer.body:
            raise WrongAnswerError(f"{self.text!r} is not in the answer: {answer.body[:500]!r}")


@dataclass(frozen=True)
class ImagePush:
    """The push of a new small image as clients do it: each blob, then the manifest by its tag."""

    port: int
    repository: str
    tag: str
    authorization: str

    def perform(self, connection: Connection, number: bytes) -> None:
        """Push it."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "id": os.urandom(8).hex()})
        contents = [config.encode(), *(os.urandom(LAYER_BYTES) for _ in range(LAYERS))]
        descriptors = [
            {
                "mediaType": LAYER_TYPE if place else CONFIG_TYPE,
                "digest": self._upload(connection, content),
                "size": len(content),
            }
            for place, content in enumerate(contents)
        ]
        body = make_manifest(descriptors[0], descriptors[1:])
        tag = self.tag.replace(NUMBER.decode(), number.decode())
        request = make_manifest_request(self.repository, tag, body, self.authorization)
        send_expecting(connection, request, 201)

    def _upload(self, connection: Connection, content: bytes) -> str:
        """Upload a blob as skopeo does; return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blobs = f"/v2/{self.repository}/blobs"
        self._send(connection, "HEAD", f"{blobs}/{digest}", 404)
        location = self._send(connection, "POST", f"{blobs}/uploads/", 202)
        location = self._send(connection, "PATCH", location, 202, content)
        joint = "&" if "?" in location else "?"
        self._send(connection, "PUT", f"{location}{joint}digest={digest}", 201)
        return digest

    def _send(
        self, connection: Connection, method: str, target: str, status: int, body: bytes = b""
    ) -> str:
        """Send a request; return where the answer points to."""
        more = "Content-Type: application/octet-stream\r\n" if body else ""
        request = make_request(
            method, target, authorization=self.authorization, body=body, more=more
        )
        answer = send_expecting(connection, request, status)
        return answer.headers.get(b"location", b"").decode()


def make_manifest(config: dict[str, object], layers: list[dict[str, object]], **more: str) -> bytes:
    """Return an image's manifest. What is more becomes annotations."""
    document = {
        "schemaVersion": 2,
        "mediaType": IMAGE_TYPE,
        "config": config,
        "layers": layers,
        "annotations": more,
    }
    return json.dumps(document).encode()


def make_manifest_request(repository: str, tag: str, body: bytes, authorization: str) -> bytes:
    """Return the request that puts a manifest under a tag."""
    return make_request(
        "PUT",
        f"/v2/{repository}/manifests/{tag}",
        authorization=authorization,
        body=body,
        more=f"Content-Type: {IMAGE_TYPE}\r\n",
    )


def send_expecting(connection: Connection, request: bytes, status: int) -> Answer:
    """Send a request. Raises WrongAnswerError where the answer has another status."""
    answer = connection.send(request)
    if answer.status != status:
        line = request.partition(b"\r\n")[0].decode()
        raise WrongAnswerError(
            f"{line}: {answer.status}, not {status}: {answer.body[:500].decode(errors='replace')}"
        )
    return answer
