"""Sign and read the tokens that registry and gate believe: JWTs, ES256 alone. No Django."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt

from containers.tokens.grants import ResourceAccess
from containers.tokens.keys import KeyFolder

ISSUER = "taglock"
SERVICE = "taglock"
TOKEN_SECONDS = 300
# As much as the registry allows the clocks of others to be off.
LEEWAY_SECONDS = 60
MAX_TOKEN_LENGTH = 16 * 1024
_ALGORITHM = "ES256"
_CALLER = "taglock_caller"
# What reading a text raises that is no token, or one of another form.
_NO_TOKEN_OF_OURS = (
    jwt.PyJWTError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)


class InvalidTokenError(Exception):
    """The token was not signed by us for this, or is not valid now."""


class CallerKind(StrEnum):
    """What a token speaks for."""

    PERSON = "person"
    ACCESS_TOKEN = "token"  # noqa: S105  (a kind, not a secret)
    TAGLOCK = "taglock"
    ANYBODY = "anybody"


@dataclass(frozen=True)
class Caller:
    """Whom a token was given to. `name` is for people to read; kind and id say who it is."""

    kind: CallerKind
    id: int = 0
    name: str = ""


ANYBODY = Caller(CallerKind.ANYBODY)
TAGLOCK = Caller(CallerKind.TAGLOCK, name="taglock")


@dataclass(frozen=True)
class Claims:
    """What a valid token says."""

    caller: Caller
    access: tuple[ResourceAccess, ...]

    def may(self, wanted: ResourceAccess) -> bool:
        """Whether the token was granted all of the wanted actions."""
        granted = {
            action
            for each in self.access
            if (each.type, each.name) == (wanted.type, wanted.name)
            for action in each.actions
        }
        return granted >= set(wanted.actions)


def sign_token(
    keys: KeyFolder,
    caller: Caller,
    access: Iterable[ResourceAccess],
    now: int,
    seconds: int = TOKEN_SECONDS,
) -> str:
    """Return a token that is valid for `seconds` from `now`, in seconds since 1970.

    Raises KeyFileError.
    """
    key = keys.read_signing_key()
    claims = {
        "iss": ISSUER,
        "sub": caller.name,
        # One text and no list: Distribution 2 reads nothing else.
        "aud": SERVICE,
        "exp": now + seconds,
        "nbf": now - LEEWAY_SECONDS,
        "iat": now,
        "jti": secrets.token_urlsafe(16),
        "access": [each.to_claim() for each in access],
        _CALLER: f"{caller.kind}:{caller.id}",
    }
    # The certificate lets registries that name keys in other ways find ours.
    headers = {"kid": key.id, "x5c": [key.certificate]}
    return jwt.encode(claims, key.private_key, _ALGORITHM, headers=headers)


def read_token(text: str, keys: KeyFolder) -> Claims:
    """Return what a token says. Raises InvalidTokenError, and KeyFileError."""
    if len(text) > MAX_TOKEN_LENGTH:
        raise InvalidTokenError("longer than any token of ours")
    try:
        key_id = jwt.get_unverified_header(text).get("kid")
        # Whatever else the header names (algorithm, certificate, address of a key) is not heeded.
        key = keys.read_trusted_keys().get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise InvalidTokenError("signed by a key that is not ours")
        claims = jwt.decode(
            text,
            key.public_key,
            algorithms=[_ALGORITHM],
            audience=SERVICE,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            # When it was issued says nothing: registries do not look at it either.
            options={
                "require": ["iss", "aud", "exp", "nbf", "access", _CALLER],
                "verify_iat": False,
            },
        )
        return Claims(_read_caller(claims), tuple(_read_access(each) for each in claims["access"]))
    except _NO_TOKEN_OF_OURS as error:
        raise InvalidTokenError(str(error)) from error


def _read_caller(claims: dict[str, Any]) -> Caller:
    kind, _, number = claims[_CALLER].partition(":")
    return Caller(CallerKind(kind), int(number), str(claims.get("sub", "")))


def _read_access(entry: dict[str, Any]) -> ResourceAccess:
    return ResourceAccess(entry["type"], entry["name"], tuple(entry["actions"]))
