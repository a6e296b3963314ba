"""The keys that tokens are signed with, and their certificates. No Django."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CERTIFICATE_LIFE = timedelta(days=3650)
# Of a thumbprint.
KEY_ID_LENGTH = 43
# The clocks of others may be behind.
_BACKDATED = timedelta(days=1)


class TokenKeyError(Exception):
    """A key cannot be used, or a step of a change is not due. The message says what to do."""


@dataclass(frozen=True)
class TrustedKey:
    """A key whose tokens are trusted. `id`, its thumbprint (RFC 7638), says which one it is."""

    id: str
    public_key: ec.EllipticCurvePublicKey = field(compare=False)
    expires_at: datetime


@dataclass(frozen=True)
class SigningKey:
    """The key that signs, and its certificate in base64, as the header `x5c` carries it."""

    id: str
    private_key: ec.EllipticCurvePrivateKey = field(compare=False)
    certificate: str


class SigningKeys(Protocol):
    """Where the key is that signs."""

    def find_signing_key(self) -> SigningKey:
        """Return the key that signs. Raises TokenKeyError, and database errors."""


class TrustedKeys(Protocol):
    """Where the keys are whose tokens are trusted."""

    def find_trusted_key(self, key_id: str) -> TrustedKey | None:
        """Return a key whose tokens are trusted. Raises TokenKeyError, and database errors."""


@dataclass(frozen=True)
class NewKey:
    """A key that was just made: its id, its private half and its certificate as PEM."""

    id: str
    private_key: bytes
    certificate: str


def make_key() -> NewKey:
    """Return a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"taglock {secrets.token_hex(4)}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + CERTIFICATE_LIFE)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return NewKey(_thumbprint(key.public_key()), private, pem)


def parse_signing_key(private_key: bytes, certificate: str) -> SigningKey:
    """Return the key of a private key and a certificate in PEM. Raises ValueError."""
    key = serialization.load_pem_private_key(private_key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on an elliptic curve")
    der = _parse_certificate(certificate).public_bytes(serialization.Encoding.DER)
    return SigningKey(_thumbprint(key.public_key()), key, base64.b64encode(der).decode())


def parse_trusted_key(certificate: str) -> TrustedKey:
    """Return the key of a certificate in PEM. Raises ValueError."""
    parsed = _parse_certificate(certificate)
    public_key = parsed.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key on an elliptic curve")
    return TrustedKey(_thumbprint(public_key), public_key, parsed.not_valid_after_utc)


def _parse_certificate(certificate: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.encode())


def _thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the key's thumbprint (RFC 7638, section 3)."""
    numbers = key.public_numbers()
    if not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not a key on the curve P-256")
    x, y = (_base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    document = json.dumps(
        {"crv": "P-256", "kty": "EC", "x": x, "y": y}, sort_keys=True, separators=(",", ":")
    )
    return _base64url(hashlib.sha256(document.encode()).digest())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
