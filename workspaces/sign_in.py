"""Passwords, verified: pages and the registry token service both ask here."""

from django.contrib.auth import authenticate
from django.db import transaction

from workspaces.access import Origin
from workspaces.models import MAX_USERNAME_LENGTH, User
from workspaces.text import find_bad_character
from workspaces.throttles import (
    SIGN_IN_PER_ADDRESS,
    SIGN_IN_PER_NAME,
    SIGN_IN_PER_NAME_AND_ADDRESS,
    Limit,
    count_call,
    counted_address,
    give_back,
)

# Longer than any passphrase, and short enough to be hashed in no time.
MAX_PASSWORD_LENGTH = 1024


def verify_password(username: str, password: str, origin: Origin) -> User | None:
    """Return the active person whose name and password these are, or None.

    Both may be any text. Failures are counted by name and address, whether or not anybody has the
    name. Raises TooManyCallsError where there were too many; then nothing was verified.
    """
    counts = _list_counts(username, counted_address(origin.address))
    # Before anything is verified: otherwise any number of guesses could be under way at once. All
    # or none, so that an attempt that is refused by one limit does not use up another.
    with transaction.atomic():
        for limit, subject in counts:
            count_call(limit, *subject)
    if not _is_possible(username, password):
        return None
    user = authenticate(username=username, password=password)
    if not isinstance(user, User):
        return None
    with transaction.atomic():
        for limit, subject in counts:
            give_back(limit, *subject)
    return user


def _list_counts(username: str, address: str) -> list[tuple[Limit, tuple[str, ...]]]:
    """Return the limits of an attempt. Always in this order, so that no two wait for each other."""
    return [
        (SIGN_IN_PER_NAME_AND_ADDRESS, (username, address)),
        (SIGN_IN_PER_ADDRESS, (address,)),
        (SIGN_IN_PER_NAME, (username,)),
    ]


def _is_possible(username: str, password: str) -> bool:
    """Whether anybody could have this name and password: hashing and database take them."""
    return (
        len(username) <= MAX_USERNAME_LENGTH
        and len(password) <= MAX_PASSWORD_LENGTH
        and not find_bad_character(username)
        and not any("\ud800" <= character <= "\udfff" for character in password)
    )
