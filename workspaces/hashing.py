"""Password hashing, a few at a time: each hash takes about 100 MiB while it runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import Argon2PasswordHasher

from workspaces.throttles import BusyError

# Of one process. More at once are no faster, and would take memory that a node may not have.
MAX_HASHES_AT_ONCE = 4
WAIT_SECONDS = 10.0

_turns = threading.BoundedSemaphore(MAX_HASHES_AT_ONCE)
_own = threading.local()


@contextmanager
def hash_in_turn() -> Iterator[None]:
    """Wait until there is room for another hash. Raises BusyError if that takes long.

    Within it, a thread has its turn already.
    """
    if getattr(_own, "has_turn", False):
        yield
        return
    if not _turns.acquire(timeout=WAIT_SECONDS):
        raise BusyError
    _own.has_turn = True
    try:
        yield
    finally:
        _own.has_turn = False
        _turns.release()


class LimitedConcurrencyArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2, in turn. Raises BusyError if there are too many to wait for."""

    def encode(self, password: str, salt: str) -> str:
        """Return the hash of a password."""
        with hash_in_turn():
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Whether this is the hash of that password."""
        with hash_in_turn():
            return super().verify(password, encoded)
