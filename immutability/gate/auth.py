"""Who is calling the gate: verified before anything is claimed, read or told."""

from dataclasses import dataclass
from typing import Protocol

from django.http import HttpRequest, HttpResponse

from containers.names import Digest, RepositoryName, TagName
from containers.registries import Connection
from containers.registry.client import RegistryClient
from containers.sql import owner_of
from containers.tokens.challenge import challenge
from containers.tokens.clients import PERMISSION_OF, find_access_now
from containers.tokens.grants import repository_access
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import Caller, CallerKind, InvalidTokenError, read_token
from immutability.errors import PermissionRevokedError
from immutability.gate.answers import denial
from workspaces.access import Permission
from workspaces.caller_access import Access, read_origin
from workspaces.metrics import LOGIN_FAILURES
from workspaces.rights import NeededRights


def authorize(
    request: HttpRequest,
    repository: RepositoryName,
    actions: tuple[str, ...],
    registry: Connection,
) -> "AuthorizedCaller | HttpResponse":
    """Return the caller and what they may do in the repository's workspace, or the answer to them.

    The token has to grant `actions`, and the database has to allow them still: what a token was
    given for may have been taken away since. A repository whose workspace is at another registry
    is no one's here. Raises TokenKeyError, and database errors.
    """
    wanted = repository_access(repository.name, *actions)
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if not text or scheme.lower() != "bearer":
        return challenge(wanted, service=registry.service)
    try:
        claims = read_token(text.strip(), token_keys(), registry.service)
    except InvalidTokenError:
        LOGIN_FAILURES.labels("gate").inc()
        return challenge(wanted, service=registry.service, error="invalid_token")
    if not claims.may(wanted):
        return challenge(wanted, service=registry.service, error="insufficient_scope")
    origin = read_origin(request)
    access = find_access_now(claims.caller, repository, origin)
    if access is None or not registry.has(access.workspace):
        return denial()
    # What an archived workspace takes is left to the push itself, which is told why.
    if not {PERMISSION_OF[action] for action in actions} <= access.permissions:
        return denial()
    needed = {PERMISSION_OF[action] for action in actions}
    if access.may(Permission.MANAGE_LOCKED_TAGS):
        needed.add(Permission.MANAGE_LOCKED_TAGS)
    return AuthorizedCaller(access, claims.caller, repository, frozenset(needed))


class GateCaller(Protocol):
    """Who is calling the gate. What they may do is said when it is known what they are asking for.

    `as_caller` is the registry for their own credentials, where it keeps the accounts.
    """

    @property
    def as_caller(self) -> RegistryClient | None: ...

    def admit_push(self, digest: Digest, body: bytes, media_type: str) -> Access | HttpResponse:
        """Return what they may do, if they may push this manifest; else the answer to them."""

    def admit_delete(self, target: TagName | Digest) -> Access | HttpResponse:
        """Return what they may do, if they may delete this; else the answer to them."""

    @property
    def rights(self) -> NeededRights | None:
        """What they must still be allowed where a push is decided; None if that does not change."""

    def confirm(self, access: Access) -> None:
        """Ask whether they may still delete what they were admitted for.

        `access` is what they were admitted with. Raises PermissionRevokedError.
        """


@dataclass(frozen=True)
class AuthorizedCaller:
    """A caller who was let through, and the permissions that this was for."""

    access: Access
    caller: Caller
    repository: RepositoryName
    needed: frozenset[Permission]
    as_caller: RegistryClient | None = None

    def admit_push(self, digest: Digest, body: bytes, media_type: str) -> Access | HttpResponse:
        """Return what they may do: the token has said it already."""
        return self.access

    def admit_delete(self, target: TagName | Digest) -> Access | HttpResponse:
        """Return what they may do: the token has said it already."""
        return self.access

    @property
    def rights(self) -> NeededRights:
        """What the caller must still be allowed where a write is decided."""
        is_person = self.caller.kind is CallerKind.PERSON
        return NeededRights(
            self.needed,
            self.access.workspace,
            self.repository.name,
            owner_of(self.repository),
            person_id=self.caller.id if is_person else None,
            token_id=0 if is_person else self.caller.id,
        )

    def confirm(self, access: Access) -> None:
        """Ask whether the caller still has these permissions. Raises PermissionRevokedError."""
        if not self.rights.are_there():
            raise PermissionRevokedError
