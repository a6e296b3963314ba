"""Which tags a pattern can match: none, some or every one. Pure: no Django.

The pattern becomes an automaton over the characters of tags. That no tag matches is a question of
whether a path leads through it, so there is nothing to guess; every search has a limit of steps,
and where one is reached the answer is UNKNOWN. It serves advice and the refusal to save a rule that
protects nothing. It never decides a push: that is RE2's alone.

docs/dependencies.md says why no library does this.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from containers.names import MAX_TAG_LENGTH
from immutability.policy.pattern_tree import (
    TAG_CHARACTERS,
    Assertion,
    Choice,
    Leaf,
    Node,
    Repeat,
    Sequence,
    UnreadPatternError,
    read_pattern,
    walk,
)
from immutability.policy.patterns import compile_pattern

# What one pattern may cost: some 10 milliseconds. What people write needs a tenth.
MAX_STATES = 1500
MAX_STEPS = 10_000


class Reach(StrEnum):
    """How many tags a pattern matches."""

    NO_TAG = "no tag"
    SOME_TAGS = "some tags"
    EVERY_TAG = "every tag"
    UNKNOWN = "unknown"


class TooComplexError(Exception):
    """The pattern needs more states or steps than are allowed."""


@dataclass(frozen=True)
class Grammar:
    """What a tag may be. Leaving out a limit tells whether it is that limit that nothing meets."""

    allows_any_character: bool = False
    allows_any_first: bool = False
    allows_empty: bool = False
    has_anchors: bool = True
    max_length: int = MAX_TAG_LENGTH


TAGS = Grammar()


# What may stand beside a place in a tag: a word character, a dot or hyphen, or nothing. The first
# character of a tag is a word character.
_WORD, _OTHER, _EDGE = 1, 2, 4
_ANYTHING = _WORD | _OTHER | _EDGE
_OTHERS = frozenset(".-")
_WORDS = frozenset(TAG_CHARACTERS) - _OTHERS


class _Node(NamedTuple):
    """A place in the automaton, what stands before it, and what may follow."""

    state: int
    before: int
    next: int = _ANYTHING


@dataclass
class Automaton:
    """The states of a pattern. State 0 is the end; each other has a part and what follows it."""

    parts: list[Leaf | Assertion | None] = field(default_factory=lambda: [None])
    targets: list[list[int]] = field(default_factory=lambda: [[]])
    start: int = 0
    steps: int = 0

    def count_steps(self, steps: int = 1) -> None:
        """Note that steps were made. Raises TooComplexError if there were too many."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise TooComplexError

    def add(self, part: Leaf | Assertion | None, *targets: int) -> int:
        """Add a state and return its number. Raises TooComplexError."""
        if len(self.parts) > MAX_STATES:
            raise TooComplexError
        self.parts.append(part)
        self.targets.append(list(targets))
        return len(self.parts) - 1


def build(tree: Node) -> Automaton:
    """Return the automaton of a pattern. Raises TooComplexError."""
    automaton = Automaton()
    automaton.start = _add(automaton, tree, 0)
    return automaton


def _add(automaton: Automaton, node: Node, target: int) -> int:
    """Add the states of `node`, which lead to `target`; return the first."""
    automaton.count_steps()
    match node:
        case Leaf() | Assertion():
            return automaton.add(node, target)
        case Choice(branches):
            return automaton.add(None, *(_add(automaton, each, target) for each in branches))
        case Sequence(items):
            for item in reversed(items):
                target = _add(automaton, item, target)
            return target
        case Repeat(item, least, most):
            return _add_repeat(automaton, item, least, most, target)


def _add_repeat(automaton: Automaton, item: Node, least: int, most: int | None, target: int) -> int:
    if most is None:
        loop = automaton.add(None, target)
        automaton.targets[loop].append(_add(automaton, item, loop))
        target = loop
    else:
        last = target
        for _ in range(most - least):
            target = automaton.add(None, _add(automaton, item, target), last)
    for _ in range(least):
        target = _add(automaton, item, target)
    return target


# Whether a path leads to the end.


