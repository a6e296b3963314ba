"""Passwords that were verified a moment ago: the same one again need not be hashed again.

A registry client logs in for each token, and a hash costs more than all the rest of a push. What is
kept is a keyed hash that only this process can make, and that has the person's stored hash in it:
another password, or the same one set again, is another entry.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict

from workspaces.models import User

KEPT_SECONDS = 60.0
MAX_KEPT = 1000

_key = secrets.token_bytes(32)
# When each is forgotten, by this process's clock; the oldest first.
_kept: OrderedDict[bytes, float] = OrderedDict()
_lock = threading.Lock()


def remember_verified(user: User, password: str) -> None:
    """Remember for a minute that this is the person's password: it was just verified."""
    entry = _digest(user, password)
    with _lock:
        # Counted from the first time, even if several verify it at the same moment.
        _kept.setdefault(entry, time.monotonic() + KEPT_SECONDS)
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)


def was_verified(user: User, password: str) -> bool:
    """Whether this password of this person was verified within the last minute, by this process.

    `user` is as the database has it now. Nothing is remembered for a person who isn't active.
    """
    if not user.is_active:
        return False
    entry = _digest(user, password)
    with _lock:
        ends_at = _kept.get(entry)
        if ends_at is None:
            return False
        if time.monotonic() < ends_at:
            return True
        del _kept[entry]
        return False


def forget_verified() -> None:
    """Forget every password."""
    with _lock:
        _kept.clear()


def _digest(user: User, password: str) -> bytes:
    # Each part's length is told by those before it: no two persons share an entry.
    parts = (str(user.pk).encode(), user.password.encode(), password.encode())
    text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(_key, text, hashlib.sha256)
