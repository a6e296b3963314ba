"""Passwords, verified: pages and the registry token service both ask here."""

from django.conf import settings
from django.contrib.auth import authenticate
from django.db import transaction

from workspaces import sql
from workspaces.access import Origin
from workspaces.hashing import hash_in_turn
from workspaces.models import MAX_USERNAME_LENGTH, User
from workspaces.text import find_bad_character
from workspaces.throttles import (
    SIGN_IN_PER_ADDRESS,
    SIGN_IN_PER_NAME,
    SIGN_IN_PER_NAME_AND_ADDRESS,
    SIGNED_IN,
    counted_address,
    note_call,
    require_open,
    windows_since_noted,
)
from workspaces.verified_passwords import remember_verified, was_verified

# Longer than any passphrase, and short enough to be hashed in no time.
MAX_PASSWORD_LENGTH = 1024


def verify_password(username: str, password: str, origin: Origin) -> User | None:
    """Return the active person whose name and password these are, or None.

    None at once where local passwords are switched off. Both may be any text. Failures are counted
    by name and address, whether or not anyone has the name; a name that is too long for anyone is
    not a guess, and not counted. Raises TooManyCallsError if there were too many, and BusyError,
    which is one, where too many wait to be verified; then nothing was verified.

    Right passwords count for nothing, however many arrive at once; so nothing is counted before it
    is known what it is. Wrong ones that arrive at once can exceed a limit, by those in turn.
    One that was verified within the last minute is not hashed again.
    """
    if not settings.LOCAL_PASSWORDS or len(username) > MAX_USERNAME_LENGTH:
        return None
    address = counted_address(origin.address)
    is_possible = _is_possible(username, password)
    # Before it is looked up too: otherwise how long a refusal takes would say what was right.
    noted = _require_open(username, address)
    user = _find_verified(username, password) if is_possible else None
    if user is None:
        with hash_in_turn():
            _require_open(username, address)
            found = authenticate(username=username, password=password) if is_possible else None
            if not isinstance(found, User):
                _count_failure(username, address)
                return None
        user = found
        remember_verified(user, password)
    if noted != 0:
        note_call(SIGNED_IN, username, address)
    return user


def _find_verified(username: str, password: str) -> User | None:
    """Return the active person of this name if this password of theirs was just verified."""
    user = sql.find_person(username)
    return user if user is not None and was_verified(user, password) else None


def _require_open(username: str, address: str) -> int | None:
    """Raise TooManyCallsError if there were too many failures.

    Returns how many windows ago a sign-in by name and address was noted last, or None.

    Someone who signed in from the same address recently is only stopped by failures from there:
    otherwise anyone could keep a person out by guessing from elsewhere.
    """
    require_open(SIGN_IN_PER_NAME_AND_ADDRESS, username, address)
    noted = windows_since_noted(SIGNED_IN, username, address)
    if noted is None:
        require_open(SIGN_IN_PER_ADDRESS, address)
        require_open(SIGN_IN_PER_NAME, username)
    return noted


def _count_failure(username: str, address: str) -> None:
    # Always in this order, so that no two wait for each other.
    with transaction.atomic():
        note_call(SIGN_IN_PER_NAME_AND_ADDRESS, username, address)
        note_call(SIGN_IN_PER_ADDRESS, address)
        note_call(SIGN_IN_PER_NAME, username)


def _is_possible(username: str, password: str) -> bool:
    """Whether anyone could have this name and password: hashing and database take them."""
    return (
        len(password) <= MAX_PASSWORD_LENGTH
        and not find_bad_character(username)
        and not any("\ud800" <= character <= "\udfff" for character in password)
    )