def find_matching_tag(automaton: Automaton, grammar: Grammar = TAGS) -> str | None:
    """Return a short tag that the pattern matches, or None if there is none.

    With a relaxed grammar the text may be no tag, and "?" stands for a character that no tag has.
    Raises TooComplexError.
    """
    order = count()
    heap: list[tuple[int, int, _Node, str]] = []

    def wait(node: _Node, text: str) -> None:
        if len(text) <= grammar.max_length:
            heappush(heap, (len(text), next(order), node, text))

    for before, text in ((_EDGE, ""), (_WORD, "a"), (_OTHER, "a-")):
        wait(_Node(automaton.start, before), text)
    seen: set[_Node] = set()
    while heap:
        _, _, node, text = heappop(heap)
        if node in seen:
            continue
        seen.add(node)
        if node.state == 0 and (tag := _end(node, text, grammar)) is not None:
            return tag
        for character, target in _step(automaton, node, grammar):
            wait(target, text + character)
    return None


def _end(node: _Node, text: str, grammar: Grammar) -> str | None:
    """Return `text`, at which the pattern has matched, with the shortest rest that may follow."""
    is_empty = node.before is _EDGE
    if node.next & _EDGE and (not is_empty or grammar.allows_empty):
        return text
    if len(text) == grammar.max_length:
        return None
    if node.next & _WORD:
        return text + "a"
    if node.next & _OTHER and (not is_empty or grammar.allows_any_first):
        return text + "-"
    return None


def _step(automaton: Automaton, node: _Node, grammar: Grammar) -> Iterator[tuple[str, _Node]]:
    """Yield where `node` leads, each with the character that it takes, or "" for none."""
    part, targets = automaton.parts[node.state], automaton.targets[node.state]
    automaton.count_steps(1 + len(targets))
    match part:
        case Leaf():
            for character in _choose_characters(part, node, grammar):
                kind = _OTHER if character in _OTHERS else _WORD
                yield character, _Node(targets[0], kind)
        case Assertion() if grammar.has_anchors:
            left = node.next & _allowed_next(part.kind, node.before)
            if left:
                yield "", _Node(targets[0], node.before, left)
        case _:
            for target in targets:
                yield "", _Node(target, node.before, node.next)


def _choose_characters(leaf: Leaf, node: _Node, grammar: Grammar) -> Iterator[str]:
    """Yield a character of each kind that `leaf` matches at `node`."""
    if grammar.allows_any_character and not leaf.characters:
        yield "?"
        return
    if node.next & _WORD and (words := leaf.characters & _WORDS):
        yield min(words)
    may_be_other = node.before is not _EDGE or grammar.allows_any_first
    if may_be_other and node.next & _OTHER and (others := leaf.characters & _OTHERS):
        yield min(others)


def _allowed_next(assertion: str, before: int) -> int:
    """Return what may follow a place where `assertion` holds, as bits of _Kind."""
    match assertion:
        case "begin":
            return _ANYTHING if before is _EDGE else 0
        case "end":
            return _EDGE
    is_after_word = before is _WORD
    wants_word = is_after_word is (assertion == "no boundary")
    return _WORD if wants_word else _OTHER | _EDGE


# Parts that no path to the end leads through.


def find_dead_parts(automaton: Automaton, tree: Node) -> list[Leaf | Assertion]:
    """Return the parts that play no role in any match, in the order of the pattern.

    Raises TooComplexError.
    """
    sources = _explore(automaton)
    alive: set[_Node] = set()
    waiting = [node for node in sources if node.state == 0 and _end(node, "", TAGS) is not None]
    while waiting:
        node = waiting.pop()
        if node not in alive:
            alive.add(node)
            waiting += sources[node]
    dead = set(automaton.parts) - {automaton.parts[node.state] for node in alive}
    return [part for part in walk(tree) if isinstance(part, Leaf | Assertion) and part in dead]


def _explore(automaton: Automaton) -> dict[_Node, list[_Node]]:
    """Return every node that can be reached, with those that lead to it."""
    waiting = [_Node(automaton.start, kind) for kind in (_EDGE, _WORD, _OTHER)]
    sources: dict[_Node, list[_Node]] = {node: [] for node in waiting}
    while waiting:
        node = waiting.pop()
        for _, target in _step(automaton, node, TAGS):
            if target not in sources:
                sources[target] = []
                waiting.append(target)
            sources[target].append(node)
    return sources


# Whether every tag leads to the end.


