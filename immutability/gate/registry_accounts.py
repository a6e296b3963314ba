"""Callers who have their account at the registry: it decides who they are and what they may do.

Nothing is told to them, and nothing is claimed, before the registry has carried out something that
only those may do who may do what they ask for. Their credentials are kept for their request alone.
"""

import base64
import secrets
import time
from dataclasses import dataclass
from functools import lru_cache

from django.http import HttpRequest, HttpResponse

from containers.connection import connect
from containers.names import Digest, RepositoryName, TagName
from containers.owners import find_owner
from containers.registries import MAX_REGISTRIES, Connection
from containers.registry.challenges import add_actions
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.registry.strict_json import parse_json
from immutability.errors import PermissionRevokedError, TryAgainError
from immutability.gate.answers import denial, error_answer, relayed_answer
from immutability.look import asking_registry
from immutability.push.gate import store_manifest
from workspaces.access import Actor, ActorKind, Origin, Permission
from workspaces.actions.registry_accounts import is_admins_account
from workspaces.caller_access import Access, read_origin
from workspaces.models import MAX_REGISTRY_ACCOUNT_LENGTH, Workspace
from workspaces.text import find_bad_character

# For so long it is remembered that the registry verifies credentials.
_VERIFIED_SECONDS = 600
_PERMISSIONS = frozenset({Permission.PULL, Permission.PUSH, Permission.DELETE})


def identify(
    request: HttpRequest,
    repository: RepositoryName,
    connection: Connection,
    registry: RegistryClient,
) -> "RegistryCaller | HttpResponse":
    """Return who says to be calling, or the answer to a header that no one can read."""
    authorization = request.headers.get("Authorization", "")
    if not (authorization.isascii() and authorization.isprintable()):
        return error_answer(400, "UNAUTHORIZED", "The header Authorization cannot be read.")
    return RegistryCaller(
        repository,
        connection,
        registry.acting_for(authorization),
        read_account_name(authorization),
        read_origin(request),
    )


@dataclass(frozen=True)
class RegistryCaller:
    """A caller with an account at the registry, or none, before it said what they may do."""

    repository: RepositoryName
    connection: Connection
    as_caller: RegistryClient
    name: str
    origin: Origin

    def admit_push(self, digest: Digest, body: bytes, media_type: str) -> Access | HttpResponse:
        """Let them store the manifest under its digest: the registry takes it from who may push.

        Raises TryAgainError where the registry does not say.
        """
        answer = store_manifest(self.repository, digest, body, media_type, self.as_caller)
        if not answer.is_success:
            return relayed_answer(answer, self.repository)
        return self._find_access()

    def admit_delete(self, target: TagName | Digest) -> Access | HttpResponse:
        """Let them delete a manifest that no one has, and look at the one that they mean.

        A registry that answers 404 to those who may not delete does so only where they may not even
        look. Raises TryAgainError where the registry does not say, and CallerRefusedError.
        """
        nothing = Digest(f"sha256:{secrets.token_hex(32)}")
        with asking_registry():
            probe = self.as_caller.delete_manifest(self.repository, nothing)
            if not (probe.is_success or probe.is_absent):
                return self._relay(probe)
            found = self.as_caller.ask_manifest(self.repository, target)
        if found.status == 404:
            return error_answer(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return self._find_access() if found.is_success else self._relay(found)

    @property
    def rights(self) -> None:
        """None: the registry asks again with every call that is made for them."""

    def confirm(self, access: Access) -> None:
        """Ask whether they still act for an admin, if they did. Raises PermissionRevokedError.

        The registry itself asks again with every call that is made for them.
        """
        if access.can_manage_locked_tags and not is_admins_account(self.name, access.workspace):
            raise PermissionRevokedError

    def _relay(self, answer: RegistryAnswer) -> HttpResponse:
        if not answer.is_refusal:
            raise TryAgainError(answer.reason)
        relayed = relayed_answer(answer, self.repository)
        if (challenge := relayed.get("WWW-Authenticate")) is not None:
            # Registries only ask for the right to delete, but the gate looks first.
            name = self.repository.name
            relayed["WWW-Authenticate"] = add_actions(challenge, name, "pull", "delete")
        return relayed

    def _find_access(self) -> Access | HttpResponse:
        workspace = find_owner(self.repository)
        if workspace is None or not self.connection.has(workspace):
            return denial()
        name = self.name if self.name and _are_names_verified(self.connection) else ""
        return Access(
            workspace,
            Actor(name, ActorKind.ACCOUNT, self.origin),
            _PERMISSIONS | _find_linked_permissions(name, workspace),
        )


def _find_linked_permissions(name: str, workspace: Workspace) -> frozenset[Permission]:
    """Return what an account may do besides because it is linked to an admin."""
    is_admins = bool(name) and is_admins_account(name, workspace)
    return frozenset({Permission.MANAGE_LOCKED_TAGS}) if is_admins else frozenset()


def read_account_name(authorization: str) -> str:
    """Return the name in credentials: Basic's user, or the subject of a token; empty for none.

    It says something only once the registry has accepted them.
    """
    scheme, _, text = authorization.partition(" ")
    try:
        if scheme.lower() == "basic":
            name, separator, _ = (
                base64.b64decode(text.strip(), validate=True).decode().partition(":")
            )
            name = name if separator else ""
        elif scheme.lower() == "bearer":
            name = _read_subject(text.strip())
        else:
            name = ""
    except (ValueError, KeyError, TypeError):
        return ""
    is_name = 0 < len(name) <= MAX_REGISTRY_ACCOUNT_LENGTH and not find_bad_character(name)
    return name if is_name else ""


def _read_subject(token: str) -> str:
    """Return the claim `sub` of a token (RFC 7519). The registry verifies it, not Taglock."""
    _, payload, _ = token.split(".")
    subject = parse_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
    return subject if isinstance(subject, str) else ""


def _are_names_verified(connection: Connection) -> bool:
    """Whether the registry refuses wrong credentials. One that takes all of them knows no names.

    Raises TryAgainError.
    """
    with asking_registry():
        return _verifies_credentials(connection, int(time.time()) // _VERIFIED_SECONDS)


@lru_cache(maxsize=MAX_REGISTRIES)
def _verifies_credentials(connection: Connection, period: int) -> bool:
    registry = connect(connection)
    return registry is not None and registry.verifies_credentials()
