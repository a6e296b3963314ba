"""Which tags a pattern can match. RE2 is the judge: nothing here may say otherwise."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from containers.names import InvalidReferenceError, parse_tag
from immutability.policy.advice import advise
from immutability.policy.pattern_tree import TAG_CHARACTERS, UnreadPatternError, read_pattern
from immutability.policy.patterns import MAX_PATTERN_LENGTH, Pattern, PatternError
from immutability.policy.reach import (
    Reach,
    TooComplexError,
    analyse,
    build,
    can_match_shape,
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


@pytest.mark.slow
@given(text=PATTERNS, tags=st.lists(NEAR_TAGS | TAGS, min_size=1, max_size=8))
@example(text=r"\B$", tags=["a-"])
@example(text=r"(?i)^\x{212a}$", tags=["k", "K"])
@example(text="^.{128}$", tags=["a" * 128])
@example(text="^.{127}.$", tags=["a" * 128])
@example(text="^(?i:a)b$", tags=["ab"])
@example(text="a(?i)*", tags=["A"])
@example(text="(?:^)*a", tags=["ba"])
@example(text="[!-[:alpha:]", tags=["a"])
@settings(max_examples=500, deadline=None)
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


@pytest.mark.slow
@given(text=PATTERNS, tags=st.lists(NEAR_TAGS | TAGS, min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_a_pattern_without_its_dead_parts_matches_the_same_tags(text: str, tags: list[str]) -> None:
    pattern = compile_or_none(text)
    if pattern is None or r"\Q" in text:
        return
    without = text
    for part in reversed(analyse(text).dead_parts):
        # A character that no tag has.
        without = rf"{without[: part.start]}(?:\x01){without[part.end :]}"
    pruned = Pattern(without)
    for tag in tags:
        assert bool(pattern.find(tag)) == bool(pruned.find(tag))


@pytest.mark.parametrize(
    ("text", "reach"),
    [
        ("^prod$ ", Reach.NO_TAG),
        ("v1.*, v2.*", Reach.NO_TAG),
        (r"/^v\d+$/", Reach.NO_TAG),
        ("acme/api:v1", Reach.NO_TAG),
        (r"^v1\+.*$", Reach.NO_TAG),
        ("a^", Reach.NO_TAG),
        ("$a", Reach.NO_TAG),
        ("^\u0440rod$", Reach.NO_TAG),
        ("^$", Reach.NO_TAG),
        (r"^\.", Reach.NO_TAG),
        (r"\b-\b\B", Reach.NO_TAG),
        (r"a\bb", Reach.NO_TAG),
        ("^.{129}$", Reach.NO_TAG),
        ("a{129}", Reach.NO_TAG),
        ("^.{128}$", Reach.SOME_TAGS),
        ("a{128}", Reach.SOME_TAGS),
        ("^prod$", Reach.SOME_TAGS),
        (r"\.", Reach.SOME_TAGS),
        ("(?i)^\u212a$", Reach.SOME_TAGS),
        (r"^\141$", Reach.SOME_TAGS),
        ("^[!-[:alpha:]$", Reach.SOME_TAGS),
        # Only after a dot or hyphen, which no tag begins with.
        (r"\B\.{126}", Reach.SOME_TAGS),
        (r"\B\.{127}", Reach.NO_TAG),
        ("(?i)\u017f", Reach.SOME_TAGS),
        (r"^\x{70}rod$", Reach.SOME_TAGS),
        (r"\Q.\E", Reach.SOME_TAGS),
        ("prod| staging", Reach.SOME_TAGS),
        ("v*", Reach.EVERY_TAG),
        ("$", Reach.EVERY_TAG),
        (".*", Reach.EVERY_TAG),
        ("", Reach.EVERY_TAG),
        ("prod|", Reach.EVERY_TAG),
        (r"^\w", Reach.EVERY_TAG),
        ("^[^.-]", Reach.EVERY_TAG),
        (r"\b", Reach.EVERY_TAG),
        ("[a-zA-Z0-9_]", Reach.EVERY_TAG),
        ("^.{1,128}$", Reach.EVERY_TAG),
        ("^.{1,127}$", Reach.SOME_TAGS),
    ],
)
def test_how_many_tags_a_pattern_matches(text: str, reach: Reach) -> None:
    assert analyse(text).reach is reach


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("^prod$", []),
        ("v1|v2 ", ["v", "2", " "]),
        (r"^v1(\+.*)?$", [r"\+", "."]),
        ("^a|b^", ["b", "^"]),
        ("x(a|$b)", ["$", "b"]),
        ("a{0}b", []),
    ],
)
def test_which_parts_of_a_pattern_never_match(text: str, dead: list[str]) -> None:
    assert [text[part.start : part.end] for part in analyse(text).dead_parts] == dead


@pytest.mark.parametrize(
    "text",
    ["a(?i)*", r"a\Q\E*", r"(?:\w?){600}!", "(?:(?:a?){31}){31}"],
)
def test_what_is_not_read_or_too_complex_is_unknown(text: str) -> None:
    assert analyse(text).reach is Reach.UNKNOWN


def test_a_pattern_that_matches_a_probe_is_never_said_to_match_no_tag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("immutability.policy.reach.find_matching_tag", lambda automaton: None)
    assert analyse("^latest$").reach is Reach.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "(?:.?){300} ",
        r"(?:\pL.[^a])*(?:\pL|[^a]){300},$a?a?.?.?$ ",
        r"(?:(?:(?:(?i)k|a?)+)*){99},",
        r"(?:\w*){300}^b\w+[ab]?(?:\pL\b)?$ ",
        r"(\b|\B|a){300}",
        "(a*)*" * 20,
        "(?:(?:a?){31}){31}",
        "[ab].{40}$",
    ],
)
def test_no_pattern_takes_long(text: str) -> None:
    """A slow machine needs a tenth of the limit."""
    advise.cache_clear()
    started = time.process_time()
    advise(text)
    assert time.process_time() - started < 0.5


HEX = frozenset("0123456789abcdef")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("^a-[0-9]$", True), ("^a-f.$", False), ("-c", True), ("-g", False), (r"a\b", True)],
)
def test_whether_some_tag_of_a_family_matches(*, text: str, expected: bool) -> None:
    shape = [frozenset("a"), frozenset("-"), HEX]
    assert can_match_shape(build(read_pattern(text)), shape) is expected


def test_the_characters_of_tags_are_those_of_the_grammar() -> None:
    """All of them, one by one: the proofs are about nothing else."""
    for code in range(0x250):
        character = chr(code)
        try:
            is_in_tags = bool(parse_tag(f"a{character}"))
        except InvalidReferenceError:
            is_in_tags = False
        assert (character in TAG_CHARACTERS) == is_in_tags
