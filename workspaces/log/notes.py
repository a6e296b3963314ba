"""Signed notes: text with a signature that anyone can check who has the verifier key.

The form is that of https://c2sp.org/signed-note, with Ed25519; no Django.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_SIGNER_PREFIX = "PRIVATE+KEY+"
# A note of ours has one signature; the specification asks readers to take sixteen.
_MAX_SIGNATURES = 16


class BadNoteError(ValueError):
    """A note does not have the right form, or no known key has signed it. One line says why."""


class BadKeyError(ValueError):
    """A text is not a key of the expected kind. One line says why, and shows nothing of it."""


@dataclass(frozen=True)
class VerifierKey:
    """The public half of a key, with the name that its signatures have."""

    name: str
    public_bytes: bytes

    @property
    def key_id(self) -> bytes:
        text = self.name.encode() + b"\n" + _ED25519 + self.public_bytes
        return hashlib.sha256(text).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        """Return the key as one line of text: name, key ID and key, joined by plus signs."""
        key = base64.b64encode(_ED25519 + self.public_bytes).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """Return whether `signature` is this key's, of `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_bytes).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """The secret half of a key."""

    name: str
    seed: bytes

    @property
    def verifier(self) -> VerifierKey:
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return VerifierKey(self.name, public.public_bytes_raw())

    def to_text(self) -> str:
        """Return the key as one line of text, to be kept secret."""
        key = base64.b64encode(_ED25519 + self.seed).decode()
        return f"{_SIGNER_PREFIX}{self.name}+{self.verifier.key_id.hex()}+{key}"

    def sign(self, text: str) -> str:
        """Return the note that says `text`, which ends in a newline. Raises BadNoteError."""
        if not text.endswith("\n") or not _is_plain(text):
            raise BadNoteError("a note's text is plain lines")
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        line = base64.b64encode(self.verifier.key_id + signature).decode()
        return f"{text}\n— {self.name} {line}\n"

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"


def make_signing_key(name: str) -> SigningKey:
    """Return a new key. Raises BadKeyError if `name` has blanks or a plus sign."""
    _check_name(name)
    return SigningKey(name, Ed25519PrivateKey.generate().private_bytes_raw())


def parse_signing_key(text: str) -> SigningKey:
    """Read the secret text of a key. Raises BadKeyError."""
    if not text.startswith(_SIGNER_PREFIX):
        raise BadKeyError("it is not a signing key")
    name, key_id, seed = _split_key(text.removeprefix(_SIGNER_PREFIX))
    key = SigningKey(name, seed)
    if key.verifier.key_id != key_id:
        raise BadKeyError("its parts do not fit together")
    return key


def parse_verifier_key(text: str) -> VerifierKey:
    """Read a verifier key. Raises BadKeyError."""
    name, key_id, public = _split_key(text.strip())
    key = VerifierKey(name, public)
    if key.key_id != key_id:
        raise BadKeyError("its parts do not fit together")
    return key


def open_note(note: str, keys: list[VerifierKey]) -> str:
    """Return the text of a note that one of `keys` has signed.

    Raises BadNoteError if the form is wrong, where none of the keys has signed it, and where
    the signature of one of them is false.
    """
    text, lines = _split_note(note)
    known = {(key.name, key.key_id): key for key in keys}
    is_signed = False
    for line in lines:
        name, signed = _parse_signature(line)
        key = known.get((name, signed[:_KEY_ID_BYTES]))
        if key is None:
            continue
        if not key.verifies(text, signed[_KEY_ID_BYTES:]):
            raise BadNoteError(f"the signature of {name} is false: the text or it was altered")
        is_signed = True
    if not is_signed:
        raise BadNoteError("no known key has signed it")
    return text


def _split_note(note: str) -> tuple[str, list[str]]:
    if not note.endswith("\n") or not _is_plain(note):
        raise BadNoteError(
            "it is not a signed note: it must be lines of plain text, each ended by a newline"
        )
    text, separator, signatures = note.rpartition("\n\n")
    lines = signatures.removesuffix("\n").split("\n")
    if not separator or not text or len(lines) > _MAX_SIGNATURES:
        raise BadNoteError("it is not a signed note: there is no signature below an empty line")
    return f"{text}\n", lines


def _parse_signature(line: str) -> tuple[str, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    signed = _decode(encoded)
    if dash != "—" or not name or signed is None or len(signed) <= _KEY_ID_BYTES:
        raise BadNoteError("it is not a signed note: a line of signatures has another form")
    return name, signed


def _split_key(text: str) -> tuple[str, bytes, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    key = _decode(encoded)
    if key is None or key[:1] != _ED25519 or len(key) != 33 or len(key_id) != 2 * _KEY_ID_BYTES:
        raise BadKeyError("it is not an Ed25519 key in the form of notes: name+ID+key")
    _check_name(name)
    try:
        return name, bytes.fromhex(key_id), key[1:]
    except ValueError as error:
        raise BadKeyError("its ID is not a hexadecimal number") from error


def _check_name(name: str) -> None:
    if not name or "+" in name or any(each.isspace() for each in name) or not name.isprintable():
        raise BadKeyError("a key's name has no spaces or plus signs")


def _decode(text: str) -> bytes | None:
    """Return what `text` encodes, or None. Other spellings of the same bytes are not accepted."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def _is_plain(text: str) -> bool:
    """Return whether `text` is UTF-8 without control characters but the ends of lines."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return all(each == "\n" or each >= " " for each in text)
