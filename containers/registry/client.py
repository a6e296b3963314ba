"""The registry behind the gate, over HTTP.

Nothing is sent twice and no redirect is followed: a write that was sent is settled by the code that
announced it, never by a library. Every call has one total deadline.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from containers.names import Digest, InvalidReferenceError, RepositoryName, TagName, parse_digest
from containers.registry.manifest import (
    MANIFEST_MEDIA_TYPES,
    MAX_MANIFEST_BYTES,
    SCHEMA_1_MEDIA_TYPES,
)
from containers.registry.strict_json import parse_json
from containers.registry.transport import Deadline, make_pool
from containers.tokens.grants import (
    CATALOG_ACCESS,
    DELETE,
    PULL,
    PUSH,
    ResourceAccess,
    repository_access,
)
from workspaces.text import find_bad_character, read_number

# Shorter than the edge's and the gate's own patience, so that they hear the answer.
UPSTREAM_DEADLINE_SECONDS = 20.0
# Of what a registry says, in one line of ours.
MAX_REASON_LENGTH = 300
_MAX_REASONS = 3
_CHUNK_BYTES = 64 * 1024
_PAGE_SIZE = 100
_MAX_ANSWER_BYTES = MAX_MANIFEST_BYTES + 64 * 1024
# 401 means that the registry does not trust Taglock's own token. That is for an operator to mend,
# and says nothing of an earlier sending of the same write.
_INDEFINITE = frozenset({401, 408, 425, 429})
# No connection was made, so nothing has left.
_NEVER_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


class RegistryUnavailableError(Exception):
    """The registry gave no answer, or none that says anything.

    After a write it is not known whether the registry did what it was asked, unless it was never
    sent: then `was_sent` is false.
    """

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent


@dataclass(frozen=True)
class Descriptor:
    """What a registry says of a manifest that it has. `size` is in bytes."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True)
class FetchedManifest:
    """A manifest as the registry sent it: the bytes have the descriptor's digest."""

    descriptor: Descriptor
    body: bytes


