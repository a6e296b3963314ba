"""Somebody who logs in, pushes, pulls and deletes with raw requests, as they are written."""

import base64
import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from containers.tokens.tokens import SERVICE
from tests.services.accounts import Account

IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
ACCEPT = f"{IMAGE_TYPE}, {INDEX_TYPE}, application/vnd.docker.distribution.manifest.v2+json"
PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The OCI error."""
        error: dict[str, Any] = json.loads(self.body)["errors"][0]
        return error

    @property
    def code(self) -> str:
        """The OCI code of an error."""
        code: str = self.error["code"]
        return code


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def to_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def send_raw(port: int, request: bytes | Iterator[bytes]) -> Answer:
    """Send these bytes, whatever they are and however they come, and read one answer."""
    pieces = iter([request]) if isinstance(request, bytes) else request
    first = next(pieces)
    method = first.partition(b" ")[0].decode()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(first)
        for piece in pieces:
            connection.sendall(piece)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


def send(
    port: int,
    method: str,
    target: str,
    body: bytes | None = None,
    media_type: str = IMAGE_TYPE,
    headers: str = "",
) -> Answer:
    """Send one request whose target goes out as it is written here."""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    head += f"Accept: {ACCEPT}\r\n{headers}"
    if body is not None:
        head += f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
    return send_raw(port, head.encode() + b"\r\n" + (body or b""))


def log_in(port: int, username: str, password: str, *scopes: str) -> Answer:
    """Ask the token service for a token, as docker and skopeo do."""
    query = urlencode([("service", SERVICE), *(("scope", scope) for scope in scopes)])
    basic = base64.b64encode(f"{username}:{password}".encode()).decode()
    return send(port, "GET", f"/auth/token?{query}", headers=f"Authorization: Basic {basic}\r\n")


class Repository:
    """A repository behind a port, which is an edge's or a registry's own.

    Without an account its requests are anonymous.
    """

    def __init__(self, port: int, name: str, account: Account | None = None) -> None:
        self.port = port
        self.name = name
        self.account = account

    def at(self, port: int) -> "Repository":
        """Return the same repository, behind another port."""
        return Repository(port, self.name, self.account)

    def named(self, name: str) -> "Repository":
        """Return another repository, behind the same port."""
        return Repository(self.port, name, self.account)

    @property
    def login(self) -> str:
        """The line of a request's head that says who is asking."""
        return self.account.header(self.name) if self.account else ""

    def upload(self, content: bytes) -> dict[str, Any]:
        """Upload a blob and return its descriptor."""
        started = send(
            self.port, "POST", f"/v2/{self.name}/blobs/uploads/", b"", headers=self.login
        )
        assert started.status == 202, started
        location = started.headers["location"]
        joint = "&" if "?" in location else "?"
        done = send(
            self.port,
            "PUT",
            f"{location}{joint}digest={digest_of(content)}",
            content,
            "application/octet-stream",
            self.login,
        )
        assert done.status == 201, done
        return {"mediaType": CONFIG_TYPE, "digest": digest_of(content), "size": len(content)}

    def make_image(self, text: str) -> bytes:
        """Upload what an image needs; return its manifest."""
        config = self.upload(to_json({"architecture": "amd64", "os": "linux", "text": text}))
        document = {"schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": []}
        return to_json(document)

    def put(
        self,
        reference: str,
        body: bytes,
        media_type: str = IMAGE_TYPE,
        query: str = "",
        headers: str = "",
    ) -> Answer:
        """Put a manifest."""
        target = f"/v2/{self.name}/manifests/{reference}{query}"
        return send(self.port, "PUT", target, body, media_type, self.login + headers)

    def delete(self, rest: str, headers: str = "") -> Answer:
        """Delete what stands at the end of the repository's address."""
        target = f"/v2/{self.name}/{rest}"
        return send(self.port, "DELETE", target, headers=self.login + headers)

    def read(self, reference: str) -> str | None:
        """Return the digest of what a client would pull, or None."""
        target = f"/v2/{self.name}/manifests/{reference}"
        answer = send(self.port, "GET", target, headers=self.login)
        return digest_of(answer.body) if answer.status == 200 else None

    @property
    def tags(self) -> dict[str, str | None]:
        """Every tag and what it points at."""
        answer = send(self.port, "GET", f"/v2/{self.name}/tags/list", headers=self.login)
        names = json.loads(answer.body).get("tags") or [] if answer.status == 200 else []
        return {name: self.read(name) for name in names}


def make_index(*children: bytes) -> bytes:
    """Return an index that lists these images."""
    listed = [
        {"mediaType": IMAGE_TYPE, "digest": digest_of(each), "size": len(each)}
        | {"platform": {"architecture": arch, "os": "linux"}}
        for each, arch in zip(children, ("amd64", "arm64"), strict=False)
    ]
    return to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed})
