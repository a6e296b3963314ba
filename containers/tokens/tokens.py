"""Sign and read the tokens that registry and gate trust: JWTs, only ES256. No Django."""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import jwt

from containers.tokens.grants import ResourceAccess
from containers.tokens.keys import SigningKey, TrustedKey, TrustedKeys

ISSUER = "taglock"
# Of the registry of REGISTRY_URL. Each of the others has its own, so that no token is good at two.
SERVICE = "taglock"
TOKEN_SECONDS = 300
# As much as the registry allows the clocks of others to be off.
LEEWAY_SECONDS = 60
MAX_TOKEN_LENGTH = 16 * 1024
# So many are remembered as verified: a push sends the same one again and again.
MAX_TOKENS_KEPT = 512
_ALGORITHM = "ES256"
_CALLER = "taglock_caller"
# What reading raises for a text that is not a token of this form.
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
    key: SigningKey,
    caller: Caller,
    access: Iterable[ResourceAccess],
    now: int,
    seconds: int = TOKEN_SECONDS,
    service: str = SERVICE,
) -> str:
    """Return a token for `service`, valid for `seconds` from `now`, in seconds since 1970."""
    claims = {
        "iss": ISSUER,
        "sub": caller.name,
        # One text and no list: Distribution 2 reads nothing else.
        "aud": service,
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


def read_token(text: str, keys: TrustedKeys, service: str = SERVICE) -> Claims:
    """Return what a token for `service` says.

    Raises InvalidTokenError, TokenKeyError and database errors.

    A token that was seen before is not verified again, but it must still be valid: its key trusted,
    its time not over.
    """
    if len(text) > MAX_TOKEN_LENGTH:
        raise InvalidTokenError("longer than any token of ours")
    # Whatever else the header names (algorithm, certificate, address of a key) is ignored.
    key_id = _read_key_id(text)
    key = keys.find_trusted_key(key_id) if isinstance(key_id, str) else None
    if key is None:
        raise InvalidTokenError("signed by a key that is not ours")
    try:
        verified = _verify(text, key, service)
    except _NO_TOKEN_OF_OURS as error:
        raise InvalidTokenError(str(error)) from error
    now = time.time()
    if not verified.not_before - LEEWAY_SECONDS <= now < verified.expires_at + LEEWAY_SECONDS:
        raise InvalidTokenError("not valid at this time")
    return verified.claims


@dataclass(frozen=True)
class _Verified:
    """What a token says that was signed by us, and when it is valid, in seconds since 1970."""

    claims: Claims
    not_before: int
    expires_at: int


@lru_cache(maxsize=MAX_TOKENS_KEPT)
def _read_key_id(text: str) -> object:
    try:
        return jwt.get_unverified_header(text).get("kid")
    except _NO_TOKEN_OF_OURS as error:
        raise InvalidTokenError(str(error)) from error


@lru_cache(maxsize=MAX_TOKENS_KEPT)
def _verify(text: str, key: TrustedKey, service: str) -> _Verified:
    claims = jwt.decode(
        text,
        key.public_key,
        algorithms=[_ALGORITHM],
        audience=service,
        issuer=ISSUER,
        # When it was issued says nothing: registries do not look at it either.
        options={
            "require": ["iss", "aud", "exp", "nbf", "access", _CALLER],
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        },
    )
    return _Verified(
        Claims(_read_caller(claims), tuple(_read_access(each) for each in claims["access"])),
        int(claims["nbf"]),
        int(claims["exp"]),
    )


def _read_caller(claims: dict[str, Any]) -> Caller:
    kind, _, number = claims[_CALLER].partition(":")
    return Caller(CallerKind(kind), int(number), str(claims.get("sub", "")))


def _read_access(entry: dict[str, Any]) -> ResourceAccess:
    return ResourceAccess(entry["type"], entry["name"], tuple(entry["actions"]))
