"""RE2 patterns: the only module that imports re2, and no Django.

Tester, saving and enforcement all come here, so what was tested is what is enforced. Matching is
RE2's search: a pattern matches anywhere in a tag unless it is anchored.
Syntax: https://github.com/google/re2/wiki/Syntax
"""

from dataclasses import dataclass
from functools import lru_cache

import re2

MAX_PATTERN_LENGTH = 100

_ADVICE_FLAGS = "Flags stand at the beginning, like (?i) to ignore case."
# Escapes that stand for several characters.
_CLASSES = ("d", "D", "s", "S", "w", "W")
_LOOKAROUND = ("(?=", "(?!", "(?<=", "(?<!")


class PatternError(ValueError):
    """A pattern does not compile. The message says why, and what to do, in plain words."""


class PatternEvaluationError(Exception):
    """A compiled pattern could not be evaluated: nobody knows whether it matches."""


@dataclass(frozen=True)
class Match:
    """Where a pattern matched in a tag, in characters: from `start` up to, without, `end`."""

    start: int
    end: int

    def is_whole(self, tag: str) -> bool:
        """Whether the match is all of `tag`."""
        return self.start == 0 and self.end == len(tag)


class Pattern:
    """A compiled pattern."""

    def __init__(self, text: str) -> None:
        """Compile `text`. Raises PatternError where RE2 refuses it."""
        options = re2.Options()
        options.log_errors = False
        try:
            self._compiled = re2.compile(text, options)
        except re2.error as error:
            raise PatternError(_explain(text, _reason_of(error))) from error
        except UnicodeEncodeError as error:
            raise PatternError("The pattern has a character that is no valid Unicode.") from error
        self.text = text

    def find(self, tag: str) -> Match | None:
        """Return the first match in `tag`, or None where there is none.

        Raises PatternEvaluationError where RE2 fails, which is not the same as no match.
        """
        try:
            found = self._compiled.search(tag)
        except Exception as error:
            raise PatternEvaluationError(f'The pattern "{self.text}" failed: {error}') from error
        return Match(*found.span()) if found else None


@lru_cache(maxsize=256)
def compile_pattern(text: str) -> Pattern:
    """Return the compiled pattern. Raises PatternError.

    The cache cannot go stale: the same text always compiles to the same pattern. It is small, since
    a single pattern can take megabytes.
    """
    return Pattern(text)


def _find_backreference(text: str, kind: str, fragment: str) -> str:
    """Return the backreference that RE2 stumbled over, or nothing: \\1, \\k<n>, \\g{1}, (?P=n)."""
    if kind == "invalid escape sequence" and (fragment[1:2].isdigit() or fragment[1:2] in "kg"):
        return fragment
    if kind == "invalid named capture group" or fragment.startswith("(?P"):
        start = text.find("(?P=")
        return text[start : text.find(")", start) + 1] if start >= 0 else ""
    return ""


def _reason_of(error: "re2.error") -> str:
    reason = error.args[0] if error.args else b""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _explain(text: str, reason: str) -> str:
    """Turn RE2's reason, "kind: fragment", into a sentence and an advice."""
    kind, _, fragment = reason.partition(": ")
    if fragment.startswith(_LOOKAROUND):
        return (
            f'RE2 has no lookahead or lookbehind, so "{fragment}" cannot be used. Write what the '
            "tag must look like instead, or use two rules."
        )
    if backreference := _find_backreference(text, kind, fragment):
        return (
            f'RE2 has no backreferences, so "{backreference}" cannot be used. Write the repeated '
            "part out."
        )
    if kind == "invalid escape sequence" and fragment[1:2] in _CLASSES:
        return (
            f'"{fragment}" cannot be the end of a range. Write the range with single characters, '
            "as in [a-z], and the class beside it."
        )
    explain = _EXPLANATIONS.get(kind)
    if explain is None:
        return f"RE2 cannot use this pattern: {reason}."
    return explain.format(fragment=fragment)


_EXPLANATIONS = {
    "invalid escape sequence": (
        'RE2 does not know "{fragment}". To match the character itself, leave out the backslash; '
        "for a backslash, write two."
    ),
    "invalid character class range": (
        'The range or class "{fragment}" is not valid. Write the lower end first, as in [a-z], '
        "and a hyphen that means itself last, as in [a-z-]."
    ),
    "invalid character class": 'The class "{fragment}" is not valid. Write it like [a-z0-9].',
    "missing ]": 'The bracket opened in "{fragment}" is not closed. Add a ].',
    "missing )": 'A parenthesis in "{fragment}" is not closed. Add a ), or write \\( to match one.',
    "unexpected )": (
        'There is a ) too many in "{fragment}". Remove it, or write \\) to match one.'
    ),
    "trailing \\": "The pattern ends with a single backslash. Remove it, or write two.",
    "no argument for repetition operator": (
        'There is nothing before "{fragment}" that it could repeat. Put a character or a group '
        'in front; for "anything", write .*'
    ),
    "invalid repetition size": (
        'The repetition "{fragment}" is too large or runs backwards. Use at most 1000 in all, the '
        "smaller number first; groups inside groups multiply."
    ),
    "bad repetition operator": (
        '"{fragment}" repeats a repetition. Use one operator, or put the inner part in parentheses.'
    ),
    "invalid perl operator": (
        '"{fragment}" is not something that RE2 has. Use plain groups, (…) or (?:…). '
        + _ADVICE_FLAGS
    ),
    "invalid named capture group": (
        'The group name in "{fragment}" is not valid. Use a plain group, (…): names have no use '
        "here."
    ),
    "invalid UTF-8": "The pattern has a character that is no valid Unicode.",
    "pattern too large - compile failed": (
        "The pattern is too large once its repetitions are written out. Use smaller numbers, or "
        "+ and *."
    ),
}
