"""The one text that an event has, and its hash. What is written here can be computed elsewhere."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from workspaces.log.canonical import (
    FIRST_PREVIOUS_HASH,
    MAX_INTEGER,
    NotCanonicalError,
    canonical_json,
    format_time,
    hash_document,
    hash_origin,
    to_document,
)
from workspaces.log.models import LockEvent

AT = datetime(2026, 3, 12, 14, 2, 33, 120, tzinfo=UTC)

KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=20),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(KEYS, each, max_size=4),
    max_leaves=20,
)


def event(**fields: Any) -> LockEvent:
    return LockEvent(
        **{
            "ref": "7F3K2QX9M4TB",
            "at": AT,
            "workspace": "acme",
            "kind": "tag.locked",
            "repository": "acme/api",
            "tag": "v1.2.0",
            "digest": "sha256:" + "a" * 64,
            "actor": "dana",
            "actor_kind": "token",
            "rule_name": "Ausgaben €",
            "rule_pattern": r'^v\d+"$',
            "settings_version": 3,
            "reason": "",
            "details": {"b": [1, None, True], "a": "\t\x7f\u2028😀/"},
            "origin_hash": "",
            **fields,
        }
    )


@given(VALUES)
def test_the_text_is_that_of_rfc_8785_and_says_what_was_written(value: Any) -> None:
    text = canonical_json(value)
    assert text.encode() == rfc8785.dumps(value)
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (0.5, "the value is of type float"),
        ({"a": {"b": [0, 1.0]}}, "a.b[1] is of type float"),
        ({"a": float("nan")}, "a is of type float"),
        ({"a": 2**53}, "a is an integer beyond 2^53"),
        ([-(2**53)], "[0] is an integer beyond 2^53"),
        ({"ä": 1}, "the value has a key that is no ASCII text"),
        ({"a": {1: 1}}, "a has a key that is no ASCII text"),
        ({"a": ["\ud800"]}, "a[0] has half of a surrogate pair"),
        ({"a": b""}, "a is of type bytes"),
        ({"a": AT}, "a is of type datetime"),
    ],
    ids=ascii,
)
def test_what_two_readers_may_understand_differently_is_refused(value: Any, place: str) -> None:
    with pytest.raises(NotCanonicalError) as caught:
        canonical_json(value)
    assert str(caught.value) == place


@pytest.mark.parametrize("value", [MAX_INTEGER, -MAX_INTEGER, 0, "", "\ue000", [], {}, None, True])
def test_what_is_at_the_limits_is_taken(value: Any) -> None:
    assert canonical_json(value).encode() == rfc8785.dumps(value)


def test_a_document_has_every_field_but_the_row_id() -> None:
    fields = {field.name for field in LockEvent._meta.concrete_fields}
    assert set(to_document(event(), 1)) == fields - {"id"} | {"sequence"}


def test_a_known_event_has_the_known_text_and_hash() -> None:
    """What the site has sealed once has to have the same hash for ever."""
    document = to_document(event(), 1)
    assert canonical_json(document) == (
        '{"actor":"dana","actor_kind":"token","at":"2026-03-12T14:02:33.000120Z",'
        '"details":{"a":"\\t\x7f\u2028😀/","b":[1,null,true]},"digest":"sha256:'
        + "a"
        * 64
        + '","kind":"tag.locked","origin_hash":"","other_digest":"","reason":"",'
        '"ref":"7F3K2QX9M4TB","repository":"acme/api","rule_name":"Ausgaben €",'
        '"rule_pattern":"^v\\\\d+\\"$","sequence":1,"settings_version":3,"tag":"v1.2.0",'
        '"workspace":"acme"}'
    )
    first = hash_document(FIRST_PREVIOUS_HASH, document)
    assert first == "ed2648627bc80c9803eafdb891c5d8438c2ac08cb4f9feac37d9888d47864ee7"
    assert (
        hash_document(first, to_document(event(settings_version=None), 2))
        == "f2a180c3efca04d82571cec1af28de0491ee08583ae07c937b263fb31ba281d6"
    )


def test_the_hash_depends_on_the_place_and_on_what_is_before() -> None:
    hashes = {
        hash_document(previous, to_document(event(), sequence))
        for previous in (FIRST_PREVIOUS_HASH, "1" * 64)
        for sequence in (1, 2)
    }
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (AT, "2026-03-12T14:02:33.000120Z"),
        (AT.astimezone(timezone(timedelta(hours=2))), "2026-03-12T14:02:33.000120Z"),
        (AT.replace(microsecond=0), "2026-03-12T14:02:33.000000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_times_are_in_utc_with_six_digits(moment: datetime, text: str) -> None:
    assert format_time(moment) == text


def test_an_origin_without_anything_has_no_hash() -> None:
    assert hash_origin("salt", "", "") == ""
    assert len(hash_origin("salt", "203.0.113.7", "")) == 64
    assert hash_origin("salt", "a", "b") != hash_origin("salt", "ab", "")
