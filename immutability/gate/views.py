"""The gate's one address, /v2/: pushes and deletes of manifests, and nothing else."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import TooManyFieldsSent
from django.db import Error as AnyDatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from containers.connection import find_registry
from containers.reference import Digest, InvalidReferenceError, Tag
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.registry.manifest import (
    MANIFEST_MEDIA_TYPES,
    MAX_MANIFEST_BYTES,
    UnreadableManifestError,
    read_manifest,
)
from containers.tokens.grants import DELETE, PULL, PUSH
from containers.tokens.keys import KeyFileError
from immutability.actions.delete_manifest import ManifestDelete, delete_manifest
from immutability.actions.push_manifest import Holds, ManifestPush, push_manifest
from immutability.actions.read import NoLongerAllowedError, UndecidedError
from immutability.answers import Refusal
from immutability.gate import GATE_THREADS
from immutability.gate.answers import (
    error_answer,
    refusal_answer,
    relayed_answer,
    undecided_answer,
)
from immutability.gate.callers import Standing, authorize, denial
from immutability.gate.route import ManifestRoute, parse_route, parse_tags
from immutability.patterns import PatternError, PatternEvaluationError
from workspaces.access import Permission
from workspaces.text import find_bad_character

MAX_MEDIA_TYPE_LENGTH = 255
# The edge lets 5 MiB through.
_MOST_READ_IN_VAIN = 8 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_HOLDS = Holds(GATE_THREADS // 4)
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


@csrf_exempt
def gate(request: HttpRequest, path: str) -> HttpResponse:
    """Answer a request below /v2/ that the edge did not send to the registry."""
    if not settings.REGISTRY_URL:
        return error_answer(404, "UNSUPPORTED", "No registry is connected: set REGISTRY_URL.")
    try:
        return _let_through(request, path)
    except InvalidReferenceError as error:
        return error_answer(400, error.code, error.message)
    except NoLongerAllowedError:
        return denial()
    except (UndecidedError, PatternError, PatternEvaluationError) as error:
        return undecided_answer(str(error).rstrip("."))
    except TooManyFieldsSent:
        return error_answer(400, "NAME_INVALID", "The query has too many parts.")
    except KeyFileError as error:
        return undecided_answer(f"no token can be verified: {error}")
    except AnyDatabaseError:
        return undecided_answer("the database cannot be used")


def _let_through(request: HttpRequest, path: str) -> HttpResponse:
    work = _WORK.get(request.method or "")
    route = parse_route(path)
    if route is None or work is None:
        return error_answer(405, "UNSUPPORTED", f"{request.method} is not allowed here.")
    standing = authorize(request, route.repository, work.actions)
    if isinstance(standing, HttpResponse):
        _read_in_vain(request)
        return standing
    return work.carry_out(request, standing, route)


def _push(request: HttpRequest, standing: Standing, route: ManifestRoute) -> HttpResponse:
    body = _read_body(request)
    if isinstance(body, HttpResponse):
        return body
    media_type = request.headers.get("Content-Type", "")
    if problem := _find_problem(body, media_type):
        return error_answer(400, "MANIFEST_INVALID", problem)
    digest = _digest(body, route.reference)
    is_by_digest = isinstance(route.reference, Digest)
    if is_by_digest and digest != route.reference:
        return error_answer(
            400, "DIGEST_INVALID", f"The manifest's digest is {digest}, not {route.reference}."
        )
    tags = (
        (route.reference,)
        if isinstance(route.reference, Tag)
        else parse_tags(request.GET.getlist("tag"))
    )
    push = ManifestPush(
        workspace=standing.access.workspace,
        repository=route.repository,
        tags=tags,
        digest=digest,
        body=body,
        media_type=media_type,
        is_by_digest=is_by_digest,
        confirm=standing.confirm,
    )
    return _answer(route, push_manifest(push, _registry(), _HOLDS, actor=standing.access.actor))


def _delete(request: HttpRequest, standing: Standing, route: ManifestRoute) -> HttpResponse:
    delete = ManifestDelete(
        standing.access.workspace,
        route.repository,
        route.reference,
        is_admin=standing.access.may(Permission.MANAGE_LOCKED_TAGS),
        confirm=standing.confirm,
    )
    return _answer(route, delete_manifest(delete, _registry(), actor=standing.access.actor))


def _answer(route: ManifestRoute, answer: RegistryAnswer | Refusal) -> HttpResponse:
    if isinstance(answer, Refusal):
        return refusal_answer(answer)
    return relayed_answer(answer, route.repository)


def _read_body(request: HttpRequest) -> bytes | HttpResponse:
    """Return the manifest's bytes as they came, or the answer to a body that cannot be one."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        return error_answer(411, "SIZE_INVALID", "Send the manifest with a Content-Length.")
    if int(length) > MAX_MANIFEST_BYTES:
        _read_in_vain(request)
        return error_answer(
            413, "SIZE_INVALID", f"A manifest has at most {MAX_MANIFEST_BYTES} bytes."
        )
    body = request.read(int(length))
    if len(body) != int(length):
        return error_answer(400, "SIZE_INVALID", "The manifest ended before its Content-Length.")
    return body


def _read_in_vain(request: HttpRequest) -> None:
    """Read a body to its end: an answer in the middle of one is one that the edge may not see."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if length.isascii() and length.isdigit():
        for _ in range(min(int(length), _MOST_READ_IN_VAIN) // _CHUNK_BYTES + 1):
            request.read(_CHUNK_BYTES)


def _find_problem(body: bytes, media_type: str) -> str:
    """Return what is wrong with a manifest that no registry can take, or nothing."""
    if len(media_type) > MAX_MEDIA_TYPE_LENGTH or find_bad_character(media_type):
        return "The Content-Type is no media type."
    kind = media_type.partition(";")[0].strip().lower()
    try:
        facts = read_manifest(body, media_type)
    except UnreadableManifestError as error:
        if kind and kind not in MANIFEST_MEDIA_TYPES:
            return ""  # A kind that is not ours to judge: the registry knows.
        return f"The manifest cannot be read: {error}."
    if facts.is_schema_1:
        return "Manifests of Docker's schema 1 cannot be pushed. Push schema 2 or an OCI image."
    return ""


def _digest(body: bytes, reference: Tag | Digest) -> Digest:
    """Return the body's digest: by the reference's algorithm, or sha256 under a tag."""
    algorithm = reference.value.partition(":")[0] if isinstance(reference, Digest) else "sha256"
    if algorithm not in _HASHES:
        raise InvalidReferenceError(
            "DIGEST_INVALID", f'Digests by "{algorithm}" are not known here; use sha256 or sha512.'
        )
    return Digest(f"{algorithm}:{_HASHES[algorithm](body).hexdigest()}")


def _registry() -> RegistryClient:
    registry = find_registry()
    if registry is None:
        raise UndecidedError("no registry is connected")
    return registry


@dataclass(frozen=True)
class _Work:
    """What a method asks for: the actions that its caller needs, and who carries it out."""

    actions: tuple[str, ...]
    carry_out: Callable[[HttpRequest, Standing, ManifestRoute], HttpResponse]


# The actions are those that the registry wants for these methods.
_WORK = {"PUT": _Work((PULL, PUSH), _push), "DELETE": _Work((DELETE,), _delete)}
