"""SECRET_KEY, of which every node needs the same: telling it from others, encrypting under it."""

import base64
import hmac
import socket
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

_PURPOSE = b"taglock: the fingerprint of SECRET_KEY"


def fingerprint_secret_key() -> str:
    """Return what tells this node's SECRET_KEY from others: a keyed hash, by the key itself."""
    return hmac.digest(settings.SECRET_KEY.encode(), _PURPOSE, "sha256").hex()


def describe_other_secret_key(recorded: str | None) -> str:
    """Return one line where this node has another SECRET_KEY than was recorded; else nothing."""
    if recorded in (None, fingerprint_secret_key()):
        return ""
    return (
        f"node {name_node()} has another SECRET_KEY than the other nodes: set theirs, or make this "
        "one theirs by manage.py change_secret_key"
    )


def name_node() -> str:
    """Return the name of this machine or container."""
    return socket.gethostname()


class OtherSecretKeyError(Exception):
    """What was encrypted under another SECRET_KEY. One line names the node."""


def encrypt(secret: bytes, secret_key: str) -> str:
    """Return a secret as it may be stored: encrypted, and signed, under a SECRET_KEY."""
    return _cipher(secret_key).encrypt(secret).decode()


def decrypt(stored: str, secret_key: str) -> bytes:
    """Return what `encrypt` was given. Raises OtherSecretKeyError."""
    try:
        return _cipher(secret_key).decrypt(stored)
    except InvalidToken as error:
        raise OtherSecretKeyError(
            f"node {name_node()} has another SECRET_KEY than the node that encrypted it"
        ) from error


@lru_cache(maxsize=2)
def _cipher(secret_key: str) -> Fernet:
    """A cipher of its own key: what else SECRET_KEY signs says nothing about it (RFC 5869)."""
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"taglock: stored secrets")
    return Fernet(base64.urlsafe_b64encode(derived.derive(secret_key.encode())))
