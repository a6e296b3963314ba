"""The registry behind the gate, over HTTP.

Nothing is sent twice and no redirect is followed: a write that was sent is settled by whoever
announced it, never by a library. Every call has one total deadline.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import urllib3

from containers.reference import Digest, Repository, Tag
from containers.registry.manifest import MANIFEST_MEDIA_TYPES, MAX_MANIFEST_BYTES

# Shorter than the edge's and the gate's own patience, so that they hear the answer.
UPSTREAM_DEADLINE_SECONDS = 30.0
_CHUNK_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = MAX_MANIFEST_BYTES + 64 * 1024
_RETRYABLE = frozenset({408, 425, 429})


class RegistryUnavailableError(Exception):
    """No whole answer came: nobody knows whether the registry did what it was asked."""


@dataclass(frozen=True)
class RegistryAnswer:
    """A whole answer of the registry."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_refusal(self) -> bool:
        """Whether the registry has definitely not done what it was asked, and will not."""
        return 400 <= self.status < 500 and self.status not in _RETRYABLE

    @property
    def digest(self) -> str:
        return self.headers.get("Docker-Content-Digest", "")

    @property
    def error_codes(self) -> frozenset[str]:
        """The OCI error codes in the body; empty where it is no OCI error."""
        try:
            errors = json.loads(self.body)["errors"]
            return frozenset(str(error["code"]) for error in errors)
        except (ValueError, KeyError, TypeError, RecursionError):
            return frozenset()

    @property
    def is_absent(self) -> bool:
        """Whether the registry says that it has no such manifest. Any other 404 says nothing."""
        codes = self.error_codes
        return self.status == 404 and bool(codes & {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"})


class RegistryClient:
    """One registry. Safe to share between threads."""

    def __init__(self, url: str, deadline_seconds: float = UPSTREAM_DEADLINE_SECONDS) -> None:
        parts = urlsplit(url)
        self._prefix = parts.path.rstrip("/")
        self._deadline_seconds = deadline_seconds
        self._pool = urllib3.PoolManager(maxsize=32, retries=False).connection_from_url(
            f"{parts.scheme}://{parts.netloc}"
        )

    def get_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Fetch a manifest. Raises RegistryUnavailableError."""
        return self._send(
            "GET",
            _path(repository, reference),
            headers={"Accept": ", ".join(MANIFEST_MEDIA_TYPES)},
        )

    def list_tags(self, repository: Repository, at_most: int) -> list[str] | None:
        """Return the repository's tags; None where there are more, or it does not say.

        Raises RegistryUnavailableError.
        """
        answer = self._send("GET", f"/v2/{repository.name}/tags/list?n={at_most}", {})
        if not answer.is_success or "Link" in answer.headers:
            return None
        try:
            names = json.loads(answer.body)["tags"] or []
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return names if all(isinstance(name, str) for name in names) else None

    def head_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Ask for a manifest's digest. Raises RegistryUnavailableError."""
        headers = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
        return self._send("HEAD", _path(repository, reference), headers)

    def put_manifest(
        self,
        repository: Repository,
        reference: Tag | Digest,
        body: bytes,
        media_type: str,
        tags: tuple[Tag, ...] = (),
    ) -> RegistryAnswer:
        """Store a manifest, its bytes and media type unchanged. Raises RegistryUnavailableError."""
        query = "?" + urlencode([("tag", tag.name) for tag in tags]) if tags else ""
        return self._send(
            "PUT", _path(repository, reference) + query, {"Content-Type": media_type}, body
        )

    def delete_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Delete a tag, or a manifest and with it its tags. Raises RegistryUnavailableError."""
        return self._send("DELETE", _path(repository, reference), {})

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> RegistryAnswer:
        ends_at = time.monotonic() + self._deadline_seconds
        try:
            response = self._pool.urlopen(
                method,
                self._prefix + path,
                body=body,
                headers={"User-Agent": "taglock", **headers},
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=5.0, read=self._deadline_seconds),
                preload_content=False,
                decode_content=False,
            )
            try:
                received = _read(response, ends_at)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RegistryUnavailableError(f"{method}: {error}") from error
        return RegistryAnswer(response.status, response.headers, received)


def _read(response: urllib3.BaseHTTPResponse, ends_at: float) -> bytes:
    """Read a whole body by `ends_at`, however slowly it dribbles in."""
    received = bytearray()
    while time.monotonic() < ends_at:
        chunk = response.read1(_CHUNK_BYTES)
        if not chunk:
            return bytes(received)
        received += chunk
        if len(received) > _MAX_ANSWER_BYTES:
            raise RegistryUnavailableError("the answer is too large")
    raise RegistryUnavailableError("the answer takes too long")


def _path(repository: Repository, reference: Tag | Digest) -> str:
    """Build the path from parsed parts: nothing that a client typed gets here as it was typed."""
    return f"/v2/{repository.name}/manifests/{reference}"
