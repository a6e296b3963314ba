"""RE2 patterns: the only module that imports re2, and no Django.

Tester, saving and enforcement all come here, so what was tested is what is enforced. Matching is
RE2's search: a pattern matches anywhere in a tag unless it is anchored.
Syntax: https://github.com/google/re2/wiki/Syntax
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import re2

from immutability.policy.pattern_errors import explain

MAX_PATTERN_LENGTH = 100

# Of one compiled pattern. What people write for tags needs a tenth. The limit bounds what matching
# costs too: the worst pattern that fits takes 2 ms for a tag of 128 characters.
MAX_PATTERN_MEMORY_BYTES = 64 * 1024
MAX_REMEMBERED_PATTERNS = 256
# Of a set of patterns, with what matching builds up. Without enough of it, they are tried singly.
MAX_SET_MEMORY_BYTES = 16 * 1024 * 1024


class PatternError(ValueError):
    """A pattern does not compile. The message says why, and what to do, in plain words."""


class PatternEvaluationError(Exception):
    """A compiled pattern could not be evaluated, so the question is undecided."""


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
        """Compile `text`. Raises PatternError if RE2 refuses it."""
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MAX_PATTERN_MEMORY_BYTES
        try:
            self._compiled = re2.compile(text, options)
        except re2.error as error:
            raise PatternError(explain(text, _reason_of(error))) from error
        except UnicodeEncodeError as error:
            raise PatternError("The pattern has a character that is not valid Unicode.") from error
        self.text = text

    def find(self, tag: str) -> Match | None:
        """Return the first match in `tag`, or None if there is none.

        Raises PatternEvaluationError if RE2 fails, which is not the same as no match.
        """
        try:
            found = self._compiled.search(tag)
        except Exception as error:
            raise PatternEvaluationError(f'The pattern "{self.text}" failed: {error}') from error
        return Match(*found.span()) if found else None


def compile_pattern(text: str) -> Pattern:
    """Return the compiled pattern. Raises PatternError.

    What is remembered cannot go stale: the same text always compiles to the same pattern, or fails
    for the same reason.
    """
    outcome = _compile(text)
    if isinstance(outcome, str):
        raise PatternError(outcome)
    return outcome


@lru_cache(maxsize=MAX_REMEMBERED_PATTERNS)
def _compile(text: str) -> Pattern | str:
    """Return the compiled pattern, or why there is none: a failure costs as much as a success."""
    try:
        return Pattern(text)
    except PatternError as error:
        return str(error)


class PatternSet:
    """Several patterns that are tried on a tag together: for many tags, as fast as one pattern.

    It only says which patterns match, not where.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Compile `texts`. Raises PatternError."""
        self._patterns = [compile_pattern(text) for text in texts]
        self._set = _compile_set(texts)

    def find(self, tag: str) -> tuple[int, ...]:
        """Return the indexes of the patterns that match `tag`, in order.

        Raises PatternEvaluationError.
        """
        if self._set is not None:
            try:
                found = self._set.Match(tag)
            except Exception as error:
                raise PatternEvaluationError(f"The patterns failed: {error}") from error
            # Where RE2 runs out of memory it finds nothing, not even what matches every tag.
            if found:
                return tuple(sorted(index - 1 for index in found if index))
        return tuple(
            index for index, pattern in enumerate(self._patterns) if pattern.find(tag) is not None
        )


def _compile_set(texts: Sequence[str]) -> "re2.Set | None":
    """Return the set of these patterns, or None if RE2 cannot take them together.

    Its first pattern matches every tag.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_SET_MEMORY_BYTES
    together = re2.Set.SearchSet(options)
    try:
        for text in ("", *texts):
            together.Add(text)
        together.Compile()
    except re2.error:
        return None
    return together


def _reason_of(error: "re2.error") -> str:
    reason = error.args[0] if error.args else b""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
