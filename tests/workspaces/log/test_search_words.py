"""What people paste into the log's search box: a table."""

import pytest

from workspaces.log.search import Word, parse_search

DIGEST = "sha256:" + "f96d8734" * 8
SHORT = "f96d8734be6b"
REF = "HWHWNFX18GT9"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", []),
        ("  ", []),
        ("bob", [Word("bob")]),
        ("Release versions", [Word("Release"), Word("versions")]),
        ("acme/api:v1.2.0", [Word("acme/api:v1.2.0")]),
        ("api:v1.2", [Word("api:v1.2")]),
        ('"v1.2.0"', [Word("v1.2.0")]),
        ("acme/api:v1.2.0,", [Word("acme/api:v1.2.0")]),
        ("127.0.0.1:8000/acme/api:v1.2.0", [Word("acme/api:v1.2.0")]),
        ("docker://registry.example/acme/api:v1", [Word("acme/api:v1")]),
        (f"acme/api@{DIGEST}", [Word("acme/api"), Word(digest=DIGEST)]),
        (
            f"registry.example/acme/api:v1@{DIGEST}",
            [Word("acme/api:v1"), Word(digest=DIGEST)],
        ),
        (DIGEST, [Word(digest=DIGEST)]),
        (DIGEST.upper(), [Word(digest=DIGEST)]),
        (f"sha256:{SHORT}…", [Word(digest=f"sha256:{SHORT}")]),
        ("f96d8734be", [Word("f96d8734be", "sha256:f96d8734be")]),
        (SHORT, [Word(SHORT, f"sha256:{SHORT}", SHORT.upper())]),
        ("f96d8", [Word("f96d8")]),
        (REF, [Word(REF, ref=REF)]),
        (REF.lower(), [Word(REF.lower(), ref=REF)]),
        (f"http://127.0.0.1:8000/acme/lock-log/{REF}", [Word(ref=REF)]),
        (f"http://127.0.0.1:8000/acme/lock-log/{REF}/", [Word(ref=REF)]),
        ("bob bob", [Word("bob")]),
        ("50%", [Word("50%")]),
        ("bob v1.2", [Word("bob"), Word("v1.2")]),
        ('tag "v1.2.0" of acme/api cannot be overwritten', [Word("acme/api:v1.2.0")]),
        (f"Ask an admin of acme. http://127.0.0.1/acme/lock-log/{REF}", [Word(ref=REF)]),
    ],
)
def test_what_is_typed_becomes_words(typed: str, words: list[Word]) -> None:
    assert list(parse_search(typed, "acme")) == words
