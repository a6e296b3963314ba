"""What registries answer 401 with, read part by part."""

import pytest

from containers.registry.challenges import (
    MAX_CHALLENGES_LENGTH,
    Challenge,
    add_actions,
    find_challenge,
    parse_challenges,
)

REALM = "https://auth.example.org/token"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            f'Bearer realm="{REALM}",service="registry",scope="repository:a/b:pull,push"',
            Challenge(
                "bearer",
                {"realm": REALM, "service": "registry", "scope": "repository:a/b:pull,push"},
            ),
        ),
        (
            f'bearer  Realm = "{REALM}" , service=r',
            Challenge("bearer", {"realm": REALM, "service": "r"}),
        ),
        ('Basic realm="a, b=\\"c\\""', Challenge("basic", {"realm": 'a, b="c"'})),
        ("Basic", Challenge("basic")),
        # Several, of which one is known; and of two that are known, the one without a password.
        ('Negotiate, Basic realm="x"', Challenge("basic", {"realm": "x"})),
        (f'Basic realm="x", Bearer realm="{REALM}"', Challenge("bearer", {"realm": REALM})),
        # The first of two names of one kind counts.
        ('Basic realm="x",realm="y", Basic realm="z"', Challenge("basic", {"realm": "x"})),
        ("Negotiate abc==", None),
        ("", None),
        ('="x"', None),
        ('"Basic"', None),
        ("Basic " + MAX_CHALLENGES_LENGTH * "a", None),
    ],
)
def test_the_challenge_to_answer_is_found(header: str, found: Challenge | None) -> None:
    assert find_challenge(header) == found


def test_what_cannot_be_read_ends_the_reading() -> None:
    assert parse_challenges('Basic realm="x" "y" Bearer realm="z"') == [
        Challenge("basic", {"realm": "x"})
    ]


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        ("repository:acme/api:delete", "repository:acme/api:delete,pull"),
        ("repository:acme/api:pull,delete", "repository:acme/api:pull,delete"),
        ("registry:x:* repository:acme/api:*", "registry:x:* repository:acme/api:*,pull,delete"),
        ("repository:acme/api2:delete", "repository:acme/api2:delete"),
        ("repository:acme/api:", "repository:acme/api:"),
        ("", ""),
    ],
)
def test_a_challenge_can_ask_for_more_of_one_repository(scope: str, asked: str) -> None:
    header = f'Bearer realm="https://auth.example/token",service="r",scope="{scope}"'
    expected = header.replace(f'"{scope}"', f'"{asked}"')
    assert add_actions(header, "acme/api", "pull", "delete") == expected
    assert add_actions('Basic realm="r"', "acme/api", "pull") == 'Basic realm="r"'
