"""What the provider says of people, however odd."""

from typing import Any

import pytest

from workspaces.models import User
from workspaces.single_sign_on.claims import BadClaimsError, Person, read_person


def read(claims: dict[str, Any], groups_claim: str = "groups") -> Person:
    return read_person(
        {"sub": "1", **claims}, username_claim="preferred_username", groups_claim=groups_claim
    )


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("dana", "dana"),
        ("Dana.Smith@Example.ORG", "dana.smith@example.org"),
        ("Zoë Müller", "zoe-muller"),
        ("EXAMPLE\\dana", "example-dana"),
        ("--dana--", "dana"),
        ("a" * 1_000_000, "a" * 60),
        ("acme+ci", "acme-ci"),
        ("日本", "user-"),
        ("", "user-"),
        (7, "user-"),
        (["dana"], "user-"),
        ({"a": 1}, "user-"),
        (None, "user-"),
    ],
)
def test_a_user_name_is_made_of_what_the_provider_says(said: Any, name: str) -> None:
    found = read({"preferred_username": said}).suggested_name
    assert found.startswith(name)
    User(username=found).clean_fields(exclude=["password"])
    assert name != "user-" or len(found) == 17


def test_an_address_is_used_where_there_is_no_name() -> None:
    assert read({"email": "dana@example.org"}).suggested_name == "dana@example.org"


def test_groups_are_read_from_a_claim_or_a_path_into_claims() -> None:
    assert read({"groups": ["a", "/b/c", ""]}).groups == frozenset({"a", "/b/c"})
    assert read({"groups": "a"}).groups == frozenset({"a"})
    assert read({}).groups == read({"groups": []}).groups == frozenset()
    nested = {"realm_access": {"roles": ["a"]}}
    assert read(nested, "realm_access.roles").groups == frozenset({"a"})
    assert read({"realm_access": "a"}, "realm_access.roles").groups == frozenset()
    # A claim whose own name has dots comes first.
    assert read(
        {"https://example.org/groups": ["a"]}, "https://example.org/groups"
    ).groups == frozenset({"a"})


def test_groups_that_are_left_out_are_not_none() -> None:
    assert read({"_claim_names": {"groups": "src1"}}).groups is None
    assert read({"hasgroups": True}).groups is None


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": 7},
        {"sub": ""},
        {"sub": "a" * 256},
        {"sub": "a\nb"},
        {"sub": None},
        {"groups": 7},
        {"groups": {"a": 1}},
        {"groups": ["a", 7]},
        {"groups": ["a"] * 2001},
    ],
)
def test_claims_that_cannot_be_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(BadClaimsError):
        read(claims)


def test_a_group_that_no_row_can_name_gives_nothing() -> None:
    assert read({"groups": ["a" * 256, "a\0", "b"]}).groups == frozenset({"b"})
