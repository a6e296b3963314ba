"""The registry that this installation is connected to, if any."""

import time
from functools import lru_cache

from django.conf import settings
from django.db import connection

from containers.registry.client import RegistryClient, RegistryUnavailableError
from containers.tokens.grants import ResourceAccess
from containers.tokens.key_folder import token_keys
from containers.tokens.keys import KeyFileError
from containers.tokens.tokens import TAGLOCK, sign_token


def find_registry() -> RegistryClient | None:
    """Return the client of the registry at REGISTRY_URL, or None where none is set."""
    return _client(settings.REGISTRY_URL) if settings.REGISTRY_URL else None


def release_database() -> None:
    """Give the database connection back to its pool, before something else is waited for.

    Within a transaction it stays, and where there is no pool there is nothing to give back.
    """
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        connection.close()


@lru_cache(maxsize=4)
def _client(url: str) -> RegistryClient:
    """One client an address, so that connections are used again."""
    return RegistryClient(url, authorize=_authorize)


def _authorize(access: ResourceAccess) -> str:
    """Return a token of Taglock's own for one call: no more than the call needs."""
    try:
        return f"Bearer {sign_token(token_keys(), TAGLOCK, [access], int(time.time()))}"
    except KeyFileError as error:
        raise RegistryUnavailableError(f"no token for it can be signed: {error}") from error
