"""The keys that tokens are signed with, as files. No Django.

The folder holds

- `current.pem`: the private key that signs, and its certificate;
- `next.pem`: the same of the key that will sign next, while keys are being changed;
- `trusted.pem`: the certificates that registry and gate trust. The registry's `rootcertbundle`.

Files appear whole or not at all, and every step can be taken again after a crash. Processes read a
file again when it has changed, so only the registry, which reads its bundle once, is restarted.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CURRENT, NEXT, TRUSTED = "current.pem", "next.pem", "trusted.pem"
CERTIFICATE_LIFE = timedelta(days=3650)
# The clocks of others may be behind.
_BACKDATED = timedelta(days=1)

_Read = TypeVar("_Read")


class KeyFileError(Exception):
    """A key's file cannot be used, or a step is not due. The message says what to do."""


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
    private_key: ec.EllipticCurvePrivateKey
    certificate: str


class KeyFolder:
    """The folder of keys. `make_first_key` makes it; nothing else does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, tuple[tuple[int, int, int], object]] = {}

    @property
    def trusted_file(self) -> Path:
        """The certificates that a registry should trust."""
        return self.folder / TRUSTED

    def read_signing_key(self) -> SigningKey:
        """Return the key that signs. Raises KeyFileError."""
        self.require_first_key()
        return self._read_file(CURRENT, _parse_signing_key)

    def read_trusted_keys(self) -> dict[str, TrustedKey]:
        """Return the keys whose tokens are trusted, by their ids. Raises KeyFileError."""
        self.require_first_key()
        return self._read_file(TRUSTED, _parse_trusted_keys)

    def make_first_key(self) -> None:
        """Make what is missing: key and bundle. Processes that start together agree on one key."""
        current, trusted = self.folder / CURRENT, self.folder / TRUSTED
        is_there = current.exists()
        if trusted.exists():
            self.require_first_key()
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # The registry may be someone else on this machine: it reads the bundle in there.
            self.folder.chmod(0o711)
            if not is_there:
                draft = self._write_draft(_make_key())
                try:
                    os.link(draft, current)
                except FileExistsError:
                    pass  # Another process was first: its key is the key.
                finally:
                    draft.unlink()
            if not trusted.exists():
                self._trust(CURRENT)
        except OSError as error:
            raise KeyFileError(f"no key can be kept in {self.folder}: {error}") from error

    def require_first_key(self) -> None:
        """Raise KeyFileError, which says what to do, if the key is missing."""
        current, trusted = self.folder / CURRENT, self.folder / TRUSTED
        if current.exists() and trusted.exists():
            return
        if trusted.exists() and not current.exists():
            # No registry would trust a new key, and no one would know why.
            raise KeyFileError(
                f"{current} is lost, and registries trust no other key. Put it back from a "
                f"backup; or remove {trusted} too, run manage.py migrate, which makes a new key, "
                "and restart every registry"
            )
        raise KeyFileError(
            f"there is no key in {self.folder}: manage.py migrate makes the first one. Other "
            "machines need a copy of that folder"
        )

    def prepare_next_key(self) -> None:
        """Step 1 of a change: make the next key, and trust both. Registries restart after it.

        Raises KeyFileError.
        """
        self.require_first_key()
        if not (self.folder / NEXT).exists():
            self._write(NEXT, _make_key())
        self._trust(CURRENT, NEXT)

    def use_next_key(self) -> None:
        """Step 2: sign with the next key. The old one is still trusted. Raises KeyFileError."""
        if not (self.folder / NEXT).exists():
            raise KeyFileError("there is no next key: prepare one first, and restart the registry")
        self._trust(CURRENT, NEXT)
        (self.folder / NEXT).replace(self.folder / CURRENT)

    def retire_old_keys(self) -> None:
        """Step 3: trust only the current key. Tokens of the old one are refused from now on.

        Raises KeyFileError while a next key is waiting.
        """
        if (self.folder / NEXT).exists():
            raise KeyFileError("a next key is waiting: use it first")
        self.require_first_key()
        self._trust(CURRENT)

    def _trust(self, *names: str) -> None:
        certificates = [
            _certificate_of((self.folder / name).read_bytes()).public_bytes(
                serialization.Encoding.PEM
            )
            for name in names
        ]
        self._write(TRUSTED, b"".join(certificates))
        # Certificates are no secret, and the registry may be someone else on this machine.
        (self.folder / TRUSTED).chmod(0o644)

    def _write(self, name: str, content: bytes) -> None:
        self._write_draft(content).replace(self.folder / name)

    def _write_draft(self, content: bytes) -> Path:
        draft = self.folder / f".draft-{secrets.token_hex(8)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return draft

    def _read_file(self, name: str, parse: Callable[[bytes], _Read]) -> _Read:
        path = self.folder / name
        try:
            stat = path.stat()
            version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            kept = self._read.get(name)
            if kept is None or kept[0] != version:
                kept = (version, parse(path.read_bytes()))
                self._read[name] = kept
        except (OSError, ValueError, IndexError) as error:
            raise KeyFileError(f"{path} cannot be used as a key: {error}") from error
        return kept[1]  # type: ignore[return-value]


def _make_key() -> bytes:
    """Return a new private key and its certificate, as PEM."""
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
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _parse_signing_key(content: bytes) -> SigningKey:
    key = serialization.load_pem_private_key(content, password=None)
    certificate = _certificate_of(content)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on an elliptic curve")
    der = certificate.public_bytes(serialization.Encoding.DER)
    return SigningKey(_thumbprint(key.public_key()), key, base64.b64encode(der).decode())


def _parse_trusted_keys(content: bytes) -> dict[str, TrustedKey]:
    trusted = {}
    for certificate in x509.load_pem_x509_certificates(content):
        public_key = certificate.public_key()
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise ValueError("not a key on an elliptic curve")
        key_id = _thumbprint(public_key)
        trusted[key_id] = TrustedKey(key_id, public_key, certificate.not_valid_after_utc)
    return trusted


def _certificate_of(content: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(content)[0]


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