@dataclass(frozen=True)
class RegistryAnswer:
    """A whole answer of the registry.

    A body that is larger than any manifest was read to its end and dropped.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_body_dropped: bool = False

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
        """The OCI error codes in the body; empty if it is no OCI error."""
        return frozenset(str(error["code"]) for error in _read_errors(self.body) if "code" in error)

    @property
    def is_absent(self) -> bool:
        """Whether the registry says that it has no such manifest. Any other 404 says nothing."""
        codes = self.error_codes
        return self.status == 404 and bool(codes & {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"})

    @property
    def reason(self) -> str:
        """What the registry answered, as a part of a sentence of ours; see registry_reason."""
        return registry_reason(self.status, self.body)


def registry_reason(status: int, body: bytes) -> str:
    """Return "the registry answered 500 (MANIFEST_BLOB_UNKNOWN: blob unknown to registry)".

    The brackets have the codes, messages and plain details of the OCI errors in `body`; without
    any, there are no brackets. One line, without control characters, of bounded length.
    """
    errors = _read_errors(body)
    telling = [error for error in errors if error.get("code") != "UNKNOWN"] or errors
    reasons = "; ".join(dict.fromkeys(map(_describe, telling[:_MAX_REASONS])))
    if len(reasons) > MAX_REASON_LENGTH:
        reasons = f"{reasons[: MAX_REASON_LENGTH - 1]}…"
    return f"the registry answered {status}" + (f" ({reasons})" if reasons else "")


def _read_errors(body: bytes) -> list[dict[str, Any]]:
    """Return the OCI errors in a body; none where it is something else."""
    try:
        errors = parse_json(body)["errors"]
    except (ValueError, KeyError, TypeError):
        return []
    is_list = isinstance(errors, list) and all(isinstance(error, dict) for error in errors)
    return errors if is_list else []


def _describe(error: dict[str, Any]) -> str:
    code, message, detail = (_plain(error.get(key)) for key in ("code", "message", "detail"))
    text = ": ".join(part for part in (code, message) if part)
    return f"{text} ({detail})" if detail else text


def _plain(value: Any) -> str:
    """Return a text as one plain line, empty where it is none."""
    text = value[:MAX_REASON_LENGTH] if isinstance(value, str) else ""
    return " ".join("".join(" " if find_bad_character(each) else each for each in text).split())


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
        self._pool = make_pool(parts)

    def head_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> Descriptor | None:
        """Return what the registry has under a tag or a digest; None if it says it has nothing.

        Raises RegistryUnavailableError if it does not say.
        """
        with Deadline(self._deadline_seconds):
            answer = self.ask_manifest(repository, reference)
            size = read_number(answer.headers.get("Content-Length", ""), -1)
            if answer.status == 200 and answer.digest and size >= 0:
                return _read_descriptor(answer, reference, size)
            media_type = answer.headers.get("Content-Type", "")
            if answer.status == 404 and media_type.startswith("application/json"):
                return None
            if answer.status not in (200, 404):
                raise RegistryUnavailableError(answer.reason)
            # Perhaps of a proxy, and no registry's. The answer to GET has a body that tells.
            fetched = self.fetch_manifest(repository, reference)
            return fetched.descriptor if fetched else None

    def fetch_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> FetchedManifest | None:
        """Return a manifest; None if the registry says that it has none.

        Raises RegistryUnavailableError if it does not say, and where it sends other bytes than
        those of the digest.
        """
        answer = self.get_manifest(repository, reference)
        if answer.is_absent:
            return None
        if answer.status != 200:
            raise RegistryUnavailableError(answer.reason)
        descriptor = _read_descriptor(answer, reference, len(answer.body))
        # Those of schema 1 are signed while they are sent: their digest is of a part.
        is_checked = descriptor.media_type not in SCHEMA_1_MEDIA_TYPES
        if is_checked and _compute_digest(descriptor.digest, answer.body) != descriptor.digest:
            raise RegistryUnavailableError(f"what it sent for {reference} has another digest")
        return FetchedManifest(descriptor, answer.body)

    def get_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> RegistryAnswer:
        """Ask for a manifest, and return the answer. Raises RegistryUnavailableError."""
        return self._send(
            "GET",
            _path(repository, reference),
            repository_access(repository.name, PULL),
            {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)},
        )

    def list_tags(self, repository: RepositoryName, at_most: int) -> list[str] | None:
        """Return the repository's tags; None if there are more, or it does not say.

        Raises RegistryUnavailableError.
        """
        path = f"/v2/{repository.name}/tags/list?n={at_most}"
        answer = self._send("GET", path, repository_access(repository.name, PULL))
        if answer.is_absent:
            return []
        if not answer.is_success or "Link" in answer.headers:
            return None
        try:
            names = parse_json(answer.body)["tags"] or []
        except (ValueError, KeyError, TypeError):
            return None
        return names if all(isinstance(name, str) for name in names) else None

    def page_tags(self, repository: RepositoryName, after: str = "") -> tuple[list[str], bool]:
        """Return some tags of a repository, sorted, and whether there are more.

        Those behind `after`, where the registry can do that; else all. Raises
        RegistryUnavailableError where it does not say.
        """
        access = repository_access(repository.name, PULL)
        names, has_more = self._page(f"/v2/{repository.name}/tags/list", access, "tags", after)
        return sorted(names), has_more

    def page_repositories(self, after: str = "") -> tuple[list[str], bool]:
        """Return some names of repositories, in the registry's order, and whether there are more.

        Raises RegistryUnavailableError if it does not say.
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
            names = parse_json(answer.body)[key] or [] if answer.is_success else None
        except (ValueError, KeyError, TypeError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RegistryUnavailableError(f"{answer.reason} to {path}")
        return names, "Link" in answer.headers

    def ask_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> RegistryAnswer:
        """Ask for a manifest's head, and return the answer. Raises RegistryUnavailableError."""
        headers = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
        access = repository_access(repository.name, PULL)
        return self._send("HEAD", _path(repository, reference), access, headers)

    def put_manifest(
        self,
        repository: RepositoryName,
        reference: TagName | Digest,
        body: bytes,
        media_type: str,
        tags: tuple[TagName, ...] = (),
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

    def delete_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> RegistryAnswer:
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
        is_read = method in ("GET", "HEAD")
        with Deadline(self._deadline_seconds):
            try:
                response = self._pool.urlopen(
                    method,
                    self._prefix + path,
                    body=body,
                    headers={**own, **(headers or {})},
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
                try:
                    _require_length(method, response)
                    received = _read(response, is_wanted=is_read and response.status < 300)
                except BaseException:
                    response.close()
                    raise
                response.release_conn()
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                was_sent = not isinstance(error, _NEVER_SENT)
                raise RegistryUnavailableError(f"{method}: {error}", was_sent=was_sent) from error
        return RegistryAnswer(response.status, response.headers, received or b"", received is None)


def _require_length(method: str, response: urllib3.BaseHTTPResponse) -> None:
    """Raise RegistryUnavailableError for an answer that may be incomplete."""
    if method == "HEAD" or response.status in (204, 304):
        return
    is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if not is_chunked and not response.headers.get("Content-Length", "").isdigit():
        raise RegistryUnavailableError("the answer may be cut short: it does not say its length")


def _read(response: urllib3.BaseHTTPResponse, *, is_wanted: bool) -> bytes | None:
    """Read a whole body. One that is too large is dropped (None): the status is what counts.

    Raises RegistryUnavailableError for such a one that is wanted.
    """
    received = bytearray()
    is_dropped = False
    while chunk := response.read1(_CHUNK_BYTES):
        if is_dropped:
            continue
        received += chunk
        if len(received) > _MAX_ANSWER_BYTES:
            if is_wanted:
                raise RegistryUnavailableError("the answer is too large")
            is_dropped = True
            received.clear()
    return None if is_dropped else bytes(received)


def _read_descriptor(answer: RegistryAnswer, reference: TagName | Digest, size: int) -> Descriptor:
    """Read the head of a manifest. Raises RegistryUnavailableError."""
    media_type = answer.headers.get("Content-Type", "")
    try:
        named = parse_digest(answer.digest) if answer.digest else None
    except InvalidReferenceError as error:
        raise RegistryUnavailableError(f"its digest is not valid: {error.message}") from error
    digest = reference if isinstance(reference, Digest) else named
    if digest is None:
        if media_type not in MANIFEST_MEDIA_TYPES:
            raise RegistryUnavailableError("it answered with neither a digest nor a manifest")
        digest = _compute_digest(Digest("sha256:"), answer.body)
    elif named is not None and named != digest and _algorithm(named) == _algorithm(digest):
        raise RegistryUnavailableError(f"it answered with {named} when asked for {digest}")
    return Descriptor(digest, media_type, size)


def _compute_digest(like: Digest, body: bytes) -> Digest:
    """Return the digest of `body` by the algorithm of `like`. Raises RegistryUnavailableError."""
    algorithm = _algorithm(like)
    if algorithm not in _HASHES:
        raise RegistryUnavailableError(
            f"its digest is by {algorithm}, which Taglock does not support"
        )
    return Digest(f"{algorithm}:{_HASHES[algorithm](body).hexdigest()}")


def _algorithm(digest: Digest) -> str:
    return digest.value.partition(":")[0]


def _path(repository: RepositoryName, reference: TagName | Digest) -> str:
    """Build the path from parsed parts: nothing that a client typed gets here as it was typed."""
    return f"/v2/{repository.name}/manifests/{reference}"
