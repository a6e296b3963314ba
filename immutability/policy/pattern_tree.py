"""What a pattern is made of, as far as tags are concerned. Pure: no Django.

Reads a pattern that RE2 has compiled. Only where each part begins and ends is found here; which
characters a part matches is asked of RE2 itself, so the two cannot differ about classes, escapes
and case. What this module does not read for certain it refuses (UnreadPatternError).
Syntax: https://github.com/google/re2/wiki/Syntax
"""

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from immutability.policy.patterns import Pattern, PatternError

TAG_CHARACTERS = string.ascii_letters + string.digits + "_.-"


class UnreadPatternError(Exception):
    """The pattern has something that this module does not read."""


@dataclass(frozen=True)
class Leaf:
    """A part that matches one character: those of `characters` that a tag can have.

    `start` and `end` are its place in the pattern. `literal` is the character where it is one.
    """

    start: int
    end: int
    characters: frozenset[str]
    literal: str = ""


@dataclass(frozen=True)
class Assertion:
    """A part that matches a place: "begin", "end", "boundary" or "no boundary"."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Sequence:
    """Parts that follow one another."""

    items: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    """Alternatives."""

    branches: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    """A part that repeats from `least` to `most` times; `most` is None if there is no limit."""

    item: "Node"
    least: int
    most: int | None


Node = Leaf | Assertion | Sequence | Choice | Repeat


def read_pattern(text: str) -> Node:
    """Return what `text`, which RE2 compiles, is made of. Raises UnreadPatternError."""
    return _Reader(text).read()


def walk(node: Node) -> Iterator[Node]:
    """Yield `node` and everything in it, in the order of the pattern."""
    yield node
    match node:
        case Sequence(items) | Choice(items):
            for item in items:
                yield from walk(item)
        case Repeat(item):
            yield from walk(item)


@lru_cache(maxsize=512)
def _find_characters(part: str, *, ignores_case: bool) -> frozenset[str]:
    """Return which characters of tags RE2 matches with `part`, which stands for one character."""
    try:
        pattern = Pattern(f"^(?{'i' if ignores_case else ''}:{part})$")
    except PatternError as error:
        raise UnreadPatternError(part) from error
    return frozenset(each for each in TAG_CHARACTERS if pattern.find(each))


_ASSERTIONS = {
    "^": "begin",
    "$": "end",
    r"\A": "begin",
    r"\z": "end",
    r"\b": "boundary",
    r"\B": "no boundary",
}
_ESCAPE = re.compile(
    r"\\(?:x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|[pP](?:\{[^}]*\}|[^{])|[0-7]{1,3}|.)", re.DOTALL
)
_ESCAPED_CLASS = re.compile(r"\\[pPdDsSwW]")
# RE2 takes a number that begins with 0, or is very large, for plain characters.
_NUMBER = r"(0|[1-9][0-9]{0,3})"
_REPETITION = re.compile(rf"(?:([*+?])|\{{{_NUMBER}(?:(,){_NUMBER}?)?\}})\??")
_GROUP = re.compile(r"\((?:\?P?<(?![=!])[^>]*>|(?!\?))")
_FLAGS = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])")
_CLASS_NAME = re.compile(r"\[:\^?[a-z]+:\]")


class _Reader:
    """Reads a pattern from left to right, as RE2 does."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ignores_case = False

    def read(self) -> Node:
        node = self._read_choice()
        if self._at < len(self._text):
            raise UnreadPatternError(self._text[self._at :])
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        found = expression.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _read_choice(self) -> Node:
        branches = [self._read_sequence()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._read_sequence())
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _read_sequence(self) -> Node:
        items: list[Node] = []
        is_repeatable = False
        while self._peek() not in ("", "|", ")"):
            if found := self._take(_REPETITION):
                if not is_repeatable:
                    raise UnreadPatternError(found[0])
                items[-1] = _repeat(items[-1], found)
                is_repeatable = False
                continue
            parts = self._read_parts()
            items += parts
            # RE2 lets flags and empty quotations stand between a part and its repetition.
            is_repeatable = bool(parts)
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def _read_parts(self) -> list[Node]:
        """Read one part; a quotation is several, and flags are none."""
        start = self._at
        match self._peek():
            case "(":
                return self._read_group()
            case "[":
                self._skip_class()
                return [self._make_leaf(start)]
            case "\\":
                return self._read_escape()
            case "^" | "$" as character:
                self._at += 1
                return [Assertion(start, self._at, _ASSERTIONS[character])]
            case ".":
                self._at += 1
                return [self._make_leaf(start)]
        return [self._read_literal()]

    def _read_literal(self) -> Leaf:
        start, literal = self._at, self._peek()
        self._at += 1
        characters = _find_characters(rf"\x{{{ord(literal):x}}}", ignores_case=self._ignores_case)
        return Leaf(start, self._at, characters, literal)

    def _make_leaf(self, start: int, literal: str = "") -> Leaf:
        part = self._text[start : self._at]
        characters = _find_characters(part, ignores_case=self._ignores_case)
        return Leaf(start, self._at, characters, literal)

    def _read_group(self) -> list[Node]:
        ignored_case = self._ignores_case
        if flags := self._take(_FLAGS):
            if "i" in flags[1]:
                self._ignores_case = True
            if "i" in (flags[2] or ""):
                self._ignores_case = False
            if flags[3] == ")":
                return []
        elif not self._take(_GROUP):
            raise UnreadPatternError(self._text[self._at :])
        node = self._read_choice()
        if self._peek() != ")":
            raise UnreadPatternError(self._text)
        self._at += 1
        self._ignores_case = ignored_case
        return [node]

    def _read_escape(self) -> list[Node]:
        start = self._at
        if self._text.startswith(r"\Q", start):
            return self._read_quotation()
        escape = self._take_escape()
        if kind := _ASSERTIONS.get(escape):
            return [Assertion(start, self._at, kind)]
        is_literal = len(escape) == 2 and not escape[1].isalnum()
        return [self._make_leaf(start, escape[1] if is_literal else "")]

    def _take_escape(self) -> str:
        found = self._take(_ESCAPE)
        if found is None:
            raise UnreadPatternError(self._text[self._at :])
        return found[0]

    def _read_quotation(self) -> list[Node]:
        self._at += 2
        end = self._text.find(r"\E", self._at)
        stop = len(self._text) if end < 0 else end
        leaves: list[Node] = []
        while self._at < stop:
            leaves.append(self._read_literal())
        self._at = len(self._text) if end < 0 else end + 2
        return leaves

    def _skip_class(self) -> None:
        """Go past a class in brackets. A ] that comes first is a member."""
        self._at += 1
        if self._peek() == "^":
            self._at += 1
        is_first = True
        while is_first or self._peek() != "]":
            is_first = False
            if self._take(_CLASS_NAME) or self._take_escaped_class():
                continue
            self._skip_member()
            is_range = self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]"
            if is_range:
                self._at += 1
                self._skip_member()
        self._at += 1

    def _take_escaped_class(self) -> bool:
        return bool(_ESCAPED_CLASS.match(self._text, self._at) and self._take_escape())

    def _skip_member(self) -> None:
        match self._peek():
            case "":
                raise UnreadPatternError(self._text)
            case "\\":
                self._take_escape()
            case _:
                self._at += 1


def _repeat(item: Node, found: re.Match[str]) -> Node:
    operator, least, comma, most = found.groups()
    match operator:
        case "*":
            return Repeat(item, 0, None)
        case "+":
            return Repeat(item, 1, None)
        case "?":
            return Repeat(item, 0, 1)
    upper = int(most) if most else None if comma else int(least)
    return Repeat(item, int(least), upper)
