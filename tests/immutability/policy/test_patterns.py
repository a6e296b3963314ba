"""RE2 patterns: what matches, and what is too much."""

import ast
import re
import time
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from immutability.policy import patterns
from immutability.policy.patterns import (
    MAX_PATTERN_LENGTH,
    MAX_REMEMBERED_PATTERNS,
    Match,
    Pattern,
    PatternError,
    PatternEvaluationError,
    PatternSet,
    compile_pattern,
)
from tests.conftest import SEMVER

# What matches.

EXAMPLES = [
    ("^prod$", ["prod"], ["production", "nonprod", "Prod", "prod-1", "pro"]),
    (
        r"^v\d+\.\d+\.\d+$",
        ["v1.2.3", "v0.0.0", "v10.200.3000"],
        ["1.2.3", "v1.2", "v1.2.3-rc1", "v1.2.3.4", "xv1.2.3", "V1.2.3", "v1x2x3"],
    ),
    ("^release-.*$", ["release-", "release-1", "release-2026-q1"], ["release", "pre-release-1"]),
    (
        "^(staging|prod)$",
        ["staging", "prod"],
        ["stagingprod", "staging-1", "preprod", "production", "dev"],
    ),
]


@pytest.mark.parametrize(
    ("text", "tag"), [(text, tag) for text, matching, _ in EXAMPLES for tag in matching]
)
def test_the_examples_of_the_announcement_match(text: str, tag: str) -> None:
    assert compile_pattern(text).find(tag) == Match(0, len(tag))


@pytest.mark.parametrize(
    ("text", "tag"), [(text, tag) for text, _, others in EXAMPLES for tag in others]
)
def test_the_examples_of_the_announcement_leave_other_tags_alone(text: str, tag: str) -> None:
    assert compile_pattern(text).find(tag) is None


@pytest.mark.parametrize(
    ("text", "tag", "match"),
    [
        ("prod", "nonprod-1", Match(3, 7)),
        ("prod", "prod", Match(0, 4)),
        # Zero digits are found at the beginning of every tag.
        ("[0-9]*", "redis", Match(0, 0)),
        ("", "redis", Match(0, 0)),
        ("[0-9]+", "v12.3", Match(1, 3)),
        ("v$", "dev", Match(2, 3)),
        (".", "x", Match(0, 1)),
        ("(?i)PROD", "nonprod", Match(3, 7)),
        (r"\Q1.2\E", "v1.2", Match(1, 4)),
    ],
)
def test_a_pattern_without_anchors_matches_anywhere(text: str, tag: str, match: Match) -> None:
    assert compile_pattern(text).find(tag) == match


@pytest.mark.parametrize(
    ("match", "tag", "is_whole"),
    [
        (Match(0, 4), "prod", True),
        (Match(3, 7), "nonprod", False),
        (Match(0, 4), "prod-1", False),
        (Match(0, 0), "redis", False),
    ],
)
def test_whether_a_match_is_the_whole_tag(*, match: Match, tag: str, is_whole: bool) -> None:
    assert match.is_whole(tag) is is_whole


def test_digits_are_the_ten_of_ascii() -> None:
    assert compile_pattern(r"^\d$").find("\u0663") is None


@pytest.mark.parametrize("text", [" v1", "v1 ", "\tv1", " "])
def test_a_pattern_is_never_stripped(text: str) -> None:
    assert compile_pattern(text).text == text
    assert compile_pattern(text).find("v1") is None


def test_the_same_text_is_compiled_once() -> None:
    assert compile_pattern("^once$") is compile_pattern("^once$")


# What is refused. In which words: test_rule_words.py.


def test_a_failure_is_remembered_like_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile_and_count(text: str, options: object) -> object:
        compiled.append(text)
        return compile_by_re2(text, options)

    compile_by_re2 = re2.compile
    monkeypatch.setattr("immutability.policy.patterns.re2.compile", compile_and_count)
    for text in ("^v1-counted$", "(counted", r"(?i)\pL{901}"):
        for _ in range(3):
            with suppress(PatternError):
                compile_pattern(text)
    assert compiled == ["^v1-counted$", "(counted", r"(?i)\pL{901}"]


def test_each_failure_is_an_exception_of_its_own() -> None:
    """One that was raised twice would keep every frame that it passed."""
    errors = []
    for _ in range(2):
        with pytest.raises(PatternError) as caught:
            compile_pattern("(")
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_what_is_remembered_has_a_limit() -> None:
    for number in range(MAX_REMEMBERED_PATTERNS + 10):
        compile_pattern(f"^limit{number}$")
    assert patterns._compile.cache_info().currsize == MAX_REMEMBERED_PATTERNS


