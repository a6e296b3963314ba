"""Accounts at the registry: tokens as the token service gives them, signed with the same keys."""

import sqlite3
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from containers.tokens.grants import ACTIONS, ResourceAccess, repository_access
from containers.tokens.keys import (
    SigningKey,
    SigningKeys,
    TrustedKey,
    make_key,
    parse_signing_key,
    parse_trusted_key,
)
from containers.tokens.tokens import TAGLOCK, Caller, CallerKind, sign_token
from tests.people import write_member
from workspaces.access import Role
from workspaces.models import User, Workspace
from workspaces.secret_key import decrypt

PUSHER, ADMIN = "dana", "ada"


@dataclass(frozen=True)
class Account:
    """Somebody who is logged in. Needs no database: what a token says was asked before.

    `token_age` is how many seconds ago the tokens were given.
    """

    keys: SigningKeys
    caller: Caller
    token_age: int = 0

    def sign(
        self, repository: str, *actions: str, now: int | None = None, seconds: int = 300
    ) -> str:
        """Return a token for a repository; without actions, for all of them."""
        access = repository_access(repository, *(actions or ACTIONS))
        moment = int(time.time()) - self.token_age if now is None else now
        return sign_token(self.keys.find_signing_key(), self.caller, [access], moment, seconds)

    def header(self, repository: str, *actions: str) -> str:
        """Return the line of a request's head, with its end."""
        return f"Authorization: Bearer {self.sign(repository, *actions)}\r\n"


class OwnKeys:
    """A key of the test's own, for a registry without a Taglock."""

    def __init__(self) -> None:
        made = make_key()
        self._signing = parse_signing_key(made.private_key, made.certificate)
        self._trusted = parse_trusted_key(made.certificate)

    def find_signing_key(self) -> SigningKey:
        return self._signing

    def find_trusted_key(self, key_id: str) -> TrustedKey | None:
        return self._trusted if key_id == self._trusted.id else None


@dataclass(frozen=True)
class OneKey:
    """A key that was read once: for threads that would each keep a connection to the database."""

    signing: SigningKey

    def find_signing_key(self) -> SigningKey:
        return self.signing


class SiteKeys:
    """The key that a Taglock on SQLite, with its data in a folder, signs with at the moment."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def find_signing_key(self) -> SigningKey:
        with closing(sqlite3.connect(self._data_dir / "taglock.sqlite3")) as database:
            private_key, certificate = database.execute(
                "SELECT private_key, certificate FROM containers_tokenkey WHERE role = 'signing'"
            ).fetchone()
        secret_key = (self._data_dir / "secret-key").read_text().strip()
        return parse_signing_key(decrypt(private_key, secret_key), certificate)


def bundle_of(keys: SigningKeys) -> str:
    """Return what a registry needs to trust the key that signs."""
    lines = textwrap.fill(keys.find_signing_key().certificate, 64)
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def account_of(user: User, keys: SigningKeys) -> Account:
    """Return a person's account."""
    return Account(keys, Caller(CallerKind.PERSON, user.pk, user.username))


def taglocks_own(keys: SigningKeys) -> Callable[[ResourceAccess], str]:
    """Return what signs Taglock's own calls of its registry, for a client of the tests."""

    def authorize(access: ResourceAccess) -> str:
        return f"Bearer {sign_token(keys.find_signing_key(), TAGLOCK, [access], int(time.time()))}"

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
        write_member(workspace, user, role)
    return user