def find_unmatched_tag(automaton: Automaton, tree: Node) -> str | None:
    """Return one of the shortest tags that the pattern does not match, or None.

    Raises TooComplexError.
    """
    characters = _pick_characters(tree)
    start = _close(automaton, {_Node(automaton.start, _EDGE)})
    queue = deque([(start, "")])
    seen = {start}
    while queue:
        nodes, tag = queue.popleft()
        ends = [node.next for node in nodes if node.state == 0]
        if tag and not any(end & _EDGE for end in ends):
            return tag
        if len(tag) == MAX_TAG_LENGTH:
            continue
        for character in characters:
            kind = _OTHER if character in _OTHERS else _WORD
            is_matched = any(end & kind for end in ends)
            if is_matched or (not tag and kind is _OTHER):
                continue
            step = _follow(automaton, nodes, frozenset(character), kind)
            after = _close(automaton, step)
            if after not in seen:
                seen.add(after)
                queue.append((after, tag + character))
    return None


def _pick_characters(tree: Node) -> list[str]:
    """Return one of each group of characters that every part of the pattern treats alike."""
    leaves = {part.characters for part in walk(tree) if isinstance(part, Leaf)}
    groups = {
        (character in _OTHERS, *(character in each for each in leaves)): character
        for character in reversed(TAG_CHARACTERS)
    }
    return sorted(groups.values())


def _follow(
    automaton: Automaton, nodes: frozenset[_Node], characters: frozenset[str], kind: int
) -> set[_Node]:
    """Return where `nodes` lead with one of `characters`. A match may also begin after it."""
    automaton.count_steps(len(nodes))
    reached = {_Node(automaton.start, kind)}
    for node in nodes:
        part = automaton.parts[node.state]
        if isinstance(part, Leaf) and node.next & kind and characters & part.characters:
            reached.add(_Node(automaton.targets[node.state][0], kind))
    return reached


def _close(automaton: Automaton, nodes: set[_Node]) -> frozenset[_Node]:
    """Return `nodes` and all that they lead to without a character."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(automaton.parts[node.state], Leaf):
            continue
        for _, target in _step(automaton, node, TAGS):
            if target not in nodes:
                nodes.add(target)
                waiting.append(target)
    return frozenset(nodes)


# Whether some of a family of tags leads to the end.


def can_match_shape(automaton: Automaton, shape: list[frozenset[str]]) -> bool:
    """Whether the pattern matches a tag with one character of each set of `shape`, in order.

    No set may have both word characters and others. Raises TooComplexError.
    """
    nodes = _close(automaton, {_Node(automaton.start, _EDGE)})
    for characters in shape:
        kind = _OTHER if characters <= _OTHERS else _WORD
        if any(node.state == 0 and node.next & kind for node in nodes):
            return True
        nodes = _close(automaton, _follow(automaton, nodes, characters, kind))
    return any(node.state == 0 and node.next & _EDGE for node in nodes)


# What is asked of a pattern as a whole.

# A pattern that matches one of these is never said to match none, whatever else went wrong.
_PROBES = ("latest", "main", "prod", "release-2026.04", "v1.2.0-rc.1", "1.0.0_build.7", "A" * 128)


@dataclass(frozen=True)
class Analysis:
    """What is known of a pattern. `tree` and `automaton` are None where nothing is."""

    reach: Reach
    tree: Node | None = None
    automaton: Automaton | None = None
    dead_parts: tuple[Leaf | Assertion, ...] = ()


def analyse(text: str) -> Analysis:
    """Return what is known of `text`, a pattern that RE2 compiles."""
    try:
        tree = read_pattern(text)
        automaton = build(tree)
        if find_matching_tag(automaton) is None:
            return Analysis(_confirm_no_tag(text), tree, automaton)
        dead_parts = tuple(find_dead_parts(automaton, tree))
    except (UnreadPatternError, TooComplexError):
        return Analysis(Reach.UNKNOWN)
    return Analysis(_find_reach(automaton, tree), tree, automaton, dead_parts)


def _confirm_no_tag(text: str) -> Reach:
    pattern = compile_pattern(text)
    return Reach.UNKNOWN if any(pattern.find(tag) for tag in _PROBES) else Reach.NO_TAG


def _find_reach(automaton: Automaton, tree: Node) -> Reach:
    try:
        is_universal = find_unmatched_tag(automaton, tree) is None
    except TooComplexError:
        return Reach.UNKNOWN
    return Reach.EVERY_TAG if is_universal else Reach.SOME_TAGS
