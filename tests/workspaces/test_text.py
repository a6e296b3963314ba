"""Which characters nobody may hand in."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspaces.text import describe_bad_character, find_bad_character


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Release versions",
        "Ünïcödé, 日本語, العربية and עברית",
        "emoji 👩‍🚀",
        "non-breaking\u00a0space",
        "'quotes' \"and\" <tags> & $(shell) {braces} %s \\",
    ],
)
def test_plain_text_is_accepted(text: str) -> None:
    assert find_bad_character(text) is None
    assert describe_bad_character(text) is None


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\0", "U+0000"),
        ("\t", "U+0009"),
        ("\n", "U+000A"),
        ("\r", "U+000D"),
        ("\x1b", "U+001B"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
        ("\x9f", "U+009F"),
        ("\u2028", "U+2028"),
        ("\u2029", "U+2029"),
        ("\ud800", "U+D800"),
        ("\udfff", "U+DFFF"),
    ],
)
def test_control_characters_and_lone_surrogates_are_found(character: str, name: str) -> None:
    for text in (character, f"v1{character}", f"{character}v1", f"v{character}1"):
        assert find_bad_character(text) == name


# The characters with the property Bidi_Control (Unicode, PropList.txt).
@pytest.mark.parametrize(
    "code",
    [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    ids="U+{:04X}".format,
)
def test_marks_that_turn_the_reading_direction_are_found(code: int) -> None:
    assert find_bad_character(f"v1{chr(code)}gpj") == f"U+{code:04X}"


def test_the_first_bad_character_is_named() -> None:
    assert find_bad_character("a\tb\n") == "U+0009"


def test_what_a_person_reads() -> None:
    assert describe_bad_character("a\nb") == (
        "Remove the character U+000A: control characters are not accepted."
    )


@given(text=st.text(st.characters(categories=None)))
def test_what_is_accepted_can_be_stored_and_stands_on_one_line(text: str) -> None:
    if find_bad_character(text) is None:
        assert text.encode().decode() == text
        assert "\0" not in text
        assert len(text.splitlines()) <= 1
        assert not [each for each in text if unicodedata.category(each) == "Cc"]
