"""Parse JSON that Go's encoding/json reads in the same way. No Django.

Python alone takes NaN, UTF-16 and a mark of the byte order; of two equal keys each library may keep
another one, and Go merges what they hold.
"""

import json
import re
from collections import Counter
from typing import Any, NoReturn

from workspaces.text import quote, read_number

# A manifest has about six levels. Go allows 10,000, which can exhaust the stack of a thread here.
MAX_JSON_DEPTH = 100

# Also one that does not end, so that every character is looked at once.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_OPENING = b"[{"
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class InvalidJsonError(ValueError):
    """The bytes are not JSON, or JSON that libraries read differently. The message says why."""


def parse_json(body: bytes) -> Any:
    """Return what the JSON says. Whole numbers of more than 18 digits, or below zero, become 0.

    Raises InvalidJsonError, also for a key that an object has twice, at any depth.
    """
    if _is_deeper_than(body, MAX_JSON_DEPTH):
        raise InvalidJsonError(f"it is nested more than {MAX_JSON_DEPTH} deep, or does not end")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidJsonError(f"not UTF-8 at byte {error.start}") from error
    try:
        return json.loads(
            text,
            object_pairs_hook=_read_object,
            parse_constant=_refuse_constant,
            parse_int=read_number,
        )
    except InvalidJsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidJsonError(f"not JSON: {error}") from error


def _is_deeper_than(body: bytes, depth: int) -> bool:
    """Whether brackets are nested deeper than this, or are not closed. Strings do not count."""
    if sum(body.count(bracket) for bracket in _OPENING) <= depth:
        return False
    brackets = _STRING.sub(b"", body).translate(_TO_SQUARE, _NO_BRACKETS)
    # Each round takes the innermost level away.
    for _ in range(depth):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise InvalidJsonError(f"an object has the key {quote(twice)} twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJsonError(f"not JSON: {name} is not a number")
