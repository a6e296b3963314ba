"""Which registries there are: that of REGISTRY_URL, which has no row, and those that have one.

A workspace's repositories are at one of them, so a repository's name says at which. Rows are read
every few seconds: a push does not wait for that, and a change counts within MAX_AGE_SECONDS.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Model, QuerySet
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact
from django.http import HttpRequest

from containers.registry.account import Accounts, RegistryLogin
from containers.registry_secrets import find_secrets
from containers.tokens.tokens import SERVICE
from workspaces.models import Registry, Workspace

# One thread reads them again after this, while others go on.
LOOK_SECONDS = 2.0
MAX_AGE_SECONDS = 5.0
MAX_REGISTRIES = 50

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Connection:
    """How a registry is connected. The one of REGISTRY_URL has neither id nor name.

    `service` is what tokens for it are for. `problem` says what is missing, where Taglock's own
    account can't be used. Without an address no registry is connected.
    """

    url: str
    accounts: str
    login: RegistryLogin
    ca_file: Path | None
    service: str = SERVICE
    id: int | None = None
    name: str = ""
    host: str = ""
    problem: str = ""

    @property
    def keeps_accounts(self) -> bool:
        """Whether those who push and pull have their accounts at the registry, not at Taglock."""
        return self.accounts == Accounts.REGISTRY

    @property
    def trusts_tokens(self) -> bool:
        """Whether it takes the tokens that Taglock signs."""
        return self.accounts == Accounts.TOKENS

    def has(self, workspace: Workspace) -> bool:
        """Whether the workspace's repositories are at this registry."""
        return workspace.registry_id == self.id


def first_connection() -> Connection:
    """Return the registry of REGISTRY_URL, whose address is empty if there is none."""
    return Connection(
        settings.REGISTRY_URL,
        settings.REGISTRY_ACCOUNTS,
        settings.REGISTRY_LOGIN_SECRET,
        settings.REGISTRY_CA_FILE,
    )


def find_connection(workspace: Workspace) -> Connection:
    """Return the registry that a workspace's repositories are at. Raises database errors."""
    if workspace.registry_id is None:
        return first_connection()
    return stored_registries().find(workspace.registry_id)


def find_connection_at(host: str) -> Connection:
    """Return the registry that clients reach by a host name: the first one, if no row has it.

    A port makes no difference. Raises database errors.
    """
    name = host.partition(":")[0].rstrip(".").lower()
    for each in stored_registries().look():
        if each.host == name:
            return each
    return first_connection()


def find_connection_of(request: HttpRequest) -> Connection:
    """Return the registry that a request is for, by the name that it came to."""
    return find_connection_at(request.META.get("HTTP_HOST", ""))


def find_connection_with(service: str) -> Connection | None:
    """Return the registry that tokens for this service are for, or None. Raises database errors."""
    if service == SERVICE:
        return first_connection()
    return next((each for each in stored_registries().look() if each.service == service), None)


def find_connections() -> list[Connection]:
    """Return every registry that is connected. Raises database errors."""
    rows = stored_registries().look()
    return [each for each in (first_connection(), *rows) if each.url]


def connect_row(row: Registry) -> Connection:
    """Return how the registry of a row is connected."""
    secrets = find_secrets(row.name, row.username, row.url)
    return Connection(
        row.url,
        row.accounts,
        secrets.login,
        secrets.ca_file,
        row.service,
        row.pk,
        row.name,
        row.host,
        secrets.problem,
    )


def filter_at(rows: QuerySet[Row, Any], registry_id: int | None) -> QuerySet[Row, Any]:
    """Return the rows of workspaces that are at a registry, by the id of its row.

    By an expression that no index has, so that databases begin with what else is asked for.
    """
    return rows.filter(Exact(Coalesce("workspace__registry_id", 0), registry_id or 0))


@dataclass(frozen=True)
class _Read:
    """What was read at a moment of this process's clock."""

    at: float
    by_id: Mapping[int, Connection]


class StoredRegistries:
    """The registries that have a row, as this process last read them. One object a process."""

    def __init__(self) -> None:
        self._last: _Read | None = None
        self._look_at = 0.0

    def look(self) -> Iterator[Connection]:
        """Return all of them, read seconds ago at most. Raises database errors."""
        last, now = self._last, time.monotonic()
        if last is None or now - last.at >= MAX_AGE_SECONDS:
            last = self._read()
        elif now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            last = self._read()
        return iter(last.by_id.values())

    def find(self, registry_id: int) -> Connection:
        """Return the one of a workspace, which a new one may be. Raises database errors."""
        for each in self.look():
            if each.id == registry_id:
                return each
        return self._read().by_id[registry_id]

    def forget(self) -> None:
        """Read them again before they are used next."""
        self._last = None

    def _read(self) -> _Read:
        at = time.monotonic()
        rows = Registry.objects.order_by("name").defer("findings")
        read = _Read(at, {row.pk: connect_row(row) for row in rows})
        if self._last is None or at >= self._last.at:
            self._last, self._look_at = read, at + LOOK_SECONDS
        return read


@lru_cache(maxsize=1)
def stored_registries() -> StoredRegistries:
    """Return the registries of this installation that have a row."""
    return StoredRegistries()
