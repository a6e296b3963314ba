"""The keys of tokens as this process last read them, for pushes that do not wait for a query.

A key that was removed is trusted for MAX_AGE_SECONDS at most. One that is not known yet is looked
for at once. Taglock's own tokens are signed within a call of the registry, which has a deadline and
holds no database connection: a key that was read KNOWN_SECONDS ago is good enough for them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.db import Error as AnyDatabaseError

from containers.models import TokenKey
from containers.tokens.keys import (
    KEY_ID_LENGTH,
    SigningKey,
    TokenKeyError,
    TrustedKey,
    parse_signing_key,
    parse_trusted_key,
)
from workspaces.secret_key import OtherSecretKeyError, decrypt

# One thread reads them again after this, while others go on.
LOOK_SECONDS = 2.0
MAX_AGE_SECONDS = 5.0
KNOWN_SECONDS = 60.0


@dataclass(frozen=True)
class _Read:
    """What was read at a moment of this process's clock."""

    at: float
    trusted: Mapping[str, TrustedKey]
    signing: TokenKey


class StoredKeys:
    """The keys in the database. One object a process."""

    def __init__(self) -> None:
        self._last: _Read | None = None
        self._look_at = 0.0
        self._opened: SigningKey | None = None

    def find_signing_key(self) -> SigningKey:
        """Return the key that signs. Raises TokenKeyError, and database errors.

        While the database is away, the last one: registries trust it for longer.
        """
        try:
            row = self._look().signing
        except AnyDatabaseError:
            if self._opened is None:
                raise
            return self._opened
        return self._open(row)

    def find_known_signing_key(self) -> SigningKey:
        """Return the same without a look at the database, if one was known lately."""
        last = self._last
        if last is None or time.monotonic() - last.at >= KNOWN_SECONDS:
            return self.find_signing_key()
        return self._open(last.signing)

    def find_trusted_key(self, key_id: str) -> TrustedKey | None:
        """Return a key whose tokens are trusted. Raises TokenKeyError, and database errors."""
        key = self._look().trusted.get(key_id)
        if key is None and len(key_id) == KEY_ID_LENGTH:
            key = self._read().trusted.get(key_id)
        return key

    def forget(self) -> None:
        """Read them again before they are used next."""
        self._last = self._opened = None

    def _open(self, row: TokenKey) -> SigningKey:
        opened = self._opened
        if opened is None or opened.id != row.key_id:
            opened = self._opened = _open(row)
        return opened

    def _look(self) -> _Read:
        last, now = self._last, time.monotonic()
        if last is None or now - last.at >= MAX_AGE_SECONDS:
            return self._read()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            return self._read()
        return last

    def _read(self) -> _Read:
        at = time.monotonic()
        rows = list(TokenKey.objects.all())
        signing = next((row for row in rows if row.role == TokenKey.Role.SIGNING), None)
        if signing is None:
            raise TokenKeyError("there is no key: manage.py migrate makes the first one")
        try:
            keys = [parse_trusted_key(row.certificate) for row in rows]
        except ValueError as error:
            raise TokenKeyError(f"a certificate in the database cannot be used: {error}") from error
        read = _Read(at, {key.id: key for key in keys}, signing)
        if self._last is None or at >= self._last.at:
            self._last, self._look_at = read, at + LOOK_SECONDS
        return read


@lru_cache(maxsize=1)
def token_keys() -> StoredKeys:
    """Return the keys of this installation."""
    return StoredKeys()


def _open(row: TokenKey) -> SigningKey:
    try:
        return parse_signing_key(decrypt(row.private_key, settings.SECRET_KEY), row.certificate)
    except OtherSecretKeyError as error:
        raise TokenKeyError(f"{error}: the key of tokens") from error
    except ValueError as error:
        raise TokenKeyError(f"the key in the database cannot be used: {error}") from error
