"""What a token says, and which ones are not believed."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from containers.tokens.grants import ResourceAccess, repository_access
from containers.tokens.tokens import (
    LEEWAY_SECONDS,
    TOKEN_SECONDS,
    Caller,
    CallerKind,
    Claims,
    InvalidTokenError,
    read_token,
    sign_token,
)
from tests.services.accounts import OwnKeys

BOB = Caller(CallerKind.PERSON, 7, "bob")
ACCESS = (repository_access("acme/api", "pull", "push"), repository_access("acme/web", "pull"))


@pytest.fixture(scope="module")
def keys() -> OwnKeys:
    return OwnKeys()


def sign(keys: OwnKeys, now: float | None = None, seconds: int = TOKEN_SECONDS) -> str:
    moment = time.time() if now is None else now
    return sign_token(keys.find_signing_key(), BOB, ACCESS, int(moment), seconds)


def read_parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    def decode(part: str) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
        return decoded

    head, claims, _ = token.split(".")
    return decode(head), decode(claims)


def forge(
    keys: OwnKeys,
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    head: dict[str, Any] | None = None,
    **changed: Any,
) -> str:
    """Return a token that is signed well but for what is changed; None leaves a claim out."""
    good_head, claims = read_parts(sign(keys))
    claims = {name: value for name, value in {**claims, **changed}.items() if value is not None}
    head = {**good_head, **(head or {})}
    signed = f"{base64url({key: each for key, each in head.items() if each})}.{base64url(claims)}"
    signature = ECAlgorithm(ECAlgorithm.SHA256).sign(
        signed.encode(), key or keys.find_signing_key().private_key
    )
    return f"{signed}.{base64url(signature)}"


def test_what_was_signed_is_read(keys: OwnKeys) -> None:
    assert read_token(sign(keys), keys) == Claims(BOB, ACCESS)


def test_a_token_has_the_claims_that_registries_read(keys: OwnKeys) -> None:
    head, claims = read_parts(sign_token(keys.find_signing_key(), BOB, ACCESS, 1_800_000_000))
    assert (head["alg"], head["typ"]) == ("ES256", "JWT")
    # The certificate in standard base64, one text.
    [certificate] = head["x5c"]
    assert base64.b64decode(certificate, validate=True)[0] == 0x30
    assert claims["aud"] == claims["iss"] == "taglock"
    assert claims["sub"] == "bob"
    assert claims["iat"] == 1_800_000_000
    assert claims["exp"] == 1_800_000_000 + TOKEN_SECONDS
    assert claims["nbf"] == 1_800_000_000 - LEEWAY_SECONDS
    assert claims["access"] == [
        {"type": "repository", "name": "acme/api", "actions": ["pull", "push"]},
        {"type": "repository", "name": "acme/web", "actions": ["pull"]},
    ]


def test_no_two_tokens_have_the_same_id(keys: OwnKeys) -> None:
    assert read_parts(sign(keys, 1))[1]["jti"] != read_parts(sign(keys, 1))[1]["jti"]


@pytest.mark.parametrize(
    ("wanted", "is_granted"),
    [
        (repository_access("acme/api", "pull"), True),
        (repository_access("acme/api", "pull", "push"), True),
        (repository_access("acme/api", "delete"), False),
        (repository_access("acme/api", "pull", "delete"), False),
        (repository_access("acme/web", "push"), False),
        (repository_access("globex/api", "pull"), False),
        (ResourceAccess("registry", "acme/api", ("pull",)), False),
    ],
)
def test_a_token_is_for_what_it_names_alone(
    keys: OwnKeys, wanted: ResourceAccess, *, is_granted: bool
) -> None:
    assert read_token(sign(keys), keys).may(wanted) is is_granted


@pytest.mark.parametrize(
    ("age", "is_valid"),
    [
        (0, True),
        (TOKEN_SECONDS + LEEWAY_SECONDS - 5, True),
        (TOKEN_SECONDS + LEEWAY_SECONDS + 1, False),
        # Signed by a clock that is ahead.
        (-2 * LEEWAY_SECONDS + 5, True),
        (-2 * LEEWAY_SECONDS - 5, False),
    ],
)
def test_clocks_may_be_off_by_a_minute(keys: OwnKeys, age: int, *, is_valid: bool) -> None:
    token = sign(keys, time.time() - age)
    if is_valid:
        assert read_token(token, keys).caller == BOB
    else:
        with pytest.raises(InvalidTokenError):
            read_token(token, keys)


def public_pem(keys: OwnKeys) -> bytes:
    return (
        keys.find_signing_key()
        .private_key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def base64url(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def make_unsigned(keys: OwnKeys) -> str:
    head, claims = read_parts(sign(keys))
    return f"{base64url({**head, 'alg': 'none'})}.{base64url(claims)}."


def sign_with_public_key(keys: OwnKeys) -> str:
    """HS256, where the verifier takes the public key for the secret."""
    head, claims = read_parts(sign(keys))
    signed = f"{base64url({**head, 'alg': 'HS256'})}.{base64url(claims)}"
    return f"{signed}.{base64url(hmac.digest(public_pem(keys), signed.encode(), hashlib.sha256))}"


def tamper(keys: OwnKeys) -> str:
    head, claims = read_parts(sign(keys))
    claims["access"][0]["actions"].append("delete")
    return f"{base64url(head)}.{base64url(claims)}.{sign(keys).rsplit('.', 1)[-1]}"


FOREIGN_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make_unsigned, id="alg none"),
        pytest.param(sign_with_public_key, id="HS256 with the public key"),
        pytest.param(tamper, id="changed after it was signed"),
        pytest.param(lambda keys: forge(keys, key=FOREIGN_KEY), id="a foreign key of our name"),
        pytest.param(lambda keys: forge(keys, head={"kid": "other"}), id="an unknown key"),
        pytest.param(lambda keys: forge(keys, head={"kid": None}), id="no key named"),
        pytest.param(lambda keys: forge(keys, head={"kid": ["x"]}), id="a key that is no text"),
        pytest.param(lambda keys: forge(keys, aud="other"), id="for someone else"),
        pytest.param(lambda keys: forge(keys, aud=None), id="for nobody"),
        pytest.param(lambda keys: forge(keys, iss="other"), id="by someone else"),
        pytest.param(lambda keys: forge(keys, iss=None), id="by nobody"),
        pytest.param(lambda keys: forge(keys, exp=None), id="for ever"),
        pytest.param(lambda keys: forge(keys, exp="soon"), id="until no time"),
        pytest.param(lambda keys: forge(keys, nbf=None), id="from no time on"),
        pytest.param(lambda keys: forge(keys, access=None), id="access to nothing named"),
        pytest.param(lambda keys: forge(keys, access="acme/api"), id="access that is no list"),
        pytest.param(lambda keys: forge(keys, access=[{"type": "x"}]), id="access half named"),
        pytest.param(lambda keys: forge(keys, access=["x"]), id="access that is no object"),
        pytest.param(lambda keys: forge(keys, taglock_caller=None), id="no caller"),
        pytest.param(lambda keys: forge(keys, taglock_caller="root:1"), id="an unknown kind"),
        pytest.param(lambda keys: forge(keys, taglock_caller="person:x"), id="no id"),
        pytest.param(lambda keys: forge(keys, taglock_caller=7), id="a caller that is a number"),
        pytest.param(lambda keys: "", id="empty"),
        pytest.param(lambda keys: "x", id="no token"),
        pytest.param(lambda keys: "a.b.c", id="three letters"),
        pytest.param(lambda keys: "\xff.\xff.\xff", id="bytes"),
        pytest.param(lambda keys: "." * 10_000, id="dots"),
        pytest.param(lambda keys: sign(keys) + 20_000 * "A", id="too long"),
        pytest.param(lambda keys: sign(keys)[:-3], id="cut off"),
        pytest.param(lambda keys: base64url(b"[" * 9_000) + ".e30.x", id="deep"),
    ],
)
def test_other_tokens_are_not_believed(keys: OwnKeys, make: Any) -> None:
    with pytest.raises(InvalidTokenError):
        read_token(make(keys), keys)


def test_a_forged_token_differs_from_a_good_one_in_its_flaw_alone(keys: OwnKeys) -> None:
    assert read_token(forge(keys), keys) == Claims(BOB, ACCESS)


def test_a_certificate_in_the_head_is_not_heeded(keys: OwnKeys) -> None:
    other = OwnKeys()
    with pytest.raises(InvalidTokenError):
        read_token(sign(other), keys)
    certificate = other.find_signing_key().certificate
    renamed = forge(keys, key=other.find_signing_key().private_key, head={"x5c": [certificate]})
    with pytest.raises(InvalidTokenError):
        read_token(renamed, keys)
