"""Tokens that the identity provider signs, verified with its keys. No database, no Django."""

import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jwt

# Signatures alone, by keys that only the provider has. So "none" is no algorithm here, and neither
# is HMAC, whose key would be something that is public or that Taglock knows.
ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "OKP": ("EdDSA",),
}
# How far the clocks of provider and site may be apart.
LEEWAY_SECONDS = 60
MAX_TOKEN_LENGTH = 64 * 1024
MAX_LOGOUT_AGE_SECONDS = 600
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

Claims = Mapping[str, Any]
_NO_TOKEN = (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class BadTokenError(Exception):
    """A token that does not prove what it should. The message says why, without the token."""


class SigningKey:
    """A public key of the provider, and the algorithms that it verifies."""

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        """Raises BadTokenError for what verifies no signature."""
        kind = str(jwk.get("crv") if jwk.get("kty") == "EC" else jwk.get("kty"))
        said = jwk.get("alg")
        self.id = jwk.get("kid")
        self.algorithms = [each for each in ALGORITHMS.get(kind, ()) if said in (None, each)]
        if jwk.get("use", "sig") != "sig" or not self.algorithms:
            raise BadTokenError("a key that verifies no signature")
        try:
            self.key = jwt.PyJWK(dict(jwk), self.algorithms[0]).key
        except _NO_TOKEN as error:
            raise BadTokenError("a key that cannot be read") from error


def parse_keys(document: object) -> list[SigningKey]:
    """Return the keys of a JWKS that verify signatures; others are passed over."""
    found = document.get("keys") if isinstance(document, Mapping) else None
    keys = []
    for each in found if isinstance(found, list) else ():
        try:
            keys.append(SigningKey(each if isinstance(each, Mapping) else {}))
        except BadTokenError:
            continue
    return keys


def read_key_id(token: str) -> str | None:
    """Return which key a token says that it is signed with, if it does. Raises BadTokenError."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise BadTokenError("the token is longer than any should be")
    try:
        found = jwt.get_unverified_header(token).get("kid")
    except _NO_TOKEN as error:
        raise BadTokenError("it is not a signed token") from error
    return found if isinstance(found, str) else None


def verify_id_token(
    token: str, keys: Sequence[SigningKey], *, issuer: str, client_id: str, nonce: str | None
) -> Claims:
    """Return what an ID token says (OpenID Connect Core, section 3.1.3.7). Raises BadTokenError.

    Without a `nonce` it is one of a refresh, which answers no request of a browser.
    """
    claims = _verify(token, keys, issuer, client_id, ["iss", "sub", "aud", "exp", "iat"])
    audience, party = claims["aud"], claims.get("azp")
    is_shared = isinstance(audience, list) and len(audience) > 1
    if (is_shared or party is not None) and party != client_id:
        raise BadTokenError("the ID token was made for another client (azp)")
    if nonce is not None and not _is_same(claims.get("nonce"), nonce):
        raise BadTokenError("the ID token answers another request (nonce)")
    return claims


def verify_logout_token(
    token: str, keys: Sequence[SigningKey], *, issuer: str, client_id: str
) -> Claims:
    """Return what a logout token says (OpenID Connect Back-Channel Logout, section 2.6).

    It has a `sub`, a `sid` or both, and a `jti`, as texts. Raises BadTokenError.
    """
    claims = _verify(token, keys, issuer, client_id, ["iss", "aud", "iat", "jti", "events"])
    events = claims["events"]
    if not isinstance(events, Mapping) or not isinstance(events.get(LOGOUT_EVENT), Mapping):
        raise BadTokenError("it is not a logout token (events)")
    if "nonce" in claims:
        raise BadTokenError("a logout token has no nonce")
    named = [claims.get(name) for name in ("sub", "sid") if claims.get(name) is not None]
    if not named or not all(isinstance(each, str) and each for each in (*named, claims["jti"])):
        raise BadTokenError("the logout token names neither a person nor a session")
    if int(claims["iat"]) < time.time() - MAX_LOGOUT_AGE_SECONDS:
        raise BadTokenError("the logout token is old (iat)")
    return claims


def _verify(
    token: str, keys: Sequence[SigningKey], issuer: str, client_id: str, required: list[str]
) -> Claims:
    """Verify signature, issuer, audience and times. Raises BadTokenError."""
    key_id = read_key_id(token)
    # Without a name any of them may be meant; of a name several keys may be.
    candidates = [key for key in keys if key_id is None or key.id == key_id]
    error: Exception = BadTokenError("the token is signed by none of the provider's keys")
    for key in candidates:
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=key.algorithms,
                issuer=issuer,
                audience=client_id,
                leeway=LEEWAY_SECONDS,
                options={"require": required},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as failed:
            error = failed
        except _NO_TOKEN as failed:
            raise BadTokenError(f"the token is not valid: {failed}") from failed
    raise BadTokenError(f"the token is not valid: {error}") from error


def _is_same(found: object, expected: str) -> bool:
    return isinstance(found, str) and hmac.compare_digest(found.encode(), expected.encode())