@pytest.mark.parametrize(
    "text",
    [r"(?i)\pL{900}", r"\pL{1000}", r"(?i)[^\pL]{999}", ".{999}", "(?:.?){999}x", r"\p{L}{20}"],
)
def test_a_pattern_that_needs_too_much_memory_is_refused_at_once(text: str) -> None:
    with deadline(0.5), pytest.raises(PatternError, match="The pattern is too large"):
        Pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        SEMVER.pattern,
        r"^v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(_[0-9A-Za-z.-]+)?$",
        "^[a-z0-9]{1,128}$",
        "(?i)^[a-z0-9._-]{1,128}$",
        r"^\S{1,128}$",
        "^.{1,128}$",
        "^[^/]{1,128}$",
        r"^\pL+\pN+$",
    ],
)
def test_what_people_write_for_tags_is_not_too_large(text: str) -> None:
    assert compile_pattern(text).text == text


@pytest.mark.parametrize("text", ["{", "a{fragment}", "%s{0}", "[{]", "\\{{", "(?{fragment}"])
def test_braces_in_a_pattern_do_not_disturb_the_message(text: str) -> None:
    try:
        Pattern(text)
    except PatternError as error:
        assert str(error)  # noqa: PT017  (either end is fine, a KeyError is not)


def test_nothing_is_written_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    for text in ("(", r"\Z", "*", r"(?:\pL?){100}\pL{100}"):
        with pytest.raises(PatternError):
            Pattern(text)
    for text in ("^v1$", r"(?:\w?){300}!"):
        Pattern(text).find("v" * 128)
    assert capfd.readouterr() == ("", "")


# Evaluation.


class BrokenCompiled:
    def search(self, tag: str) -> None:
        raise RuntimeError(f"no memory for {tag}")


def test_a_failure_to_evaluate_is_never_no_match() -> None:
    pattern = Pattern("^v1$")
    pattern._compiled = BrokenCompiled()
    with pytest.raises(PatternEvaluationError, match=r'The pattern "\^v1\$" failed: no memory'):
        pattern.find("v1")


def test_text_that_cannot_be_searched_is_never_no_match() -> None:
    with pytest.raises(PatternEvaluationError):
        compile_pattern("x").find("v\udc80")


# The largest patterns that are accepted, and what they may cost.

WORST = [
    "(" * 50 + ")" * 50,
    "(" * 100,
    "[" * 100,
    "a?" * 50,
    "(a*)*" * 20,
    "(a|b|ab)*c" * 10,
    "(?:a?){25}a{25}",
    "((a{1,10}){1,10}){1,10}",
    "((((a{10}){10}){10}){10}){10}",
    "(?:(?:(?:x{0,9}){0,9}){0,9})" * 3,
    r"\pL{1000}",
    r"(?i)\pL{333}\pN{333}\pS{333}",
    r"(?i)[^\pL]{999}",
    r"[\x{0}-\x{10FFFF}]{999}",
    ".{999}",
    "(.{1,31}){1,31}x",
    "(x+x+)+y",
    "(.*)*" * 20,
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "|" * 100,
    "\\" * 100,
    "." * 100,
    "ÿ" * 100,
    "\U0010ffff" * 100,
]


@pytest.mark.parametrize("text", WORST)
def test_the_worst_patterns_are_answered_in_little_time(text: str) -> None:
    """No pattern backtracks, and none is large: a slow machine needs a tenth of the limit."""
    assert len(text) <= MAX_PATTERN_LENGTH
    with deadline(0.5):
        try:
            pattern = Pattern(text)
        except PatternError as error:
            assert str(error)  # noqa: PT017  (a refusal with a reason is as good as a match)
            return
        for tag in ("x" * 128, "a" * 127 + "!", "v1.2.3"):
            pattern.find(tag)


