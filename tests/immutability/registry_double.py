"""A registry in memory whose answers can be scripted. It answers as the registry's client does."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from urllib3 import HTTPHeaderDict

from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import (
    CallerRefusedError,
    Descriptor,
    FetchedManifest,
    RegistryAnswer,
    RegistryUnavailableError,
    UnreadableError,
)

REPOSITORY = RepositoryName("acme/api")
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def image(name: str) -> bytes:
    """Return an image's manifest; spaces and the order of keys are not what a library writes."""
    config = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest_of(b"{}"),
        "size": 2,
    }
    document = {"schemaVersion": 2, "config": config, "layers": [], "annotations": {"n": name}}
    return json.dumps(document, indent=3).encode() + b"\n "


def placeholder() -> bytes:
    """Return what regctl pushes over a tag that it cannot delete."""
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": digest_of(b"{}"),
        "size": 2,
    }
    return json.dumps(json.loads(image("placeholder")) | {"layers": [layer]}).encode()


def index(*children: bytes | str) -> bytes:
    """Return an index of these manifests, or of these digests."""
    digests = [child if isinstance(child, str) else digest_of(child) for child in children]
    listed = [{"mediaType": IMAGE_TYPE, "digest": each, "size": 1} for each in digests]
    return json.dumps({"schemaVersion": 2, "manifests": listed}).encode()


def digest_of(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def answer(
    status: int, code: str = "", headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> RegistryAnswer:
    """Return an answer, with an OCI error where `code` names one."""
    if body is None:
        body = json.dumps({"errors": [{"code": code, "message": "m"}]}).encode() if code else b""
    return RegistryAnswer(status, HTTPHeaderDict(headers or {}), body)


ABSENT = answer(404, "MANIFEST_UNKNOWN")
NO_ANSWER = RegistryUnavailableError("timed out")
NOT_REACHED = RegistryUnavailableError("connection refused", was_sent=False)
REFUSED = answer(400, "MANIFEST_INVALID")


@dataclass(frozen=True)
class Call:
    """What the registry was asked."""

    method: str
    reference: str
    body: bytes = b""
    media_type: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.reference}"


Carry = Callable[[], RegistryAnswer]
Reply = RegistryAnswer | Exception | Callable[[Carry], RegistryAnswer]


def lands_without_answer(carry: Carry) -> RegistryAnswer:
    """Carry the write out, and lose the answer."""
    carry()
    raise NO_ANSWER


class Late:
    """A write that gets no answer and lands when someone says so."""

    def __init__(self) -> None:
        self._carry: Carry | None = None

    def __call__(self, carry: Carry) -> RegistryAnswer:
        self._carry = carry
        raise NO_ANSWER

    def land(self) -> None:
        """Carry the write out now."""
        assert self._carry is not None
        self._carry()


@dataclass
class RegistryDouble:
    """A registry. Scripted replies come first, each once; then it behaves.

    A script is for the calls of one method and reference, or of one method ("PUT").
    """

    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    # Tags and digests that it cannot read, since it was killed while it wrote them.
    unreadable: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    scripts: dict[str, list[Reply]] = field(default_factory=dict)
    deletes_tags: bool = True
    checks_children: bool = True
    is_down: bool = False

    # What accounts may do, by the header `Authorization` that they send; and who sent what.
    rights: dict[str, set[str]] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    knows_accounts: bool = True

    def __post_init__(self) -> None:
        self._lock = threading.RLock()

    def script(self, what: str, *replies: Reply) -> None:
        """Let the next calls of this method, or of this method and reference, be answered so."""
        self.scripts.setdefault(what, []).extend(replies)

    def store(self, body: bytes, *tags: str, media_type: str = IMAGE_TYPE) -> str:
        """Put a manifest there behind Taglock's back; return its digest."""
        digest = digest_of(body)
        self.manifests[digest] = (body, media_type)
        self.tags.update(dict.fromkeys(tags, digest))
        return digest

    def sent(self, *methods: str) -> list[str]:
        """Return the writes, or the calls of these methods, in order, like "PUT v1"."""
        wanted = methods or ("PUT", "DELETE")
        short = {digest: f"@{digest[7:11]}" for digest in self.manifests}
        return [
            f"{call.method} {short.get(call.reference, call.reference)}"
            for call in self.calls
            if call.method in wanted
        ]

    @property
    def sent_by_tag(self) -> list[str]:
        """The pushes that could move a tag."""
        return [
            call.reference
            for call in self.calls
            if call.method == "PUT" and ":" not in call.reference
        ]

    def break_tag(self, tag: str) -> None:
        """Leave a tag half written: the registry cannot say any more what it points at."""
        self.tags.pop(tag, None)
        self.unreadable.add(tag)

    # ---- what the client has ------------------------------------------------------------------

    def head_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> Descriptor | None:
        found = self._reply(Call("HEAD", str(reference)), lambda: self._get(str(reference)))
        return _descriptor(found)

    def fetch_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> FetchedManifest | None:
        found = self._reply(Call("GET", str(reference)), lambda: self._get(str(reference)))
        descriptor = _descriptor(found)
        return FetchedManifest(descriptor, found.body) if descriptor else None

    def put_manifest(
        self, repository: RepositoryName, reference: TagName | Digest, body: bytes, media_type: str
    ) -> RegistryAnswer:
        call = Call("PUT", str(reference), body, media_type)
        return self._reply(call, lambda: self._put(call))

    def delete_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> RegistryAnswer:
        return self._reply(Call("DELETE", str(reference)), lambda: self._delete(str(reference)))

    def page_tags(self, repository: RepositoryName, after: str = "") -> tuple[list[str], bool]:
        self._reply(Call("LIST", after), lambda: answer(200))
        behind = [name for name in sorted(self.tags) if name > after]
        return behind[:2], len(behind) > 2

    def require_answer(self) -> None:
        self._reply(Call("VERSION", ""), lambda: answer(200))

    def page_repositories(self, after: str = "") -> tuple[list[str], bool]:
        self._reply(Call("CATALOG", after), lambda: answer(200))
        names = ["acme-x/api", REPOSITORY.name, "zebra/api"]
        return [name for name in names if name > after], False

    def acting_for(self, authorization: str) -> "DoubleForCaller":
        return DoubleForCaller(self, authorization)

    def verifies_credentials(self) -> bool:
        return self.knows_accounts

    # ---- what it does -------------------------------------------------------------------------

    def _reply(self, call: Call, carry: Carry) -> RegistryAnswer:
        with self._lock:
            self.calls.append(call)
            script = self.scripts.get(str(call)) or self.scripts.get(call.method)
            reply = script.pop(0) if script else None
        if reply is None:
            if self.is_down:
                raise NO_ANSWER
            with self._lock:
                return carry()
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, RegistryAnswer) else reply(carry)

    def _get(self, reference: str) -> RegistryAnswer:
        digest = self.tags.get(reference, reference)
        if not self.unreadable.isdisjoint({reference, digest}):
            return answer(500, "UNKNOWN")
        if digest not in self.manifests:
            return ABSENT
        body, media_type = self.manifests[digest]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        return answer(200, headers=headers, body=body)

    def _put(self, call: Call) -> RegistryAnswer:
        digest = digest_of(call.body)
        listed = json.loads(call.body).get("manifests", []) if self.checks_children else []
        if any(each["digest"] not in self.manifests for each in listed):
            return answer(400, "MANIFEST_BLOB_UNKNOWN")
        self.store(call.body, media_type=call.media_type)
        self.unreadable -= {digest, call.reference}
        if ":" not in call.reference:
            self.tags[call.reference] = digest
        return answer(201, headers={"Location": "x", "Docker-Content-Digest": digest})

    def _delete(self, reference: str) -> RegistryAnswer:
        if ":" not in reference:
            if not self.deletes_tags:
                return answer(405, "UNSUPPORTED")
            if reference in self.unreadable:
                self.unreadable.remove(reference)
                return answer(202)
            return answer(202) if self.tags.pop(reference, None) else ABSENT
        if self.manifests.pop(reference, None) is None:
            return ABSENT
        self.tags = {tag: each for tag, each in self.tags.items() if each != reference}
        return answer(202)


