"""The edge asks whether a request may go to the registry, and what to send as its `Authorization`.

For a registry that does not know Taglock's accounts. It is an address of the gate's processes
alone, which no edge leads to from outside: its answer has what the registry lets Taglock in by.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from django.db import Error as AnyDatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from containers.connection import find_authorization
from containers.names import InvalidReferenceError, RepositoryName, parse_repository
from containers.registries import Connection, find_connection_at
from containers.registry.account import Accounts
from containers.registry.client import RegistryUnavailableError
from containers.sql import find_owned
from containers.tokens.challenge import challenge
from containers.tokens.clients import PERMISSION_OF, find_access_now
from containers.tokens.grants import PULL, PUSH, ResourceAccess, repository_access
from containers.tokens.keys import TokenKeyError
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import Claims, InvalidTokenError, read_token
from workspaces.access import Origin
from workspaces.metrics import LOGIN_FAILURES
from workspaces.pool import release_database

# How long the edge may repeat an answer. A token of the registry is good for longer than this when
# it is given out, and someone whose access is taken away is out after it.
ANSWER_SECONDS = 20
_MAX_QUERY_FIELDS = 20
_UPLOAD_FIELDS = ("digest", "digest-algorithm")


@dataclass(frozen=True)
class EdgeRequest:
    """What a client asks the registry for: nothing but who is there, or one repository."""

    repository: RepositoryName | None = None
    action: str = PULL
    # Of the start of an upload.
    query: dict[str, str] | None = None

    @property
    def wanted(self) -> list[ResourceAccess]:
        """The access that it needs, but for what a blob is mounted from."""
        if self.repository is None:
            return []
        actions = (PULL, PUSH) if self.action == PUSH else (PULL,)
        return [repository_access(self.repository.name, *actions)]


def parse_edge_request(method: str, target: str) -> EdgeRequest | None:
    """Parse what the edge would send to the registry; None for what nothing needs.

    Registries find the repository's name by how the path ends, and so does this. Raises
    InvalidReferenceError for a bad name.
    """
    path, _, query = target.partition("?")
    rest = path.removeprefix("/v2/")
    if rest == path:
        return None
    parts = rest.split("/")
    is_read = method in ("GET", "HEAD")
    if not rest and is_read:
        return EdgeRequest()
    if parts[-3:-1] == ["blobs", "uploads"]:
        # Distribution starts an upload, or mounts a blob, at the address of another one too.
        if method == "POST" and parts[-1]:
            return None
        repository = parse_repository("/".join(parts[:-3]))
        started = _parse_query(query) if method == "POST" else None
        return EdgeRequest(repository, PUSH, started)
    is_known = parts[-2:] == ["tags", "list"] or parts[-2:-1] in (["manifests"], ["referrers"])
    if is_read and (is_known or (parts[-2:-1] == ["blobs"] and ":" in parts[-1])):
        return EdgeRequest(parse_repository("/".join(parts[:-2])))
    return None


def _parse_query(query: str) -> dict[str, str]:
    """Return the first value of each field; empty for a query that cannot be read."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        return {}
    return dict(reversed(pairs))


@csrf_exempt
def answer_edge(request: HttpRequest) -> HttpResponse:
    """Answer 200 with what the edge is to send, or 401 with a challenge, or 403.

    The edge names method and target of the client's request in headers. Where nothing can be
    decided, the answer is 503, which the edge takes as a failure.
    """
    method = request.headers.get("X-Taglock-Method", "")
    target = request.headers.get("X-Taglock-Target", "")
    try:
        # By the name of the server that passes it on: a client writes Host as it likes.
        registry = find_connection_at(request.headers.get("X-Taglock-Server", ""))
        if registry.accounts != Accounts.TAGLOCK:
            return HttpResponse(status=404)
        asked = parse_edge_request(method, target)
        if asked is None:
            return HttpResponse(status=403)
        return _decide(request, asked, target, registry)
    except InvalidReferenceError:
        return HttpResponse(status=403)
    except (TokenKeyError, RegistryUnavailableError, AnyDatabaseError):
        return HttpResponse(status=503)


def _decide(
    request: HttpRequest, asked: EdgeRequest, target: str, registry: Connection
) -> HttpResponse:
    needed, service = asked.wanted, registry.service
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if not text or scheme.lower() != "bearer":
        return challenge(*needed, service=service)
    try:
        claims = read_token(text.strip(), token_keys(), service)
    except InvalidTokenError:
        LOGIN_FAILURES.labels("gate").inc()
        return challenge(*needed, service=service, error="invalid_token")
    if asked.repository is None:
        return _allow(target, [], registry)
    if not all(map(claims.may, needed)):
        return challenge(*needed, service=service, error="insufficient_scope")
    if not all(_may_now(claims, asked.repository, each.actions, registry) for each in needed):
        return HttpResponse(status=403)
    if asked.query is not None:
        mounted = _find_mounted(claims, asked.query, registry)
        target = _upload_target(asked.repository, asked.query, mounted)
        needed += [repository_access(mounted.name, PULL)] if mounted else []
        if not all(map(claims.may, needed)):
            return challenge(*needed, service=service, error="insufficient_scope")
    return _allow(target, needed, registry)


def _may_now(
    claims: Claims, repository: RepositoryName, actions: tuple[str, ...], registry: Connection
) -> bool:
    """Whether the caller may do this at this moment, whatever their token was given for."""
    access = find_access_now(claims.caller, repository, Origin())
    if access is not None and not registry.has(access.workspace):
        return False
    # Into an archived workspace, too: what refuses the manifest says why.
    if access is not None and {PERMISSION_OF[action] for action in actions} <= access.permissions:
        return True
    owned = find_owned([repository], user_id=0).get(repository)
    if owned is None or owned.registry_id != registry.id:
        return False
    return actions == (PULL,) and owned.is_public


def _find_mounted(
    claims: Claims, query: dict[str, str], registry: Connection
) -> RepositoryName | None:
    """Return the repository that a blob is mounted from, if the caller may pull from it now."""
    if "mount" not in query or "from" not in query:
        return None
    try:
        source = parse_repository(query["from"])
    except InvalidReferenceError:
        return None
    return source if _may_now(claims, source, (PULL,), registry) else None


def _upload_target(
    repository: RepositoryName, query: dict[str, str], mounted: RepositoryName | None
) -> str:
    """Return where an upload is started. Without a repository to mount from it is a plain one.

    The registry lets Taglock mount from everywhere, and some look everywhere by themselves.
    """
    kept = {name: query[name] for name in _UPLOAD_FIELDS if name in query}
    if mounted is not None:
        kept |= {"mount": query["mount"], "from": mounted.name}
    return f"/v2/{repository.name}/blobs/uploads/" + (f"?{urlencode(kept)}" if kept else "")


def _allow(target: str, needed: list[ResourceAccess], registry: Connection) -> HttpResponse:
    # The registry's token service may take its time.
    release_database()
    answer = HttpResponse(status=200)
    answer["X-Taglock-Target"] = target
    answer["X-Taglock-Authorization"] = find_authorization(registry, *needed)
    answer["X-Accel-Expires"] = str(ANSWER_SECONDS)
    return answer
