"""Somebody who pushes, pulls and deletes with raw requests, as they are written."""

import hashlib
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

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


def send_raw(port: int, request: bytes) -> Answer:
    """Send these bytes, whatever they are, and read one answer."""
    method = request.partition(b" ")[0].decode()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(request)
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


class Repository:
    """A repository behind a port, which is an edge's or a registry's own."""

    def __init__(self, port: int, name: str) -> None:
        self.port = port
        self.name = name

    def upload(self, content: bytes) -> dict[str, Any]:
        """Upload a blob and return its descriptor."""
        started = send(self.port, "POST", f"/v2/{self.name}/blobs/uploads/", b"")
        assert started.status == 202, started
        location = started.headers["location"]
        joint = "&" if "?" in location else "?"
        done = send(
            self.port,
            "PUT",
            f"{location}{joint}digest={digest_of(content)}",
            content,
            "application/octet-stream",
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
        return send(self.port, "PUT", target, body, media_type, headers)

    def delete(self, rest: str, headers: str = "") -> Answer:
        """Delete what stands at the end of the repository's address."""
        return send(self.port, "DELETE", f"/v2/{self.name}/{rest}", headers=headers)

    def read(self, reference: str) -> str | None:
        """Return the digest of what a client would pull, or None."""
        answer = send(self.port, "GET", f"/v2/{self.name}/manifests/{reference}")
        return digest_of(answer.body) if answer.status == 200 else None

    @property
    def tags(self) -> dict[str, str | None]:
        """Every tag and what it points at."""
        answer = send(self.port, "GET", f"/v2/{self.name}/tags/list")
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