CHALLENGE = 'Bearer realm="https://auth.example/token",service="r",scope="repository:acme/api:x"'


@dataclass
class DoubleForCaller:
    """The registry for one caller, whom it lets do what `rights` says."""

    registry: RegistryDouble
    authorization: str

    def head_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> Descriptor | None:
        self._look("HEAD", reference)
        return self.registry.head_manifest(repository, reference)

    def fetch_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> FetchedManifest | None:
        self._look("GET", reference)
        return self.registry.fetch_manifest(repository, reference)

    def ask_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> RegistryAnswer:
        self._look("HEAD", reference)
        return self.registry._get(str(reference))

    def put_manifest(
        self,
        repository: RepositoryName,
        reference: TagName | Digest,
        body: bytes,
        media_type: str,
        tags: tuple[TagName, ...] = (),
    ) -> RegistryAnswer:
        refusal = self._find_refusal("push", "PUT", reference)
        put = self.registry.put_manifest
        answered = refusal or put(repository, reference, body, media_type)
        if answered.is_success:
            self.registry.tags.update(dict.fromkeys((tag.name for tag in tags), digest_of(body)))
        return self._tell(answered)

    def delete_manifest(
        self, repository: RepositoryName, reference: TagName | Digest
    ) -> RegistryAnswer:
        refusal = self._find_refusal("delete", "DELETE", reference)
        return self._tell(refusal or self.registry.delete_manifest(repository, reference))

    def _look(self, method: str, reference: TagName | Digest) -> None:
        if refusal := self._find_refusal("pull", method, reference):
            raise CallerRefusedError(self._tell(refusal))

    def _find_refusal(
        self, action: str, method: str, reference: TagName | Digest
    ) -> RegistryAnswer | None:
        self.registry.said.append((self.authorization, f"{method} {reference}"))
        rights = self.registry.rights.get(self.authorization)
        if rights is not None and action in rights:
            return None
        if rights is None:
            return answer(401, "UNAUTHORIZED", {"WWW-Authenticate": CHALLENGE})
        return answer(403, "DENIED")

    @staticmethod
    def _tell(given: RegistryAnswer) -> RegistryAnswer:
        return replace(given, is_to_caller=True)


def _descriptor(found: RegistryAnswer) -> Descriptor | None:
    if found.is_absent:
        return None
    if not found.is_success:
        kind = UnreadableError if found.is_unreadable else RegistryUnavailableError
        raise kind(found.reason, cause=found.reason)
    return Descriptor(Digest(found.digest), found.headers["Content-Type"], len(found.body))
