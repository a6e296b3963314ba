"""What a person reads about a pattern. The tables are those of docs/rules.md: row by row, what is
typed, what Taglock says, and what it thinks was meant."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from immutability.policy.advice import AdviceCode, add_suggestion, advise, find_no_tag
from immutability.policy.drafts import describe_bad_pattern
from immutability.policy.pattern_errors import _EXPLANATIONS, explain
from immutability.policy.patterns import MAX_PATTERN_LENGTH, Pattern, PatternError
from immutability.policy.protection import PatternKind
from immutability.policy.reach import Reach, analyse
from immutability.policy.suggestions import suggest_correction, suggest_narrower
from tests.immutability.policy.test_patterns import TEXTS

DOCUMENT = Path(__file__).parents[3] / "docs" / "rules.md"

# The words by which RE2 names a kind of error, in the order of its list (re2/regexp.cc).
RAW_WORDS = [
    "no error",
    "unexpected error",
    "invalid escape sequence",
    "invalid character class",
    "invalid character class range",
    "missing ]",
    "missing )",
    "unexpected )",
    "trailing \\",
    "no argument for repetition operator",
    "invalid repetition size",
    "bad repetition operator",
    "invalid perl operator",
    "invalid UTF-8",
    "invalid named capture group",
    "pattern too large",
    "compile failed",
]


def read_tables() -> dict[str, list[tuple[str, str, str]]]:
    """Return the rows of each section of the document that say what Taglock says."""
    tables: dict[str, list[tuple[str, str, str]]] = {}
    section = ""
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        cells = [cell.removeprefix(" ").removesuffix(" ") for cell in re.split(r"(?<!\\)\|", line)]
        if section and len(cells) == 5 and cells[1].startswith("`"):
            typed, said, meant = cells[1:4]
            row = (read_code(typed), re.sub(r"\\(.)", r"\1", said), read_code(meant))
            tables.setdefault(section, []).append(row)
    return tables


def read_code(cell: str) -> str:
    return cell.removeprefix("`").removesuffix("`").replace(r"\|", "|")


TABLES = read_tables()
ROWS = [row for rows in TABLES.values() for row in rows]
IDS = [ascii(row[0]) for row in ROWS]


def say(pattern: str) -> str:
    """Return all that is said about a pattern."""
    return describe_bad_pattern(pattern) or " ".join(str(advice) for advice in advise(pattern))


def test_the_document_has_its_tables() -> None:
    assert {section: len(rows) > 3 for section, rows in TABLES.items()} == {
        "It matches no tag": True,
        "It matches every tag": True,
        "It matches other tags than you may think": True,
        "RE2 refuses it": True,
    }


@pytest.mark.parametrize(("typed", "said", "meant"), ROWS, ids=IDS)
def test_what_a_person_reads(typed: str, said: str, meant: str) -> None:
    assert say(typed).startswith(add_suggestion(said, meant))


@pytest.mark.parametrize("typed", [row[0] for row in TABLES["It matches no tag"]], ids=ascii)
def test_what_matches_no_tag_is_refused_and_what_matches_in_part_is_not(typed: str) -> None:
    [first, *_] = advise(typed)
    is_refused = first.code is AdviceCode.MATCHES_NO_TAG
    assert is_refused or first.code is AdviceCode.PART_MATCHES_NO_TAG
    assert (find_no_tag(typed) is not None) == is_refused
    assert (analyse(typed).reach is Reach.NO_TAG) == is_refused


@pytest.mark.parametrize(
    ("pattern", "codes"),
    [
        (r"^v\d+\.\d+\.\d+$", []),
        ("^prod$", []),
        ("^release-.*$", []),
        ("^(staging|prod)$", []),
        (r"^v?\d+\.\d+\.\d+([-_].*)?$", []),
        (r"^v1.*$", []),
        (r"^[0-9]{4}.[0-9]{2}$", ["unescaped_dot"]),
        ("v*", ["matches_every_tag", "matches_signature_tags"]),
        ("release-*", ["looks_like_glob"]),
        ("^v1.2*|a^", ["part_matches_no_tag"]),
        ("sha256-", ["matches_signature_tags"]),
        ("^[a-z0-9.-]+$", ["matches_signature_tags"]),
        ("0", ["matches_signature_tags"]),
        # Only some digests, or one suffix.
        ("^sha256-a", ["matches_signature_tags"]),
        ("[1-9a-f]{64}", ["matches_signature_tags"]),
        ("^sha256-[0-9a-f]{64}[.]att", ["matches_signature_tags"]),
        ("^sha256-[0-9a-f]{63}$", []),
        ("^sha256-[0-9a-f]{65}", []),
        ("(", []),
        ("^$", ["matches_no_tag"]),
    ],
)
def test_advice_has_a_code(pattern: str, codes: list[str]) -> None:
    assert [advice.code.value for advice in advise(pattern)] == codes


NO_EFFECT = "This pattern matches no tag, so it has no effect: "


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("^latest$", ""),
        ("^latest$ ", f"{NO_EFFECT}a tag has no spaces."),
        ("a,b", f'{NO_EFFECT}a tag has no ",". Write alternatives with |.'),
        ("!v1", f"{NO_EFFECT}a pattern cannot say which tags it does not match."),
        ("^$", f"{NO_EFFECT}a tag has at least one character."),
        ("v*", "This pattern matches every tag, so none would be protected."),
        (".", "This pattern matches every tag, so none would be protected."),
        ("release-*", "In RE2, * repeats the character before it."),
        ("^v1.2.0$", "A dot matches any character"),
        ("^v1|a^", "A part of this pattern never matches"),
        # They are meant to stay mutable.
        ("sha256-", ""),
    ],
)
def test_what_a_person_reads_about_an_exception(typed: str, said: str) -> None:
    text = " ".join(str(advice) for advice in advise(typed, PatternKind.EXCEPTION))
    assert text.startswith(said)
    assert bool(text) is bool(said)
    assert "rule" not in text.lower()


# The words of RE2's refusals.


REFUSED = [
    *(row[0] for section in ("RE2 refuses it",) for row in TABLES[section]),
    *("(a", "a)", "[a", "[]", "*", "a***", "a?*", r"\y", r"\é", r"\x{110000}", r"\cA", r"\N{DOT}"),
    *("(?", "(?-)", "(?i", "(?^)", "(?imx)a", "(?&n)", "(?P>n)", "(?1)", "(?+1)", "(?{x})", "(?<"),
    *("(?<!", r"(a)\g{1}", r"(?<n>a)\k<n>", r"[\A]", r"[\Qa]\E]", r"\E", r"\pX", "v\udc80"),
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=ascii)
def test_no_refusal_repeats_the_words_of_the_library(text: str) -> None:
    with pytest.raises(PatternError) as caught:
        Pattern(text)
    message = str(caught.value)
    assert not [words for words in RAW_WORDS if words in message]
    assert "b'" not in message
    assert message.endswith((".", ")"))


def test_every_reason_that_the_library_can_give_has_words_of_its_own() -> None:
    handled = {
        "invalid escape sequence",
        "invalid perl operator",
        "bad repetition operator",
        "invalid character class range",
    }
    never = {"no error", "unexpected error", "pattern too large", "compile failed"}
    assert set(RAW_WORDS) - never - handled <= set(_EXPLANATIONS)


def test_a_reason_that_is_new_is_still_told() -> None:
    assert explain("x", "new kind: x") == "RE2 cannot use this pattern: new kind: x."


@pytest.mark.parametrize("text", [r"^v1\Z", r"^v1$\Z", r"\Av\Z"])
def test_the_backslash_of_an_anchor_is_never_to_be_left_out(text: str) -> None:
    """^v1Z would protect another tag."""
    said = say(text)
    assert "leave out" not in said.lower()
    assert "Write $ or \\z" in said


@pytest.mark.parametrize("text", ["^(?!latest$)", "(?<!-rc)$"])
def test_a_second_rule_is_never_said_to_take_tags_away(text: str) -> None:
    assert "A second rule cannot take tags away: rules only add." in say(text)


# Suggestions.


@given(text=TEXTS)
@example(text="*.*")
@example(text="{a,b},c d")
@example(text="^$^")
@example(text="[0\x1f]")
@settings(max_examples=300, deadline=None)
def test_a_suggestion_can_be_used_as_it_is(text: str) -> None:
    for suggestion in (suggest_correction(text), suggest_narrower(text)):
        if suggestion:
            assert suggestion != text
            assert len(suggestion) <= MAX_PATTERN_LENGTH
            assert describe_bad_pattern(suggestion) is None
            assert analyse(suggestion).reach is Reach.SOME_TAGS


@given(text=TEXTS.filter(bool))
@settings(max_examples=300, deadline=None)
def test_any_text_gets_words_or_none(text: str) -> None:
    assert not [advice for advice in advise(text) if not advice.message]
    assert describe_bad_pattern(text) != ""
