"""The registry behind the gate, over HTTP.

Nothing is sent twice and no redirect is followed: a write that was sent is settled by the code that
announced it, never by a library. Every call has one total deadline.
"""

import base64
import copy
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from containers.names import Digest, InvalidReferenceError, RepositoryName, TagName, parse_digest
from containers.registry.exchange import (
    MAX_REASON_LENGTH,
    RegistryAnswer,
    RegistryUnavailableError,
    UnreadableError,
    exchange,
    registry_reason,
)
from containers.registry.manifest import MANIFEST_MEDIA_TYPES, SCHEMA_1_MEDIA_TYPES
from containers.registry.strict_json import parse_json
from containers.tokens.grants import (
    CATALOG_ACCESS,
    DELETE,
    PULL,
    PUSH,
    ResourceAccess,
    repository_access,
)
from workspaces.text import read_number
from workspaces.transport import Deadline, make_pool

__all__ = [
    "MAX_REASON_LENGTH",
    "UPSTREAM_DEADLINE_SECONDS",
    "Authorize",
    "CallerRefusedError",
    "Descriptor",
    "FetchedManifest",
    "RegistryAnswer",
    "RegistryClient",
    "RegistryUnavailableError",
    "UnreadableError",
    "registry_reason",
]

# Shorter than the edge's and the gate's own patience, so that they hear the answer.
UPSTREAM_DEADLINE_SECONDS = 20.0
_PAGE_SIZE = 100
_LOGIN_REFUSED = (401, 403)
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}

Authorize = Callable[[ResourceAccess], str]
Renew = Callable[[ResourceAccess, RegistryAnswer, str], str]


class CallerRefusedError(Exception):
    """The registry does not let the caller, with their own credentials, look at what it has."""

    def __init__(self, answer: RegistryAnswer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


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


class RegistryClient:
    """One registry. Safe to share between threads.

    `authorize` gives the header `Authorization` that the registry wants for a call; without it, or
    where it is empty, none is sent. A call that is answered 401 is sent once more with what `renew`
    gives for that answer and the header that was sent, unless that is empty.
    `ca_file` has certificates of authorities to trust besides the machine's. With
    `refuses_link_local` no connection is made to such an address, whatever the registry's name
    leads to.
    """

    def __init__(
        self,
        url: str,
        deadline_seconds: float = UPSTREAM_DEADLINE_SECONDS,
        *,
        authorize: Authorize | None = None,
        renew: Renew | None = None,
        ca_file: Path | None = None,
        refuses_link_local: bool = False,
    ) -> None:
        parts = urlsplit(url)
        self._authorize = authorize
        self._renew = renew
        self._is_for_caller = False
        self._prefix = parts.path.rstrip("/")
        self._deadline_seconds = deadline_seconds
        self._pool = make_pool(parts, ca_file, refuses_link_local=refuses_link_local)

    def acting_for(self, authorization: str) -> "RegistryClient":
        """Return the same registry for one caller, with the header `Authorization` that they sent.

        Their looks raise CallerRefusedError where the registry answers 401 or 403.
        """
        client = copy.copy(self)
        client._authorize = lambda _: authorization
        client._renew = None
        client._is_for_caller = True
        return client

    def ask_version(self) -> RegistryAnswer:
        """Ask for nothing, as a client that logs in does. Raises RegistryUnavailableError."""
        return self._send("GET", "/v2/", CATALOG_ACCESS)

    def require_answer(self) -> None:
        """Raise RegistryUnavailableError if the registry does not answer at all."""
        answer = self.ask_version()
        if answer.status >= 500:
            raise RegistryUnavailableError(answer.reason, cause=answer.reason)

    def ask_referrers(self, repository: RepositoryName, digest: Digest) -> RegistryAnswer:
        """Ask for what refers to a manifest. Raises RegistryUnavailableError."""
        path = f"/v2/{repository.name}/referrers/{digest}"
        return self._send("GET", path, repository_access(repository.name, PULL))

    def verifies_credentials(self) -> bool:
        """Whether the registry refuses a login that no one has, so that it knows whom it accepts.

        Raises RegistryUnavailableError.
        """
        made_up = base64.b64encode(f"taglock-check:{secrets.token_hex(16)}".encode()).decode()
        try:
            answer = self.acting_for(f"Basic {made_up}").ask_version()
        except CallerRefusedError:
            return True
        if not answer.is_success:
            raise RegistryUnavailableError(answer.reason, cause=answer.reason)
        return False

    def head_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> Descriptor | None:
        """Return what the registry has under a tag or a digest; None if it says it has nothing.

        Raises RegistryUnavailableError if it does not say: UnreadableError if it says that it
        cannot read what it has.
        """
        with Deadline(self._deadline_seconds):
            answer = self.ask_manifest(repository, reference)
            size = read_number(answer.headers.get("Content-Length", ""), -1)
            if answer.status == 200 and answer.digest and size >= 0:
                return _read_descriptor(answer, reference, size)
            media_type = answer.headers.get("Content-Type", "")
            if answer.status == 404 and media_type.startswith("application/json"):
                return None
            if answer.status not in (200, 404, 500):
                raise RegistryUnavailableError(answer.reason, cause=answer.reason)
            # Perhaps of a proxy, and no registry's. The answer to GET has a body that tells.
            fetched = self.fetch_manifest(repository, reference)
            return fetched.descriptor if fetched else None

    def fetch_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> FetchedManifest | None:
        """Return a manifest; None if the registry says that it has none.

        Raises RegistryUnavailableError as head_manifest does, and where it sends other bytes than
        those of the digest.
        """
        answer = self.get_manifest(repository, reference)
        if answer.is_absent:
            return None
        if answer.status != 200:
            kind = UnreadableError if answer.is_unreadable else RegistryUnavailableError
            raise kind(answer.reason, cause=answer.reason)
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
            raise RegistryUnavailableError(f"{answer.reason} to {path}", cause=answer.reason)
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
        def send(authorization: str) -> RegistryAnswer:
            own = {"Authorization": authorization} if authorization else {}
            sent = {**own, **(headers or {})}
            return exchange(self._pool, method, self._prefix + path, sent, body)

        with Deadline(self._deadline_seconds):
            authorization = self._authorize(access) if self._authorize else ""
            answer = send(authorization)
            # The registry has done nothing, so what is sent now is sent for the first time.
            if answer.status == 401 and self._renew is not None:
                renewed = self._renew(access, answer, authorization)
                answer = send(renewed) if renewed else answer
        if not self._is_for_caller:
            return answer
        answer = replace(answer, is_to_caller=True)
        if method in ("GET", "HEAD") and answer.status in _LOGIN_REFUSED:
            raise CallerRefusedError(answer)
        return answer


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
