"""A registry in memory whose answers can be scripted, and a client of the gate in front of it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpResponse
from django.test import Client
from urllib3 import HTTPHeaderDict

from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryUnavailableError
from containers.tokens.key_folder import token_keys
from tests.services.accounts import account_of
from workspaces.models import User

REPOSITORY = "acme/api"
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def image(name: str) -> bytes:
    """Return an image's manifest; spaces and the order of keys are not what a library writes."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"{}")}
    document = {"schemaVersion": 2, "config": config, "layers": [], "annotations": {"n": name}}
    return json.dumps(document, indent=3).encode() + b"\n "


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
TIMEOUT = RegistryUnavailableError("PUT: timed out")


@dataclass(frozen=True)
class Call:
    """What the registry was asked."""

    method: str
    reference: str
    tags: tuple[str, ...] = ()
    body: bytes = b""
    media_type: str = ""


Carry = Callable[[], RegistryAnswer]
Reply = RegistryAnswer | Exception | Callable[[Carry], RegistryAnswer]


def lands_late(carry: Carry) -> RegistryAnswer:
    """Carry the write out, and lose the answer."""
    carry()
    raise TIMEOUT


@dataclass
class Upstream:
    """A registry. Scripted replies come first, each once; then it behaves."""

    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    scripts: dict[str, list[Reply]] = field(default_factory=dict)
    obeys_tag_parameters: bool = True

    def script(self, method: str, *replies: Reply) -> None:
        """Let the next calls of this method be answered so."""
        self.scripts.setdefault(method, []).extend(replies)

    def store(self, body: bytes, *tags: str, media_type: str = IMAGE_TYPE) -> str:
        """Put a manifest there behind the gate's back; return its digest."""
        digest = digest_of(body)
        self.manifests[digest] = (body, media_type)
        self.tags.update(dict.fromkeys(tags, digest))
        return digest

    def sent(self, method: str = "PUT") -> list[str]:
        """The references of the calls of this method, in order."""
        return [call.reference for call in self.calls if call.method == method]

    @property
    def sent_by_tag(self) -> list[Call]:
        """The writes that could move a tag."""
        return [
            call
            for call in self.calls
            if call.method == "PUT" and (call.tags or ":" not in call.reference)
        ]

    def get_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Answer as the registry client does."""
        asked = _within(repository, reference)
        return self._reply(Call("GET", asked), lambda: self._get(asked))

    def ask_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Answer as the registry client does."""
        asked = _within(repository, reference)
        return self._reply(Call("HEAD", asked), lambda: self._get(asked))

    def list_tags(self, repository: Repository, at_most: int) -> list[str] | None:
        """Answer as the registry client does."""
        return sorted(self.tags)

    def page_tags(self, repository: Repository, after: str = "") -> tuple[list[str], bool]:
        """Answer as the registry client does, two tags a page; it may be scripted to fail."""
        self._reply(Call("LIST", after), lambda: answer(200))
        names = sorted(self.tags) if repository.name == REPOSITORY else []
        behind = [name for name in names if name > after]
        return behind[:2], len(behind) > 2

    def page_repositories(self, after: str = "") -> tuple[list[str], bool]:
        """Answer as the registry client does."""
        names = ["acme-x/api", REPOSITORY, "zebra/api"]
        return [name for name in names if name > after], False

    def put_manifest(
        self,
        repository: Repository,
        reference: Tag | Digest,
        body: bytes,
        media_type: str,
        tags: tuple[Tag, ...] = (),
    ) -> RegistryAnswer:
        """Answer as the registry client does."""
        names = tuple(tag.name for tag in tags)
        call = Call("PUT", _within(repository, reference), names, body, media_type)
        return self._reply(call, lambda: self._put(call))

    def delete_manifest(self, repository: Repository, reference: Tag | Digest) -> RegistryAnswer:
        """Answer as the registry client does."""
        asked = _within(repository, reference)
        return self._reply(Call("DELETE", asked), lambda: self._delete(asked))

    def _reply(self, call: Call, carry: Carry) -> RegistryAnswer:
        self.calls.append(call)
        script = self.scripts.get(call.method)
        if not script:
            return carry()
        reply = script.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, RegistryAnswer) else reply(carry)

    def _get(self, reference: str) -> RegistryAnswer:
        digest = self.tags.get(reference, reference)
        if digest not in self.manifests:
            return ABSENT
        body, media_type = self.manifests[digest]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        return answer(200, headers=headers, body=body)

    def _put(self, call: Call) -> RegistryAnswer:
        digest = digest_of(call.body)
        is_by_digest = ":" in call.reference
        written = (call.tags if self.obeys_tag_parameters else ()) if is_by_digest else ()
        self.store(call.body, *written, media_type=call.media_type)
        if not is_by_digest:
            self.tags[call.reference] = digest
        headers = {
            "Location": f"http://registry.internal:5000/v2/{REPOSITORY}/manifests/{digest}",
            "Docker-Content-Digest": digest,
        }
        if written:
            headers["OCI-Tag"] = ", ".join(written)
        return answer(201, headers=headers)

    def _delete(self, reference: str) -> RegistryAnswer:
        if ":" not in reference:
            return answer(202) if self.tags.pop(reference, None) else ABSENT
        if self.manifests.pop(reference, None) is None:
            return ABSENT
        self.tags = {tag: each for tag, each in self.tags.items() if each != reference}
        return answer(202)


def _within(repository: Repository, reference: Tag | Digest) -> str:
    """Name a tag of another repository by both: most tests have but one repository."""
    is_plain = isinstance(reference, Digest) or repository.name == REPOSITORY
    return str(reference) if is_plain else f"{repository}/{reference}"


class GateClient:
    """Pushes and deletes as a client does that has logged in."""

    def __init__(self, user: User) -> None:
        self._client = Client()
        self.account = account_of(user, token_keys())

    def push(
        self,
        reference: str,
        body: bytes,
        *,
        query: str = "",
        media_type: str = IMAGE_TYPE,
        repository: str = REPOSITORY,
        **headers: Any,
    ) -> HttpResponse:
        """Push `body` under a tag or a digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        response: Any = self._client.put(
            path,
            body,
            content_type=media_type,
            QUERY_STRING=query,
            headers=self._login(repository),
            **headers,
        )
        return response  # type: ignore[no-any-return]

    def delete(
        self, reference: str, *, query: str = "", repository: str = REPOSITORY
    ) -> HttpResponse:
        """Delete a tag or a digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        response: Any = self._client.delete(
            path, QUERY_STRING=query, headers=self._login(repository)
        )
        return response  # type: ignore[no-any-return]

    def call(self, method: str, path: str, body: bytes = b"") -> HttpResponse:
        """Send anything else."""
        response: Any = self._client.generic(
            method, path, body, content_type=IMAGE_TYPE, headers=self._login(REPOSITORY)
        )
        return response  # type: ignore[no-any-return]

    def _login(self, repository: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.account.sign(repository)}"}


def error_of(response: HttpResponse) -> tuple[int, str]:
    """Return the status and the OCI code of an error."""
    return response.status_code, json.loads(response.content)["errors"][0]["code"]


def message_of(response: HttpResponse) -> str:
    """Return the line that the client prints."""
    message: str = json.loads(response.content)["errors"][0]["message"]
    return message


def is_undecided(response: HttpResponse) -> bool:
    """Whether the answer is "try again", in the form that the contract promises."""
    return error_of(response) == (503, "UNAVAILABLE") and response["Retry-After"].isdigit()
