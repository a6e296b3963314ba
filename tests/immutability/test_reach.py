"""Which tags a pattern can match. RE2 is the judge: nothing here may say otherwise."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from containers.reference import parse_tag
from immutability import reach
from immutability.pattern_tree import TAG_CHARACTERS, UnreadPatternError, read_pattern
from immutability.patterns import MAX_PATTERN_LENGTH, Pattern, PatternError
from immutability.reach import (
    TooComplexError,
    build,
    find_dead_parts,
    find_matching_tag,
    find_unmatched_tag,
)

TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)
NEAR_TAGS = st.text("akKsS019_.-vx", min_size=1, max_size=7).filter(lambda tag: tag[0] not in ".-")

LEAVES = st.sampled_from(
    ["a", "b", "k", "K", "v", "1", "9", "_", "-", r"\.", ".", " ", "+", "/", "é", "ſ", "\u212a",
     r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\pL", r"\PL", r"\p{Lu}", r"\p{^Lu}", r"\P{Greek}",
     "[a-c]", "[^a-c]", "[]a]", "[^]a]", "[a-]", "[-a]", r"[\d.]", r"[\]a]", "[[:alpha:]]",
     "[^[:^digit:]_]", "[[a]", "[!-[:x]", r"[\x{41}-\x5a]", r"[\d-a]", "[.]", "[a&&b]", "[Z-a]",
     r"\x61", r"\x{2d}", r"\141", r"\0", r"\_", r"\C", r"\Qa.\E", r"\Q\E", r"\Q+", "{", "}", "{,2}",
     "a{01}", "]", ",", "-", "日"]
)  # fmt: skip
PLACES = st.sampled_from(["^", "$", r"\A", r"\z", r"\b", r"\B", "(?i)", "(?-i)", "(?s)", "(?m)"])
REPETITIONS = st.sampled_from(
    ["*", "+", "?", "*?", "+?", "??", "{2}", "{0}", "{0,2}", "{1,}", "{3,}?", "{127}", "{200}"]
)
GROUPS = st.sampled_from(["(", "(?:", "(?i:", "(?P<n>", "(?<m>", "(?-i:", "(?U)(?:", "(?i-s:"])


def extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Make larger patterns of smaller ones."""
    return st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
        st.tuples(GROUPS, inner).map(lambda parts: f"{parts[0]}{parts[1]})"),
        st.tuples(GROUPS, inner, REPETITIONS).map(lambda each: f"{each[0]}{each[1]}){each[2]}"),
        st.tuples(inner, REPETITIONS).map("".join),
    )


PATTERNS = st.one_of(
    st.recursive(LEAVES | PLACES, extend, max_leaves=12),
    st.text("ab1.+*?|()[]^$-{}\\dwbBQE, ", max_size=14),
)


def compile_or_none(text: str) -> Pattern | None:
    try:
        return Pattern(text) if len(text) <= MAX_PATTERN_LENGTH else None
    except PatternError:
        return None


@given(text=PATTERNS, tags=st.lists(NEAR_TAGS | TAGS, min_size=1, max_size=8))
@example(text=r"\B$", tags=["a-"])
@example(text=r"(?i)^\x{212a}$", tags=["k", "K"])
@example(text="^.{128}$", tags=["a" * 128])
@example(text="^.{127}.$", tags=["a" * 128])
@example(text="a(?i)*", tags=["A"])
@example(text="(?:^)*a", tags=["ba"])
@example(text="[!-[:alpha:]", tags=["a"])
@settings(max_examples=20000, deadline=None)
def test_what_is_said_of_a_pattern_is_what_re2_does(text: str, tags: list[str]) -> None:
    pattern = compile_or_none(text)
    if pattern is None:
        return
    try:
        tree = read_pattern(text)
        automaton = build(tree)
        matching, unmatched = find_matching_tag(automaton), find_unmatched_tag(automaton, tree)
    except (UnreadPatternError, TooComplexError):
        return
    if matching is None:
        assert not [tag for tag in tags if pattern.find(tag)]
    else:
        assert pattern.find(parse_tag(matching).name)
    if unmatched is None:
        assert not [tag for tag in tags if not pattern.find(tag)]
    else:
        assert not pattern.find(parse_tag(unmatched).name)
    assert matching or unmatched
