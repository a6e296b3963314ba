"""The option --expires-in-days of the commands that make something for a time."""

from datetime import datetime, timedelta

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

MAX_EXPIRY_DAYS = 36_500


def add_expiry_option(parser: CommandParser) -> None:
    """Declare --expires-in-days."""
    parser.add_argument(
        "--expires-in-days",
        type=int,
        metavar="DAYS",
        help="How long it is valid. Default: until it is revoked.",
    )


def read_expiry(days: int | None) -> datetime | None:
    """Return when something ends that lasts for `days` from now; None for never.

    Raises CommandError if that is not 1 to MAX_EXPIRY_DAYS days.
    """
    if days is None:
        return None
    if not 1 <= days <= MAX_EXPIRY_DAYS:
        raise CommandError(f"--expires-in-days is a number from 1 to {MAX_EXPIRY_DAYS}.")
    return timezone.now() + timedelta(days=days)
