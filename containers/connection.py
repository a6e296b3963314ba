"""The registry that this installation is connected to, if any."""

import time
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.db import connection

from containers.registry.account import Accounts, RegistryAccount, RegistryLogin
from containers.registry.checkup import Checkup, Finding
from containers.registry.client import UPSTREAM_DEADLINE_SECONDS, RegistryClient
from containers.registry.exchange import NoLoginError
from containers.tokens.grants import ResourceAccess
from containers.tokens.keys import SigningKey, TokenKeyError
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import MAX_TOKENS_KEPT, SERVICE, TAGLOCK, TOKEN_SECONDS, sign_token
from workspaces.transport import Deadline

# One that is used at the end of it is valid for as long again.
_TOKEN_KEPT_SECONDS = TOKEN_SECONDS // 2


def find_registry() -> RegistryClient | None:
    """Return the client of the registry at REGISTRY_URL, or None if none is set."""
    if not settings.REGISTRY_URL:
        return None
    return _client(
        settings.REGISTRY_URL,
        settings.REGISTRY_LOGIN_SECRET,
        settings.REGISTRY_CA_FILE,
        trusts_tokens=_trusts_tokens(),
    )


def find_authorization(*access: ResourceAccess) -> str:
    """Return what Taglock's own account sends to the registry as `Authorization`; empty for none.

    For calls that the edge makes of a registry that does not know Taglock's accounts. Raises
    RegistryUnavailableError.
    """
    login: RegistryLogin = settings.REGISTRY_LOGIN_SECRET
    if not login.username:
        return ""
    account = _account(settings.REGISTRY_URL, login, settings.REGISTRY_CA_FILE)
    with Deadline(UPSTREAM_DEADLINE_SECONDS):
        return account.authorize(*access)


def check_registry() -> list[Finding] | None:
    """Check the connection step by step, in at most half a minute; None if there is none."""
    registry = find_registry()
    if registry is None:
        return None
    release_database()
    trusts_tokens = _trusts_tokens()
    return Checkup(
        settings.REGISTRY_URL,
        registry,
        settings.REGISTRY_CA_FILE,
        realm=f"{settings.PUBLIC_URL}/auth/token" if trusts_tokens else "",
        service=SERVICE if trusts_tokens else "",
        public_url=settings.PUBLIC_URL,
    ).run()


def registry_keeps_accounts() -> bool:
    """Whether those who push and pull have their accounts at the registry, and not at Taglock."""
    return bool(settings.REGISTRY_ACCOUNTS == Accounts.REGISTRY)


def describe_unusable_keys() -> str:
    """Return why no token can be signed; empty if it can, or none is needed.

    Raises database errors.
    """
    if not settings.REGISTRY_URL or registry_keeps_accounts():
        return ""
    try:
        token_keys().find_signing_key()
    except TokenKeyError as error:
        return str(error)
    return ""


def _trusts_tokens() -> bool:
    return bool(settings.REGISTRY_ACCOUNTS == Accounts.TOKENS)


def release_database() -> None:
    """Give the database connection back to its pool, before something else is waited for.

    Within a transaction it stays, and if there is no pool there is nothing to give back.
    """
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        connection.close()


@lru_cache(maxsize=4)
def _client(
    url: str, login: RegistryLogin, ca_file: Path | None, *, trusts_tokens: bool
) -> RegistryClient:
    """One client an address, so that connections are used again."""
    if login.username:
        own = _account(url, login, ca_file)
        return RegistryClient(url, authorize=own.authorize, renew=own.renew, ca_file=ca_file)
    return RegistryClient(url, authorize=_authorize if trusts_tokens else None, ca_file=ca_file)


@lru_cache(maxsize=4)
def _account(url: str, login: RegistryLogin, ca_file: Path | None) -> RegistryAccount:
    """One account an address, so that its tokens are used again."""
    return RegistryAccount(url, login, ca_file)


def _authorize(access: ResourceAccess) -> str:
    """Return a token of Taglock's own for one call: no more than the call needs."""
    period = int(time.time()) // _TOKEN_KEPT_SECONDS
    try:
        token = _sign(token_keys().find_known_signing_key(), access, period)
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
def _sign(key: SigningKey, access: ResourceAccess, period: int) -> str:
    """Return a token that the same key signs once in a period for the same access."""
    return sign_token(key, TAGLOCK, [access], int(time.time()))
