"""SECRET_KEY, of which every node needs the same: what tells it from another one."""

import hmac
import socket

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
