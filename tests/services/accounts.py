"""Accounts at the registry: tokens as the token service gives them, signed with the same keys."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from containers.tokens.grants import ACTIONS, ResourceAccess, repository_access
from containers.tokens.keys import KeyFolder
from containers.tokens.tokens import TAGLOCK, Caller, CallerKind, sign_token
from workspaces.access import SYSTEM, Role
from workspaces.actions.members import add_member
from workspaces.models import User, Workspace

PUSHER, ADMIN = "dana", "ada"


@dataclass(frozen=True)
class Account:
    """Somebody who is logged in. Needs no database: what a token says was asked before.

    `token_age` is how many seconds ago the tokens were given.
    """

    keys: KeyFolder
    caller: Caller
    token_age: int = 0

    def sign(
        self, repository: str, *actions: str, now: int | None = None, seconds: int = 300
    ) -> str:
        """Return a token for a repository; without actions, for all of them."""
        access = repository_access(repository, *(actions or ACTIONS))
        moment = int(time.time()) - self.token_age if now is None else now
        return sign_token(self.keys, self.caller, [access], moment, seconds)

    def header(self, repository: str, *actions: str) -> str:
        """Return the line of a request's head, with its end."""
        return f"Authorization: Bearer {self.sign(repository, *actions)}\r\n"


def keys_of(data_dir: Path) -> KeyFolder:
    """Return the keys of a Taglock that keeps its data there. Makes them, as `migrate` does."""
    keys = KeyFolder(data_dir / "token-keys")
    keys.make_first_key()
    return keys


def account_of(user: User, keys: KeyFolder) -> Account:
    """Return a person's account."""
    return Account(keys, Caller(CallerKind.PERSON, user.pk, user.username))


def taglocks_own(keys: KeyFolder) -> Callable[[ResourceAccess], str]:
    """Return what signs Taglock's own calls of its registry, for a client of the tests."""

    def authorize(access: ResourceAccess) -> str:
        return f"Bearer {sign_token(keys, TAGLOCK, [access], int(time.time()))}"

    return authorize


def make_pusher(workspace: Workspace) -> User:
    """Return Dana, a member of the workspace, who pushes in the tests."""
    return _make_member(workspace, PUSHER, Role.MEMBER)


def make_admin(workspace: Workspace) -> User:
    """Return Ada, an admin of the workspace."""
    return _make_member(workspace, ADMIN, Role.ADMIN)


def _make_member(workspace: Workspace, username: str, role: Role) -> User:
    user, is_new = User.objects.get_or_create(username=username)
    if is_new or not workspace.memberships.filter(user=user).exists():
        add_member(workspace, user, role, actor=SYSTEM)
    return user
