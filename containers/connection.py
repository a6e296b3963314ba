"""The clients of the registries that this installation is connected to."""

import random
import time
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import Error as AnyDatabaseError

from containers.registries import (
    MAX_REGISTRIES,
    Connection,
    find_connection,
    find_connections,
    first_connection,
)
from containers.registry.account import RegistryAccount, RegistryLogin
from containers.registry.checkup import Checkup, Finding, Words
from containers.registry.client import UPSTREAM_DEADLINE_SECONDS, RegistryClient
from containers.registry.exchange import NoLoginError
from containers.registry_secrets import variable_of
from containers.tokens.grants import ResourceAccess
from containers.tokens.keys import SigningKey, TokenKeyError
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import MAX_TOKENS_KEPT, TAGLOCK, TOKEN_SECONDS, sign_token
from workspaces.models import Workspace
from workspaces.pool import release_database
from workspaces.transport import Deadline

# One that is used at the end of it is valid for as long again.
_TOKEN_KEPT_SECONDS = TOKEN_SECONDS // 2


def find_registry(workspace: Workspace) -> RegistryClient | None:
    """Return the client of the registry of a workspace; None if it is the first, and there is none.

    Raises database errors.
    """
    return connect(find_connection(workspace))


def connect(connection: Connection) -> RegistryClient | None:
    """Return the client of a registry, or None if none is connected."""
    if not connection.url:
        return None
    return _client(
        connection.url,
        connection.login,
        connection.ca_file,
        service=connection.service if connection.trusts_tokens else "",
        problem=connection.problem,
        # Where the operator has set a password, they have set its address, too.
        is_typed=connection.id is not None and not connection.login.username,
    )


def find_registries() -> list[tuple[int | None, RegistryClient | None]]:
    """Return the client of every registry by its row's id: None is the first, connected or not.

    In no order, so that one that hangs does not always keep the same ones waiting. Raises database
    errors.
    """
    rows = [each for each in find_connections() if each.id is not None]
    found = [(each.id, connect(each)) for each in (first_connection(), *rows)]
    random.shuffle(found)
    return found


def find_authorization(connection: Connection, *access: ResourceAccess) -> str:
    """Return what Taglock's own account sends to a registry as `Authorization`; empty for none.

    For calls that the edge makes of a registry that does not know Taglock's accounts. Raises
    RegistryUnavailableError.
    """
    if connection.problem:
        raise NoLoginError(connection.problem)
    if not connection.login.username:
        return ""
    account = _account(connection.url, connection.login, connection.ca_file)
    with Deadline(UPSTREAM_DEADLINE_SECONDS):
        return account.authorize(*access)


def check_connection(connection: Connection) -> list[Finding] | None:
    """Check a connection step by step, in at most half a minute; None if there is none."""
    registry = connect(connection)
    if registry is None:
        return None
    release_database()
    return Checkup(
        connection.url,
        registry,
        connection.ca_file,
        realm=f"{settings.PUBLIC_URL}/auth/token" if connection.trusts_tokens else "",
        service=connection.service if connection.trusts_tokens else "",
        public_url=_edge_url(connection),
        edge_service=_edge_service(connection),
        problem=connection.problem,
        words=_words_for(connection.name) if connection.name else Words(),
    ).run()


def _edge_url(connection: Connection) -> str:
    """Return where clients reach a registry: it is at the same port of the edge as the site."""
    site = urlsplit(settings.PUBLIC_URL)
    if not connection.host:
        return str(settings.PUBLIC_URL)
    return f"{site.scheme}://{connection.host}" + (f":{site.port}" if site.port else "")


def _edge_service(connection: Connection) -> str:
    """Return what tokens are for at a registry's host name; empty where that says nothing."""
    # The first one is reached by any name.
    if not connection.name or connection.keeps_accounts:
        return ""
    return connection.service


def _words_for(name: str) -> Words:
    return Words(
        "the address",
        variable_of(name, "CA_FILE"),
        "choose another way of keeping accounts",
        f"the user name and {variable_of(name, 'PASSWORD')}",
    )


def describe_unusable_keys() -> str:
    """Return why no token can be signed; empty if it can, or none is needed.

    Raises database errors.
    """
    if all(each.keeps_accounts for each in find_connections()):
        return ""
    try:
        token_keys().find_signing_key()
    except TokenKeyError as error:
        return str(error)
    return ""


@lru_cache(maxsize=MAX_REGISTRIES)
def _client(
    url: str,
    login: RegistryLogin,
    ca_file: Path | None,
    *,
    service: str,
    problem: str,
    is_typed: bool,
) -> RegistryClient:
    """One client an address, so that connections are used again.

    With a service it sends tokens for that. With a problem it sends nothing as Taglock. An address
    that was typed on a page may be anyone's.
    """
    if login.username and not problem:
        own = _account(url, login, ca_file)
        return RegistryClient(url, authorize=own.authorize, renew=own.renew, ca_file=ca_file)
    authorize = partial(_authorize, service) if service else None
    return RegistryClient(
        url,
        authorize=partial(_refuse, problem) if problem else authorize,
        ca_file=ca_file,
        refuses_link_local=is_typed,
    )


@lru_cache(maxsize=MAX_REGISTRIES)
def _account(url: str, login: RegistryLogin, ca_file: Path | None) -> RegistryAccount:
    """One account an address, so that its tokens are used again."""
    return RegistryAccount(url, login, ca_file)


def _refuse(problem: str, access: ResourceAccess) -> str:
    raise NoLoginError(problem)


def _authorize(service: str, access: ResourceAccess) -> str:
    """Return a token of Taglock's own for one call: no more than the call needs."""
    period = int(time.time()) // _TOKEN_KEPT_SECONDS
    try:
        token = _sign(token_keys().find_known_signing_key(), service, access, period)
    except TokenKeyError as error:
        raise NoLoginError(f"no token for it can be signed: {error}") from error
    except AnyDatabaseError as error:
        raise NoLoginError(
            "no token for it can be signed: the database cannot be used",
            cause="the database cannot be used",
        ) from error
    release_database()
    return f"Bearer {token}"


@lru_cache(maxsize=MAX_TOKENS_KEPT)
def _sign(key: SigningKey, service: str, access: ResourceAccess, period: int) -> str:
    """Return a token that the same key signs once in a period for the same access."""
    return sign_token(key, TAGLOCK, [access], int(time.time()), service=service)
