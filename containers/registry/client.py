"""The registry behind the gate, over HTTP.

Nothing is sent twice and no redirect is followed: a write that was sent is settled by whoever
announced it, never by a library. Every call has one total deadline.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from containers.reference import Digest, Repository, Tag
from containers.registry.manifest import MANIFEST_MEDIA_TYPES, MAX_MANIFEST_BYTES
from containers.tokens.grants import (
    CATALOG_ACCESS,
    DELETE,
    PULL,
    PUSH,
    ResourceAccess,
    repository_access,
)

# Shorter than the edge's and the gate's own patience, so that they hear the answer.
UPSTREAM_DEADLINE_SECONDS = 30.0
_CHUNK_BYTES = 64 * 1024
_PAGE_SIZE = 100
_MAX_ANSWER_BYTES = MAX_MANIFEST_BYTES + 64 * 1024
# 401 means that the registry does not believe Taglock's own token. That is for an operator to mend,
# and says nothing of an earlier sending of the same write.
_INDEFINITE = frozenset({401, 408, 425, 429})


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
        return 400 <= self.status < 500 and self.status not in _INDEFINITE

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
    """One registry. Safe to share between threads.

    `authorize` gives the header `Authorization` that the registry wants for a call; without it
    nothing is sent.
    """

    def __init__(
        self,
        url: str,
        deadline_seconds: float = UPSTREAM_DEADLINE_SECONDS,
        *,
        authorize: Callable[[ResourceAccess], str] | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._authorize = authorize
        self._prefix = parts.path.rstrip("/")
        self._deadline_seconds = deadline_seconds
        pool_class = _SecurePool if parts.scheme == "https" else _Pool
        self._pool = pool_class(parts.hostname or "", parts.port, maxsize=32, retries=False)

    def get_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Fetch a manifest. Raises RegistryUnavailableError."""
        return self._send(
            "GET",
            _path(repository, reference),
            repository_access(repository.name, PULL),
            {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)},
        )

    def list_tags(self, repository: Repository, at_most: int) -> list[str] | None:
        """Return the repository's tags; None where there are more, or it does not say.

        Raises RegistryUnavailableError.
        """
        path = f"/v2/{repository.name}/tags/list?n={at_most}"
        answer = self._send("GET", path, repository_access(repository.name, PULL))
        if answer.is_absent:
            return []
        if not answer.is_success or "Link" in answer.headers:
            return None
        try:
            names = json.loads(answer.body)["tags"] or []
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return names if all(isinstance(name, str) for name in names) else None

    def page_tags(self, repository: Repository, after: str = "") -> tuple[list[str], bool]:
        """Return some tags of a repository, sorted, and whether there are more.

        Those behind `after`, where the registry can do that; else all. Raises
        RegistryUnavailableError where it does not say.
        """
        access = repository_access(repository.name, PULL)
        names, has_more = self._page(f"/v2/{repository.name}/tags/list", access, "tags", after)
        return sorted(names), has_more

    def page_repositories(self, after: str = "") -> tuple[list[str], bool]:
        """Return some names of repositories, in the registry's order, and whether there are more.

        Raises RegistryUnavailableError where it does not say.
        """
        return self._page("/v2/_catalog", CATALOG_ACCESS, "repositories", after)

    def _page(
        self, path: str, access: ResourceAccess, key: str, after: str
    ) -> tuple[list[str], bool]:
        query = urlencode({"n": _PAGE_SIZE} | ({"last": after} if after else {}))
        answer = self._send("GET", f"{path}?{query}", access)
        if answer.is_absent:
            return [], False
        try:
            names = json.loads(answer.body)[key] or [] if answer.is_success else None
        except (ValueError, KeyError, TypeError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RegistryUnavailableError(f"the registry answered {answer.status} to {path}")
        return names, "Link" in answer.headers

    def head_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Ask for a manifest's digest. Raises RegistryUnavailableError."""
        headers = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
        access = repository_access(repository.name, PULL)
        return self._send("HEAD", _path(repository, reference), access, headers)

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
            "PUT",
            _path(repository, reference) + query,
            repository_access(repository.name, PULL, PUSH),
            {"Content-Type": media_type},
            body,
        )

    def delete_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Delete a tag, or a manifest and with it its tags. Raises RegistryUnavailableError."""
        access = repository_access(repository.name, DELETE)
        return self._send("DELETE", _path(repository, reference), access)

    def _send(
        self,
        method: str,
        path: str,
        access: ResourceAccess,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> RegistryAnswer:
        own = {"User-Agent": "taglock"}
        if self._authorize is not None:
            own["Authorization"] = self._authorize(access)
        with _Call(self._deadline_seconds) as call:
            try:
                response = self._pool.urlopen(
                    method,
                    self._prefix + path,
                    body=body,
                    headers={**own, **(headers or {})},
                    retries=False,
                    redirect=False,
                    timeout=urllib3.Timeout(
                        connect=min(5.0, self._deadline_seconds), read=self._deadline_seconds
                    ),
                    preload_content=False,
                    decode_content=False,
                )
                try:
                    _require_length(method, response)
                    received = _read(response)
                except BaseException:
                    response.close()
                    raise
                # From here on the connection may be somebody else's.
                call.end()
                response.release_conn()
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise RegistryUnavailableError(f"{method}: {error}") from error
        return RegistryAnswer(response.status, response.headers, received)


class _Call:
    """A call with one total deadline, after which its connection is cut.

    The timeouts of sockets are for each wait: an answer that dribbles in would never meet them.
    """

    def __init__(self, deadline_seconds: float) -> None:
        self._lock = threading.Lock()
        self._connection: urllib3.connection.HTTPConnection | None = None
        self._has_ended = False
        self._timer = threading.Timer(deadline_seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> "_Call":
        _calls.current = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        _calls.current = None

    def use(self, connection: urllib3.connection.HTTPConnection) -> None:
        """Say which connection the call is on."""
        self._connection = connection

    def end(self) -> None:
        """Stop the clock: the connection is left alone from now on."""
        self._timer.cancel()
        with self._lock:
            self._has_ended = True

    def _cut(self) -> None:
        with self._lock:
            sock = getattr(self._connection, "sock", None)
            if self._has_ended or sock is None:
                return
            # Where it is closed already, whoever reads from it has noticed.
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


_calls = threading.local()


class _Connection(urllib3.connection.HTTPConnection):
    """A plain connection that tells its call of itself."""

    def connect(self) -> None:
        super().connect()
        _calls.current.use(self)

    def putrequest(self, *args: Any, **options: Any) -> None:
        _calls.current.use(self)
        super().putrequest(*args, **options)


class _SecureConnection(urllib3.connection.HTTPSConnection):
    """A TLS connection that tells its call of itself."""

    def putrequest(self, *args: Any, **options: Any) -> None:
        _calls.current.use(self)
        super().putrequest(*args, **options)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _require_length(method: str, response: urllib3.BaseHTTPResponse) -> None:
    """Raise RegistryUnavailableError for an answer of which nobody can tell whether it is whole."""
    if method == "HEAD" or response.status in (204, 304):
        return
    is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if not is_chunked and not response.headers.get("Content-Length", "").isdigit():
        raise RegistryUnavailableError("the answer may be cut short: it does not say its length")


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """Read a whole body of bounded size."""
    received = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        received += chunk
        if len(received) > _MAX_ANSWER_BYTES:
            raise RegistryUnavailableError("the answer is too large")
    return bytes(received)


def _path(repository: Repository, reference: Tag | Digest) -> str:
    """Build the path from parsed parts: nothing that a client typed gets here as it was typed."""
    return f"/v2/{repository.name}/manifests/{reference}"
