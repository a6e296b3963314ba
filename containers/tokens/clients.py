"""Who logs in to the registry, and what they may do there at this moment."""

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.conf import settings

from containers.names import RepositoryName
from containers.sql import OwnedRepository, find_owned, owner_of
from containers.tokens.grants import ACTIONS, DELETE, PULL, PUSH, ResourceAccess, repository_access
from containers.tokens.tokens import ANYBODY, Caller, CallerKind
from workspaces.access import (
    ROLE_PERMISSIONS,
    Origin,
    Permission,
    Role,
)
from workspaces.access_tokens import find_access_token, find_valid_token
from workspaces.actions.personal_tokens import PERSONAL_PREFIX
from workspaces.caller_access import Access, find_persons_access, make_token_access
from workspaces.models import AccessToken
from workspaces.personal_tokens import find_token_owner
from workspaces.sign_in import verify_password
from workspaces.throttles import TOKEN_LOGINS_PER_ADDRESS, count_call, counted_address

# Of an `Authorization` header: name and password at their longest, each character of four bytes,
# in base64.
MAX_BASIC_LENGTH = 8 * 1024
# Between the workspace and the name of an access token. User names have none.
TOKEN_SEPARATOR = "+"  # noqa: S105  (a separator)

PERMISSION_OF: Mapping[str, Permission] = {
    PULL: Permission.PULL,
    PUSH: Permission.PUSH,
    DELETE: Permission.DELETE,
}


class BadCredentialsError(Exception):
    """User name and password do not match. The message is for people."""


@dataclass(frozen=True)
class Login:
    """Who has just logged in, and with which access token."""

    caller: Caller
    token: AccessToken | None = None

    @property
    def person_id(self) -> int:
        """The person's id; 0 for anything else, which is no one's."""
        return self.caller.id if self.caller.kind is CallerKind.PERSON else 0


NO_LOGIN = Login(ANYBODY)


def log_in(username: str, password: str, origin: Origin) -> Login:
    """Return who this is: a person, or `<workspace>+<name>` with an access token as password.

    A person's password may also be one of their personal access tokens.

    Raises BadCredentialsError, and TooManyCallsError after too many of these.
    """
    if TOKEN_SEPARATOR in username:
        token = find_access_token(password)
        if token is None or not _is_named(token, username):
            # Afterwards, so that valid ones get in, even from a shared address.
            count_call(TOKEN_LOGINS_PER_ADDRESS, counted_address(origin.address))
            raise BadCredentialsError("This access token is not valid, or has another name.")
        return Login(Caller(CallerKind.ACCESS_TOKEN, token.id, username), token)
    if password.startswith(PERSONAL_PREFIX):
        owner = find_token_owner(username, password)
        if owner is None:
            count_call(TOKEN_LOGINS_PER_ADDRESS, counted_address(origin.address))
            raise BadCredentialsError("This personal access token is not valid, or not yours.")
        return Login(Caller(CallerKind.PERSON, owner.id, owner.username))
    user = verify_password(username, password, origin)
    if user is None and not settings.LOCAL_PASSWORDS:
        raise BadCredentialsError(
            "Passwords are switched off here. Use a personal access token as the password: "
            f"{settings.PUBLIC_URL}/accounts/tokens/"
        )
    if user is None:
        raise BadCredentialsError(
            "The user name or the password is wrong. The user name of an access token is "
            "<workspace>+<name>."
        )
    return Login(Caller(CallerKind.PERSON, user.id, user.username))


def _is_named(token: AccessToken, username: str) -> bool:
    """Whether `username` is how a client names this token. One of every workspace logs in nowhere.

    Case makes no difference, since it makes none between two tokens' names either.
    """
    return token.user_name is not None and username.casefold() == token.user_name.casefold()


def grant(
    login: Login,
    asked: Mapping[RepositoryName, frozenset[str]],
    registry_id: int | None = None,
) -> tuple[ResourceAccess, ...]:
    """Return the part of what is asked for that the caller may do. One query at most.

    Nothing in repositories of workspaces that are at another registry than the one of this id.
    """
    granted = {
        each: actions & _find_own(login, each, registry_id) for each, actions in asked.items()
    }
    rest = [each for each, actions in asked.items() if granted[each] != actions]
    for repository, owned in find_owned(rest, login.person_id).items():
        if owned.registry_id != registry_id:
            continue
        granted[repository] = asked[repository] & _find_actions(login, repository, owned)
    return tuple(
        repository_access(repository.name, *(each for each in ACTIONS if each in actions))
        for repository, actions in granted.items()
        if actions
    )


def _find_own(login: Login, repository: RepositoryName, registry_id: int | None) -> frozenset[str]:
    """Return what an access token may do in its workspace, for which no query is needed."""
    workspace = login.token.workspace if login.token is not None else None
    if login.token is None or workspace is None or not repository.is_under(workspace.slug):
        return frozenset()
    if workspace.registry_id != registry_id:
        return frozenset()
    return _find_token_actions(login.token, repository, workspace.slug)


def _find_actions(
    login: Login, repository: RepositoryName, owned: OwnedRepository
) -> frozenset[str]:
    """Return what the caller may do in a repository. Anyone may pull from a public one."""
    actions: frozenset[str] = frozenset()
    if owned.role is not None:
        actions = _to_actions(ROLE_PERMISSIONS[Role(owned.role)])
    elif login.token is not None and login.token.workspace_id == owned.workspace_id:
        actions = _find_token_actions(login.token, repository, owned.workspace)
    return actions | {PULL} if owned.is_public else actions


def _find_token_actions(
    token: AccessToken, repository: RepositoryName, workspace: str
) -> frozenset[str]:
    return _to_actions(token.permissions if token.is_for(repository.name, workspace) else ())


def _to_actions(permissions: Collection[Permission]) -> frozenset[str]:
    return frozenset(each for each in ACTIONS if PERMISSION_OF[each] in permissions)


def find_access_now(caller: Caller, repository: RepositoryName, origin: Origin) -> Access | None:
    """Return what the caller of a token may now do in a repository; None if nothing.

    A role that was taken away, or an access token that was revoked or is limited to other
    repositories, is worth nothing, however long the registry's token is valid.
    """
    owner = owner_of(repository)
    if caller.kind is CallerKind.PERSON:
        return find_persons_access(caller.id, owner, origin)
    if caller.kind is CallerKind.ACCESS_TOKEN:
        token = find_valid_token(caller.id, owner)
        workspace = token.workspace if token is not None else None
        if token is not None and workspace is not None:
            access = make_token_access(token, workspace, origin)
            return access if access.is_for(repository.name) else None
    return None


def read_basic(header: str) -> tuple[str, str] | None:
    """Return user name and password of an `Authorization` header (RFC 7617); None for no such one.

    Raises BadCredentialsError if it cannot be read.
    """
    scheme, _, encoded = header.partition(" ")
    if not header:
        return None
    try:
        if scheme.lower() != "basic" or len(header) > MAX_BASIC_LENGTH:
            raise ValueError("another scheme, or too long")
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise BadCredentialsError("Send user name and password by HTTP Basic.") from error
    username, separator, password = text.partition(":")
    if not separator:
        raise BadCredentialsError("Send user name and password by HTTP Basic.")
    return username, password


__all__ = [
    "NO_LOGIN",
    "BadCredentialsError",
    "Login",
    "find_access_now",
    "grant",
    "log_in",
    "read_basic",
]
