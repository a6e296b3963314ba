"""Signed notes, held against the example and the rules of https://c2sp.org/signed-note."""

import base64

import pytest

from workspaces.log.notes import (
    BadKeyError,
    BadNoteError,
    SigningKey,
    VerifierKey,
    make_signing_key,
    open_note,
    parse_signing_key,
    parse_verifier_key,
)

# The specification's own example.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n"
    "\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRK"
    "uwHjG1Yu72IneyaQM=\n"
)
KEY = SigningKey("tags.example.org", bytes(range(32)))
TEXT = "one\n\ntwo – ü\n"
NOTE = KEY.sign(TEXT)


def read(note: str, *keys: VerifierKey) -> str:
    return open_note(note, list(keys or (KEY.verifier,)))


def refuse(note: str, *keys: VerifierKey) -> str:
    with pytest.raises(BadNoteError) as caught:
        read(note, *keys)
    return str(caught.value)


def test_the_example_of_the_specification_is_read() -> None:
    key = parse_verifier_key(EXAMPLE_KEY)
    assert str(key) == EXAMPLE_KEY
    assert read(EXAMPLE, key) == "This is an example message.\n"
    assert "is false" in refuse(EXAMPLE.replace("an example", "no example"), key)


def test_what_was_signed_is_read() -> None:
    assert read(NOTE) == TEXT


def test_the_parts_of_a_note_are_where_the_specification_wants_them() -> None:
    assert NOTE.startswith(f"{TEXT}\n— tags.example.org ")
    signed = base64.b64decode(NOTE.split(" ")[-1])
    assert signed[:4] == KEY.verifier.key_id
    assert len(signed) == 4 + 64


def test_signatures_of_strangers_are_passed_over() -> None:
    stranger = make_signing_key("witness.example.net").sign(TEXT).rpartition("\n\n")[2]
    assert read(NOTE + stranger) == TEXT
    other = make_signing_key(KEY.name)
    assert read(NOTE, other.verifier, KEY.verifier) == TEXT
    assert refuse(NOTE, other.verifier) == "no known key has signed it"


def test_one_false_signature_of_a_known_key_spoils_the_note() -> None:
    second = make_signing_key("second.example.org")
    false = second.sign("another text\n").rpartition("\n\n")[2]
    assert "is false" in refuse(NOTE + false, KEY.verifier, second.verifier)


def swap(note: str, old: str, new: str) -> str:
    assert old in note
    return note.replace(old, new, 1)


@pytest.mark.parametrize(
    "altered",
    [
        swap(NOTE, "one", "ONE"),
        swap(NOTE, "\n\ntwo", "\ntwo"),
        "\n" + NOTE,
        swap(NOTE, "two – ü\n", "two – ü\n\n"),
        swap(NOTE, "ü", "u\u0308"),
        NOTE.removesuffix("\n"),
        NOTE + "\n",
        swap(NOTE, "\n\n—", "\n—"),
        swap(NOTE, "— ", "- "),
        swap(NOTE, "— ", "—  "),
        swap(NOTE, "\n", "\r\n"),
        swap(NOTE, "one", "one\x00"),
        swap(NOTE, "one", "one\t"),
        swap(NOTE, "one", "one\ud800"),
        swap(NOTE, "tags.example.org", "tags.example.net"),
        NOTE[:-3] + NOTE[-2:],
        NOTE[:-2] + "\n",
        TEXT,
        "",
        "\n",
        NOTE.rpartition("\n\n")[2],
        NOTE + NOTE.rpartition("\n\n")[2] * 16,
    ],
    ids=ascii,
)
def test_an_altered_note_is_refused(altered: str) -> None:
    assert "\n" not in refuse(altered)


def test_every_single_bit_of_a_signature_counts() -> None:
    head, _, last = NOTE.rpartition(" ")
    signed = base64.b64decode(last)
    for index in range(len(signed)):
        changed = bytearray(signed)
        changed[index] ^= 1
        refuse(f"{head} {base64.b64encode(changed).decode()}\n")


@pytest.mark.parametrize("text", ["no newline", "bell\x07\n", "", "half\ud800\n"], ids=ascii)
def test_what_is_no_plain_text_is_not_signed(text: str) -> None:
    with pytest.raises(BadNoteError):
        KEY.sign(text)


def test_keys_are_read_as_they_were_written() -> None:
    assert parse_signing_key(KEY.to_text()) == KEY
    assert parse_verifier_key(str(KEY.verifier)) == KEY.verifier
    assert parse_verifier_key(f" {KEY.verifier}\n") == KEY.verifier


def test_a_key_never_shows_itself() -> None:
    assert repr(KEY) == "SigningKey('tags.example.org')"
    assert KEY.to_text().rpartition("+")[2] not in str(KEY.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tags.example.org",
        EXAMPLE_KEY.replace("foo", "bar"),
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530d903z"),
        EXAMPLE_KEY.replace("+Ae", "+Be"),
        EXAMPLE_KEY.replace("U2k", "U2l"),
        EXAMPLE_KEY[:-4],
        EXAMPLE_KEY.replace("example.com/foo", ""),
        EXAMPLE_KEY.replace("example.com/foo", "a b"),
        KEY.to_text(),
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(BadKeyError):
        parse_verifier_key(text)


@pytest.mark.parametrize(
    "text", ["", str(KEY.verifier), KEY.to_text()[:-2], KEY.to_text().replace("tags", "tacs")]
)
def test_what_is_no_signing_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(BadKeyError) as caught:
        parse_signing_key(text)
    assert KEY.to_text().rpartition("+")[2][:20] not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb"], ids=ascii)
def test_a_name_that_signatures_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(BadKeyError):
        make_signing_key(name)
