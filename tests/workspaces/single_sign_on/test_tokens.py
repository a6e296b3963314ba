"""What counts as a token of the provider: everything else proves nothing."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.workspaces.single_sign_on.double import (
    CLIENT_ID,
    ISSUER,
    KEY,
    id_claims,
    logout_claims,
    public_jwk,
    sign,
)
from workspaces.single_sign_on.tokens import (
    LOGOUT_EVENT,
    BadTokenError,
    Claims,
    parse_keys,
    verify_id_token,
    verify_logout_token,
)

KEYS = parse_keys({"keys": [public_jwk()]})
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def verify(token: str, nonce: str | None = "n") -> Claims:
    return verify_id_token(token, KEYS, issuer=ISSUER, client_id=CLIENT_ID, nonce=nonce)


def verify_logout(token: str) -> Claims:
    return verify_logout_token(token, KEYS, issuer=ISSUER, client_id=CLIENT_ID)


def without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def test_an_id_token_says_who_someone_is() -> None:
    now = int(time.time())
    assert verify(sign(id_claims(nonce="n")))["sub"] == "id|dana"
    # For several clients, if it says that this one asked for it.
    assert verify(sign(id_claims(nonce="n", aud=[CLIENT_ID, "other"], azp=CLIENT_ID)))
    # A minute of clocks that differ.
    assert verify(sign(id_claims(nonce="n", iat=now + 30, exp=now - 30)))
    # One of a refresh answers no request.
    assert verify(sign(id_claims()), nonce=None)


def is_refused(token: str) -> bool:
    try:
        verify(token)
    except BadTokenError:
        return True
    return False


def test_hostile_id_tokens_are_refused() -> None:
    now = int(time.time())
    good = id_claims(nonce="n")
    hostile: dict[str, dict[str, Any]] = {
        "wrong issuer": {"iss": "https://evil.example"},
        "an issuer as a list": {"iss": [ISSUER]},
        "wrong audience": {"aud": "other"},
        "wrong audience, by our own party": {"aud": "other", "azp": CLIENT_ID},
        "another party": {"azp": "other"},
        "several audiences, no party": {"aud": [CLIENT_ID, "other"]},
        "expired": {"exp": now - 90},
        "of the future": {"iat": now + 600},
        "an odd time": {"exp": "soon"},
        "no expiry": {"exp": None},
        "no subject": {"sub": None},
        "a subject that is a number": {"sub": 7},
        "no nonce": {"nonce": None},
        "another nonce": {"nonce": "m"},
        "a nonce of another type": {"nonce": ["n"]},
    }
    for name, change in hostile.items():
        claims = {key: each for key, each in (good | change).items() if each is not None}
        assert is_refused(sign_oddly(claims)), name


def test_only_signatures_by_the_providers_keys_count() -> None:
    claims = id_claims(nonce="n")
    public = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = sign(claims)
    head, body, signature = signed.split(".")
    # HMAC with what is public as its key: PyJWT would not make it, so made by hand.
    confused = f"{encode({'alg': 'HS256', 'kid': 'one'})}.{body}"
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        confused.encode(), public
    )
    forgeries = {
        "none": f"{encode({'alg': 'none'})}.{body}.",
        "none, with the key's name": f"{encode({'alg': 'none', 'kid': 'one'})}.{body}.",
        "HMAC": f"{confused}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
        "another key": jwt.encode(claims, OTHER_KEY, "ES256", {"kid": "one"}),
        "a key of its own": jwt.encode(
            claims, OTHER_KEY, "ES256", {"kid": "two", "jwk": public_jwk(OTHER_KEY, "two")}
        ),
        "other claims": f"{head}.{encode({**claims, 'sub': 'id|alice'})}.{signature}",
        "no signature": f"{head}.{body}.",
        "no token": "abc",
        "deep": f"{base64.urlsafe_b64encode(b'[' * 9000).decode()}.{body}.{signature}",
        "long": f"{head}.{body}{'a' * 70_000}.{signature}",
        "empty": "",
    }
    for name, token in forgeries.items():
        assert is_refused(token), name


def test_keys_that_verify_nothing_are_passed_over() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "h", "alg": "HS256"}
    broken = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "b"}
    other_use = {**public_jwk(), "use": "enc"}
    other_alg = {**public_jwk(), "alg": "HS256"}
    document = {"keys": [secret, broken, other_use, other_alg, 7, None, public_jwk()]}
    assert [key.id for key in parse_keys(document)] == ["one"]
    assert parse_keys({"keys": "one"}) == parse_keys([]) == parse_keys({}) == []


def test_a_logout_token_ends_sessions() -> None:
    assert verify_logout(sign(logout_claims()))["sid"] == "theirs"
    assert verify_logout(sign(without(logout_claims(), "sid")))["sub"] == "id|dana"
    # RFC 8417 tokens need no expiry.
    assert verify_logout(sign(without(logout_claims(), "exp")))


def test_other_tokens_end_no_session() -> None:
    now = int(time.time())
    good = logout_claims()
    others: dict[str, dict[str, Any]] = {
        "no event": {"events": {}},
        "another event": {"events": {"https://example.org/other": {}}},
        "an event of another type": {"events": {LOGOUT_EVENT: "yes"}},
        "events of another type": {"events": [LOGOUT_EVENT]},
        "no events": {"events": None},
        "a nonce": {"nonce": "n"},
        "no jti": {"jti": None},
        "a jti of another type": {"jti": 7},
        "no one": {"sub": None, "sid": None},
        "an empty session": {"sid": ""},
        "a session of another type": {"sid": ["theirs"]},
        "wrong issuer": {"iss": "https://evil.example"},
        "wrong audience": {"aud": "other"},
        "old": {"iat": now - 3600},
        "expired": {"exp": now - 90},
        "no time": {"iat": None},
    }
    tokens = {"an ID token": sign(id_claims()), "another key": sign_as_another(good)}
    for name, change in others.items():
        claims = {key: each for key, each in (good | change).items() if each is not None}
        tokens[name] = sign_oddly(claims)
    for name, token in tokens.items():
        try:
            verify_logout(token)
        except BadTokenError:
            continue
        pytest.fail(name)


def sign_oddly(claims: dict[str, Any]) -> str:
    """Sign what PyJWT would not sign, too."""
    return jwt.api_jws.encode(json.dumps(claims).encode(), KEY, "ES256", {"kid": "one"})


def sign_as_another(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, OTHER_KEY, "ES256", {"kid": "one"})
