"""Tokens that nobody gave out, and tokens that are not for this, here or now."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests.services.accounts import Account, bundle_of

BEYOND_LEEWAY_SECONDS = 75


@dataclass(frozen=True)
class Case:
    """What is made of a good token: `change` gets its header and claims, and signs them again."""

    name: str
    make: Callable[["Forger"], str]


class Forger:
    """Makes tokens for a repository out of those that an account is given."""

    def __init__(self, account: Account, repository: str) -> None:
        self._account = account
        self._repository = repository
        self._key = account.keys.find_signing_key()
        self._foreign = ec.generate_private_key(ec.SECP256R1())

    def good(self, **claims: Any) -> str:
        """Return a token with these claims changed, signed with the key of the token service."""
        return self._sign(self._header(), self._claims(**claims))

    def without(self, *names: str) -> str:
        """Return a token without these claims, signed with that key."""
        kept = {name: value for name, value in self._claims().items() if name not in names}
        return self._sign(self._header(), kept)

    def unsigned(self, algorithm: str) -> str:
        """Return a token that says that it is not signed."""
        return f"{_encode({'typ': 'JWT', 'alg': algorithm})}.{_encode(self._claims())}."

    def signed_with_the_public_key(self, *, is_certificate: bool, has_header: bool) -> str:
        """Return a token whose secret, for HS256, is what everyone may know."""
        if is_certificate:
            secret = bundle_of(self._account.keys).encode()
        else:
            secret = self._key.private_key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        header = {"typ": "JWT", "alg": "HS256"}
        if has_header:
            header = {**self._header(), **header}
        text = f"{_encode(header)}.{_encode(self._claims())}"
        return f"{text}.{_base64url(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"

    def tampered(self, **claims: Any) -> str:
        """Return a token whose claims were changed after it was signed."""
        header, _, signature = self.good().split(".")
        return f"{header}.{_encode(self._claims(**claims))}.{signature}"

    def foreign(self, **header: Any) -> str:
        """Return a token that someone else signed, with their certificate."""
        theirs = {"typ": "JWT", "alg": "ES256", "kid": "theirs", "x5c": [self._certificate()]}
        return self._sign({**theirs, **header}, self._claims(), self._foreign)

    def foreign_by_another_way(self) -> str:
        """Return a token of someone else that brings its key along in the header."""
        numbers = self._foreign.public_key().public_numbers()
        x, y = (_base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        key = {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": self._key.id}
        return self._sign({"typ": "JWT", "alg": "ES256", "jwk": key}, self._claims(), self._foreign)

    @property
    def our_key_id(self) -> str:
        return self._key.id

    @property
    def our_certificate(self) -> str:
        return self._key.certificate

    def _header(self) -> dict[str, Any]:
        return {
            "typ": "JWT",
            "alg": "ES256",
            "kid": self._key.id,
            "x5c": [self._key.certificate],
        }

    def _claims(self, **claims: Any) -> dict[str, Any]:
        text = self._account.sign(self._repository).split(".")[1]
        given: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return {**given, **claims}

    def _sign(
        self,
        header: dict[str, Any],
        claims: dict[str, Any],
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> str:
        text = f"{_encode(header)}.{_encode(claims)}"
        signed = (key or self._key.private_key).sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signed)
        return f"{text}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def _certificate(self) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "taglock")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._foreign.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._foreign, hashes.SHA256())
        )
        return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()


def _access(name: str, *actions: str) -> list[dict[str, Any]]:
    return [{"type": "repository", "name": name, "actions": list(actions)}]


def _now(seconds: int) -> int:
    return int(time.time()) + seconds


# None of these says anything to anyone, neither to the gate nor to the registry.
FORGERIES = [
    Case("no algorithm", lambda forger: forger.unsigned("none")),
    Case("no algorithm, in capitals", lambda forger: forger.unsigned("NONE")),
    *(
        Case(
            f"the {'certificate' if is_certificate else 'public key'} as a secret, "
            f"{'with' if has_header else 'without'} its names",
            lambda forger, is_certificate=is_certificate, has_header=has_header: (  # type: ignore[misc]
                forger.signed_with_the_public_key(
                    is_certificate=is_certificate, has_header=has_header
                )
            ),
        )
        for is_certificate in (True, False)
        for has_header in (True, False)
    ),
    Case("another audience", lambda forger: forger.good(aud="registry.example.org")),
    Case("another issuer", lambda forger: forger.good(iss="somebody")),
    Case("no issuer", lambda forger: forger.without("iss")),
    Case("no audience", lambda forger: forger.without("aud")),
    Case("no end", lambda forger: forger.without("exp")),
    Case("no access", lambda forger: forger.without("access")),
    Case("another repository", lambda forger: forger.good(access=_access("acme/other", "*"))),
    Case(
        "every action of another workspace's repository of that name",
        lambda forger: forger.good(access=_access("globex/api", "pull", "push", "delete")),
    ),
    Case("expired", lambda forger: forger.good(exp=_now(-BEYOND_LEEWAY_SECONDS))),
    Case(
        "not valid yet",
        lambda forger: forger.good(nbf=_now(BEYOND_LEEWAY_SECONDS), iat=_now(0)),
    ),
    Case("a tampered caller", lambda forger: forger.tampered(taglock_caller="person:1")),
    Case("a tampered end", lambda forger: forger.tampered(exp=_now(3600))),
    Case("a foreign key with its own certificate", lambda forger: forger.foreign()),
    Case(
        "a foreign key with its own certificate under our name",
        lambda forger: forger.foreign(kid=forger.our_key_id),
    ),
    Case(
        "a foreign key with our certificate under our name",
        lambda forger: forger.foreign(kid=forger.our_key_id, x5c=[forger.our_certificate]),
    ),
    Case("a foreign key that it brings along", lambda forger: forger.foreign_by_another_way()),
    Case("nothing at all", lambda _: ""),
    Case("no token", lambda _: "taglock_" + "x" * 43),
    Case("much too long", lambda _: "a" * 6000 + "." + "b" * 100 + ".c"),
]
# The registry knows nothing of callers; the gate believes nobody who is not one.
OF_NO_CALLER = [
    Case("no caller", lambda forger: forger.without("taglock_caller")),
    Case("a caller of no kind", lambda forger: forger.good(taglock_caller="admin:1")),
    Case("a caller without a number", lambda forger: forger.good(taglock_caller="person:")),
]
# Signed by Taglock, for what is not a member's to do.
OF_NOBODY_HERE = [
    Case("Taglock itself", lambda forger: forger.good(taglock_caller="taglock:0")),
    Case("anybody", lambda forger: forger.good(taglock_caller="anybody:0")),
    Case("a person that there is not", lambda forger: forger.good(taglock_caller="person:4711")),
    Case("an access token that there is not", lambda f: f.good(taglock_caller="token:4711")),
]


def _encode(document: dict[str, Any]) -> str:
    return _base64url(json.dumps(document, separators=(",", ":")).encode())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
