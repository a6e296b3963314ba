"""What to tell someone who has to wait: what for, and how long. No Django."""

import math
from datetime import UTC, datetime

RETRY_AFTER_SECONDS = 10


def seconds_until(moment: datetime | None, now: datetime) -> int:
    """Return how long a client should wait before it asks again."""
    if moment is None:
        return RETRY_AFTER_SECONDS
    return max(RETRY_AFTER_SECONDS, math.ceil((moment - now).total_seconds()))


def describe_push_in_flight(repository: str, tag: str, pushed: str) -> str:
    """Return the line for a push or delete that meets another push of the same tag."""
    image = f", as {pushed}" if pushed else ""
    return (
        f'tag "{tag}" of {repository} is being pushed right now{image}. '
        f"Try again in {RETRY_AFTER_SECONDS} seconds."
    )


def describe_delete_in_flight(repository: str, tag: str) -> str:
    """Return the line for a push or delete that meets a delete of the same tag."""
    return (
        f'tag "{tag}" of {repository} is being deleted right now. '
        f"Try again in {RETRY_AFTER_SECONDS} seconds."
    )


def describe_stray(repository: str, tag: str, until: datetime, now: datetime) -> str:
    """Return the line for a push or delete that waits for a write without an answer."""
    return (
        f'an earlier write of tag "{tag}" of {repository} got no answer from the registry and may '
        f"still land. {_try_again(until, now)}"
    )


def describe_open_delete(repository: str, until: datetime | None, now: datetime) -> str:
    """Return the line for a push that needs a manifest which is being deleted."""
    return (
        f"a manifest of {repository} that this needs is being deleted, or may still be. "
        f"{_try_again(until, now)}"
    )


def describe_unreadable(tag: str, why: str, until: datetime, now: datetime) -> str:
    """Return why nothing is decided about a tag that the registry cannot read; no full stop."""
    return (
        f'{why}, since it cannot read tag "{tag}". If that stays so, the tag counts as not there '
        f"{_describe_wait(until, now)}, and a push can replace it"
    )


def _try_again(until: datetime | None, now: datetime) -> str:
    return f"Try again {_describe_wait(until, now)}."


def _describe_wait(until: datetime | None, now: datetime) -> str:
    seconds = seconds_until(until, now)
    if until is None or seconds <= RETRY_AFTER_SECONDS:
        return f"in {seconds} seconds"
    minutes = math.ceil(seconds / 60)
    unit = "minute" if minutes == 1 else "minutes"
    return f"in {minutes} {unit}, at {until.astimezone(UTC):%H:%M:%S} UTC"
