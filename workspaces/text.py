"""Which text a person or a client may send. No Django: models, forms and API share it."""

import unicodedata

# Line and paragraph separators and the marks that turn the reading direction can make a name or a
# reason look like something else where it is shown.
_DECEPTIVE = frozenset(
    "\u061c\u2028\u2029\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)

# Of a number that fits a database's largest integer.
_MAX_DIGITS = 18


def find_bad_character(text: str) -> str | None:
    """Return the first control character, lone surrogate or deceptive mark in `text`, as "U+000A".

    Returns None if there is none.
    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") or character in _DECEPTIVE:
            return f"U+{ord(character):04X}"
    return None


def describe_bad_character(text: str) -> str | None:
    """Return a sentence about the first bad character in `text`, or None if there is none."""
    found = find_bad_character(text)
    if found is None:
        return None
    return f"Remove the character {found}: control characters are not accepted."


def read_number(text: str, default: int = 0) -> int:
    """Return the whole number that `text` is, in ASCII digits and of a size that a database has."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else default


def quote(text: str) -> str:
    """Quote `text` for a message of one line: cut where it is long, escaped where not plain."""
    escaped = text[:80].encode("unicode_escape").decode("ascii")
    return f'"{escaped}"' if len(text) <= 80 else f'"{escaped}…"'


def to_sentence(text: str) -> str:
    """Return a part of a sentence as a whole one: with a capital letter and a full stop."""
    ending = "" if text.endswith((".", "?", "!")) else "."
    return f"{text[:1].upper()}{text[1:]}{ending}"
