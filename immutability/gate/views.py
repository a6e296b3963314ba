"""The gate's one address, /v2/: pushes and deletes of manifests, and nothing else."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.core.exceptions import TooManyFieldsSent
from django.db import Error as AnyDatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from containers.connection import connect
from containers.names import Digest, InvalidReferenceError, TagName
from containers.registries import Connection, find_connection_of
from containers.registry.client import CallerRefusedError, RegistryAnswer, RegistryClient
from containers.registry.manifest import (
    MANIFEST_MEDIA_TYPES,
    MAX_MANIFEST_BYTES,
    ManifestFacts,
    UnreadableManifestError,
    read_manifest,
)
from containers.tokens.grants import DELETE, PULL, PUSH
from containers.tokens.keys import TokenKeyError
from immutability.answers import Refusal
from immutability.delete.gate import ManifestDelete, delete_manifest
from immutability.errors import ArchivedError, PermissionRevokedError, TryAgainError
from immutability.gate import GATE_THREADS
from immutability.gate.answers import (
    denial,
    error_answer,
    refusal_answer,
    refused_look_answer,
    relayed_answer,
    undecided_answer,
)
from immutability.gate.auth import GateCaller, authorize
from immutability.gate.registry_accounts import identify
from immutability.gate.route import ManifestRoute, parse_route, parse_tags
from immutability.gate.turns import find_slots
from immutability.gate.unassigned import may_pass, pass_delete, pass_push
from immutability.patience import WaitSlots
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.push.gate import ManifestPush, push_manifest
from immutability.reading import require_unarchived
from immutability.refuse import note_refusal, relay_archived
from workspaces.access import Permission
from workspaces.caller_access import note_caller
from workspaces.current_request import RequestKind, current_request
from workspaces.text import find_bad_character

MAX_MEDIA_TYPE_LENGTH = 255
# The edge lets 5 MiB through.
_MAX_DRAINED_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_WAIT_SLOTS = WaitSlots(GATE_THREADS // 4)
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


@csrf_exempt
def gate(request: HttpRequest, path: str) -> HttpResponse:
    """Answer a request below /v2/ that the edge did not send to the registry."""
    try:
        return _let_through(request, path, find_connection_of(request))
    except InvalidReferenceError as error:
        return error_answer(400, error.code, error.message)
    except PermissionRevokedError as error:
        return _deny(error)
    except TryAgainError as error:
        return undecided_answer(str(error).rstrip("."), error.seconds)
    except (PatternError, PatternEvaluationError) as error:
        return undecided_answer(str(error).rstrip("."))
    except TooManyFieldsSent:
        return error_answer(400, "NAME_INVALID", "The query has too many parts.")
    except TokenKeyError as error:
        current_request().detail = str(error)
        return undecided_answer("no token can be verified, since Taglock's keys cannot be used")
    except AnyDatabaseError:
        return undecided_answer("the database cannot be used")


def _let_through(request: HttpRequest, path: str, connection: Connection) -> HttpResponse:
    registry = connect(connection)
    if registry is None:
        return error_answer(404, "UNSUPPORTED", "No registry is connected: set REGISTRY_URL.")
    work = _WORK.get(request.method or "")
    route = parse_route(path)
    if route is None or work is None:
        return error_answer(405, "UNSUPPORTED", f"{request.method} is not allowed here.")
    place = _Place(connection, registry)
    noted = current_request()
    noted.kind, noted.repository, noted.tag = work.kind, route.repository.name, str(route.reference)
    caller = _identify(request, route, work.actions, place)
    if isinstance(caller, HttpResponse):
        _drain_body(request)
        return caller
    slots = find_slots(connection)
    if slots is not None and not slots.try_take():
        _drain_body(request)
        return undecided_answer("too many requests wait for this registry")
    try:
        return work.carry_out(request, caller, route, place)
    except CallerRefusedError as error:
        return refused_look_answer(error.answer)
    finally:
        if slots is not None:
            slots.give_back()


def _identify(
    request: HttpRequest, route: ManifestRoute, actions: tuple[str, ...], place: "_Place"
) -> GateCaller | HttpResponse:
    connection = place.connection
    if connection.keeps_accounts:
        return identify(request, route.repository, connection, place.registry)
    return authorize(request, route.repository, actions, connection)


def _push(
    request: HttpRequest, caller: GateCaller, route: ManifestRoute, place: "_Place"
) -> HttpResponse:
    body = _read_body(request)
    if isinstance(body, HttpResponse):
        return body
    media_type = request.headers.get("Content-Type", "")
    facts = _read_facts(body, media_type)
    if isinstance(facts, str):
        return error_answer(400, "MANIFEST_INVALID", facts)
    digest = _digest(body, route.reference)
    is_by_digest = isinstance(route.reference, Digest)
    if is_by_digest and digest != route.reference:
        return error_answer(
            400, "DIGEST_INVALID", f"The manifest's digest is {digest}, not {route.reference}."
        )
    tags = (
        (route.reference,)
        if isinstance(route.reference, TagName)
        else parse_tags(request.GET.getlist("tag"))
    )
    if tags and not digest.value.startswith("sha256:"):
        return error_answer(400, "DIGEST_INVALID", "Push tags with a sha256 digest.")
    if tags:
        current_request().tag = ",".join(tag.name for tag in tags)
    if caller.as_caller is not None and may_pass(route.repository, place.connection):
        return _answer(route, pass_push(route, body, media_type, tags, caller.as_caller))
    access = caller.admit_push(digest, body, media_type)
    if isinstance(access, HttpResponse):
        return access
    note_caller(access)
    require_unarchived(access.workspace, is_archived=access.workspace.is_archived)
    push = ManifestPush(
        workspace=access.workspace,
        repository=route.repository,
        tags=tags,
        digest=digest,
        body=body,
        media_type=media_type,
        is_by_digest=is_by_digest,
        facts=facts,
        rights=caller.rights,
        as_caller=caller.as_caller,
    )
    return _answer(route, push_manifest(push, place.registry, _WAIT_SLOTS, actor=access.actor))


def _delete(
    request: HttpRequest, caller: GateCaller, route: ManifestRoute, place: "_Place"
) -> HttpResponse:
    if caller.as_caller is not None and may_pass(route.repository, place.connection):
        return _answer(route, pass_delete(route, caller.as_caller))
    access = caller.admit_delete(route.reference)
    if isinstance(access, HttpResponse):
        return access
    note_caller(access)
    require_unarchived(access.workspace, is_archived=access.workspace.is_archived)
    delete = ManifestDelete(
        access.workspace,
        route.repository,
        route.reference,
        is_admin=access.may(Permission.MANAGE_LOCKED_TAGS),
        confirm=partial(caller.confirm, access),
        as_caller=caller.as_caller,
    )
    return _answer(route, delete_manifest(delete, place.registry, _WAIT_SLOTS, actor=access.actor))


def _deny(error: PermissionRevokedError) -> HttpResponse:
    if not isinstance(error, ArchivedError):
        return denial()
    refusal = relay_archived(error.workspace)
    note_refusal(refusal)
    return refusal_answer(refusal)


def _answer(route: ManifestRoute, answer: RegistryAnswer | Refusal) -> HttpResponse:
    if isinstance(answer, Refusal):
        note_refusal(answer)
        return refusal_answer(answer)
    return relayed_answer(answer, route.repository)


def _read_body(request: HttpRequest) -> bytes | HttpResponse:
    """Return the manifest's bytes as they came, or the answer to a body that cannot be one."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        return error_answer(411, "SIZE_INVALID", "Send the manifest with a Content-Length.")
    if int(length) > MAX_MANIFEST_BYTES:
        _drain_body(request)
        return error_answer(
            413, "SIZE_INVALID", f"A manifest has at most {MAX_MANIFEST_BYTES} bytes."
        )
    body = request.read(int(length))
    if len(body) != int(length):
        return error_answer(400, "SIZE_INVALID", "The manifest ended before its Content-Length.")
    return body


