"""What a client asks for, as it is written."""

import pytest

from containers.names import RepositoryName
from containers.tokens.grants import MAX_SCOPES, TooManyScopesError, parse_scopes

EVERYTHING = frozenset({"pull", "push", "delete"})


def parse(*texts: str) -> dict[str, frozenset[str]]:
    return {repository.name: actions for repository, actions in parse_scopes(texts).items()}


def test_a_scope_names_a_repository_and_its_actions() -> None:
    assert parse_scopes(["repository:acme/api:pull,push"]) == {
        RepositoryName("acme/api"): frozenset({"pull", "push"})
    }


@pytest.mark.parametrize(
    "texts",
    [
        ["repository:acme/api:pull", "repository:acme/web:push"],
        ["repository:acme/api:pull repository:acme/web:push"],
        ["repository:acme/api:pull  repository:acme/web:push "],
    ],
)
def test_scopes_come_repeated_or_with_spaces_between(texts: list[str]) -> None:
    assert parse(*texts) == {"acme/api": {"pull"}, "acme/web": {"push"}}


def test_scopes_of_the_same_repository_add_up() -> None:
    assert parse("repository:acme/api:pull", "repository:acme/api:push") == {
        "acme/api": {"pull", "push"}
    }


def test_a_star_is_every_action() -> None:
    assert parse("repository:acme/api:*") == {"acme/api": EVERYTHING}


def test_unknown_actions_are_left_out() -> None:
    assert parse("repository:acme/api:pull,admin,") == {"acme/api": {"pull"}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "repository",
        "repository:",
        "repository:acme/api",
        "registry:catalog:*",
        "repository(plugin):acme/api:pull",
        "Repository:acme/api:pull",
        "repository:Acme/API:pull",
        "repository:acme/../globex/api:pull",
        "repository:acme/api/:pull",
        "repository:example.org:5000/acme/api:pull",
        "repository:acme/\x00api:pull",
        "repository:" + 300 * "a" + ":pull",
        "repository:acme/api\n:pull",
    ],
)
def test_what_names_no_repository_of_ours_is_left_out(text: str) -> None:
    assert parse(text) == {}


def test_a_client_may_ask_for_much_and_not_for_everything() -> None:
    most = [f"repository:acme/r{number}:pull" for number in range(MAX_SCOPES)]
    assert len(parse(*most)) == MAX_SCOPES
    with pytest.raises(TooManyScopesError, match="100 or fewer scopes"):
        parse(*most, "repository:acme/more:pull")
