"""What is hashed of an event: one text for one event, on every machine and in every language.

docs/lock-log.md describes the format for those who want to compute it without Taglock.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from workspaces.log.models import LockEvent

# Begins what is hashed, so that no hash of something else can ever be taken for a seal.
SEAL_DOMAIN = "taglock-seal-v1"
# What stands before the first event of a chain.
FIRST_PREVIOUS_HASH = "0" * 64
# Beyond this, readers that keep numbers as IEEE 754 doubles see another number (RFC 8785, 3.2.2.3).
MAX_INTEGER = 2**53 - 1

# Every field of an event but its row id, which is the database's own matter.
_TEXT_FIELDS = (
    "workspace",
    "ref",
    "kind",
    "repository",
    "tag",
    "digest",
    "other_digest",
    "actor",
    "actor_kind",
    "rule_name",
    "rule_pattern",
    "reason",
    "origin_hash",
)


class NotCanonicalError(ValueError):
    """A value has no canonical form. The message says which, and where it stands."""


def to_document(event: LockEvent, sequence: int) -> dict[str, Any]:
    """Return what a seal is about: the event's fields, and its place in its workspace's chain.

    `at` is text in UTC with six digits of a second: "2026-03-12T14:02:33.000120Z".
    """
    document: dict[str, Any] = {name: str(getattr(event, name)) for name in _TEXT_FIELDS}
    return {
        **document,
        "sequence": sequence,
        "at": format_time(event.at),
        "settings_version": event.settings_version,
        "details": event.details,
    }


def format_time(moment: datetime) -> str:
    """Return a moment as RFC 3339 has it, in UTC and with six digits of a second."""
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def canonical_json(document: object) -> str:
    """Return the JSON text of `document` as RFC 8785 has it.

    Takes text, integers, booleans, null, lists and objects. Raises NotCanonicalError for anything
    else, and for what one reader may understand in another way than the next: keys outside of
    ASCII, integers beyond 2^53, and halves of surrogate pairs.
    """
    check_canonical(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def check_canonical(value: object, place: str = "") -> None:
    """Raise NotCanonicalError if `value`, which stands at `place`, has no canonical form."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise NotCanonicalError(f"{place or 'the value'} is an integer beyond 2^53")
    elif isinstance(value, dict):
        _check_object(value, place)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            check_canonical(each, f"{place}[{index}]")
    else:
        raise NotCanonicalError(f"{place or 'the value'} is of type {type(value).__name__}")


def hash_document(previous_hash: str, document: dict[str, Any]) -> str:
    """Return the seal's hash, in hexadecimal digits: the document, bound to all before it.

    Raises NotCanonicalError.
    """
    text = f"{SEAL_DOMAIN}\n{previous_hash}\n{canonical_json(document)}"
    return hashlib.sha256(text.encode()).hexdigest()


def hash_origin(salt: str, address: str, user_agent: str) -> str:
    """Return what an event keeps of where it came from; empty if nothing is known of that."""
    if not address and not user_agent:
        return ""
    return hashlib.sha256(json.dumps([salt, address, user_agent]).encode()).hexdigest()


def _check_object(value: dict[Any, Any], place: str) -> None:
    for key, each in value.items():
        if not isinstance(key, str) or not key.isascii():
            raise NotCanonicalError(f"{place or 'the value'} has a key that is no ASCII text")
        check_canonical(each, f"{place}.{key}" if place else key)


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotCanonicalError(f"{place or 'the value'} has half of a surrogate pair") from error