def _drain_body(request: HttpRequest) -> None:
    """Read a body to its end: an answer in the middle of one is one that the edge may not see."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if length.isascii() and length.isdigit():
        for _ in range(min(int(length), _MAX_DRAINED_BYTES) // _CHUNK_BYTES + 1):
            request.read(_CHUNK_BYTES)


def _read_facts(body: bytes, media_type: str) -> ManifestFacts | str | None:
    """Return what a manifest lists, or what is wrong with one that no registry can take.

    None for a kind of manifest that is not ours to judge: the registry knows.
    """
    if len(media_type) > MAX_MEDIA_TYPE_LENGTH or find_bad_character(media_type):
        return "The Content-Type is not a media type."
    kind = media_type.partition(";")[0].strip().lower()
    try:
        facts = read_manifest(body, media_type)
    except UnreadableManifestError as error:
        if kind and kind not in MANIFEST_MEDIA_TYPES:
            return None
        return f"The manifest cannot be read: {error}."
    if facts.is_schema_1:
        return "Manifests of Docker's schema 1 cannot be pushed. Push schema 2 or an OCI image."
    return facts


def _digest(body: bytes, reference: TagName | Digest) -> Digest:
    """Return the body's digest: by the reference's algorithm, or sha256 under a tag."""
    algorithm = reference.value.partition(":")[0] if isinstance(reference, Digest) else "sha256"
    if algorithm not in _HASHES:
        raise InvalidReferenceError(
            "DIGEST_INVALID", f'Digests by "{algorithm}" are not supported; use sha256 or sha512.'
        )
    return Digest(f"{algorithm}:{_HASHES[algorithm](body).hexdigest()}")


@dataclass(frozen=True)
class _Place:
    """The registry that a request is for."""

    connection: Connection
    registry: RegistryClient


@dataclass(frozen=True)
class _Work:
    """What a method asks for: the actions that its caller needs, and who carries it out."""

    kind: RequestKind
    actions: tuple[str, ...]
    carry_out: Callable[[HttpRequest, GateCaller, ManifestRoute, _Place], HttpResponse]


# The actions are those that the registry wants for these methods.
_WORK = {
    "PUT": _Work(RequestKind.PUSH, (PULL, PUSH), _push),
    "DELETE": _Work(RequestKind.DELETE, (DELETE,), _delete),
}