class deadline:  # noqa: N801  (reads as a verb in a with statement)
    """Fail where the block takes more processor time than `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.started = time.process_time()

    def __exit__(self, *error: object) -> None:
        assert time.process_time() - self.started < self.seconds


# Any text at all.

PIECES = st.sampled_from(
    ["(", ")", "[", "]", "{", "}", "*", "+", "?", "|", "^", "$", ".", "\\", "-", ",", ":", "=", "!",
     "<", ">", "P", "i", "d", "p", "L", "Q", "E", "x", "1", "9", "0", "a", "(?", "(?P<", "[^",
     "{1000}", "\\pL", "(?i)", "[[:", ":]]", "\x00", "\n", "é", "\U0001f600", "\ud800"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=MAX_PATTERN_LENGTH),
    st.text(st.characters(categories=None), max_size=MAX_PATTERN_LENGTH),
    st.lists(PIECES, max_size=60).map(lambda parts: "".join(parts)[:MAX_PATTERN_LENGTH]),
)


@given(text=TEXTS)
@example(text="\ud800")
@example(text="\x00")
@example(text="(?P<\udcff>a)")
@settings(max_examples=400, deadline=None)
def test_any_text_compiles_or_is_refused_with_a_reason(text: str) -> None:
    try:
        pattern = Pattern(text)
    except PatternError as error:
        message = str(error)
        assert message
        assert not message.startswith("RE2 cannot use this pattern")
        return
    match = pattern.find("v1.2.3-rc.1")
    assert match is None or 0 <= match.start <= match.end <= 11


@given(
    text=st.text("ab01.*+?|()[]^$-", max_size=12), tag=st.text("ab01.-", min_size=1, max_size=10)
)
@settings(max_examples=400, deadline=None)
def test_where_python_knows_the_pattern_too_both_agree_whether_it_matches(
    text: str, tag: str
) -> None:
    """Python's own engine is the second opinion. Its $ also matches before a newline at the end,
    which no tag has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            expected = re.compile(text)
        except (re.error, RecursionError):
            return
    try:
        pattern = Pattern(text)
    except PatternError:
        return
    assert (pattern.find(tag) is None) == (expected.search(tag) is None)


# Several together.

SMALL = st.text("ab01.*+?|()[]^$-", max_size=12)
SMALL_TAGS = st.lists(st.text("ab01.-", min_size=1, max_size=10), min_size=1, max_size=5)


def find_one_by_one(texts: list[str], tag: str) -> tuple[int, ...]:
    return tuple(number for number, text in enumerate(texts) if Pattern(text).find(tag) is not None)


def compiles(text: str) -> bool:
    try:
        Pattern(text)
    except PatternError:
        return False
    return True


@given(texts=st.lists(SMALL.filter(compiles), max_size=7), tags=SMALL_TAGS)
@example(texts=["", "a", "^$"], tags=["a"])
@example(texts=["a", "a"], tags=["a"])
@example(texts=["(?i)A", r"\bA\b", "(?s).", r"\x61"], tags=["a", "-a"])
@settings(max_examples=400, deadline=None)
def test_patterns_match_together_as_they_do_one_by_one(texts: list[str], tags: list[str]) -> None:
    together = PatternSet(texts)
    for tag in tags:
        assert together.find(tag) == find_one_by_one(texts, tag)


HEAVY = [r"(?:\w*){300}^b\w+[ab]?(?:\pL\b)?$ ", "[ab].{100}x.{100}[^x]$", "b", "^a"]


@pytest.mark.parametrize("memory", [1, 1000, 30_000, 100_000, 10_000_000])
def test_with_too_little_memory_for_all_each_is_tried_by_itself(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "MAX_SET_MEMORY_BYTES", memory)
    together = PatternSet(HEAVY)
    tag = "ab" * 64
    assert together.find(tag) == find_one_by_one(HEAVY, tag)


def test_a_set_that_finds_nothing_at_all_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    together = PatternSet(["a"])

    class Failed:
        def Match(self, text: str) -> None:  # noqa: N802  (RE2's name)
            """Find nothing, as RE2 does where it runs out of memory."""

    monkeypatch.setattr(together, "_set", Failed())
    assert together.find("a") == (0,)
    assert together.find("b") == ()


def test_a_set_that_raises_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    together = PatternSet(["a"])
    monkeypatch.setattr(together, "_set", object())
    with pytest.raises(PatternEvaluationError):
        together.find("a")


def test_a_pattern_that_does_not_compile_makes_no_set() -> None:
    with pytest.raises(PatternError):
        PatternSet(["a", "("])


# One module for all.


def test_only_one_module_imports_re2() -> None:
    root = Path(patterns.__file__).parent.parent.parent
    apps = ("workspaces", "containers", "immutability", "packages_site")
    importing = [
        path.relative_to(root).as_posix()
        for app in apps
        for path in sorted((root / app).rglob("*.py"))
        if _imports_re2(path)
    ]
    assert importing == ["immutability/policy/patterns.py"]


def _imports_re2(path: Path) -> bool:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return "re2" in names
