"""Which repositories a glob matches, and which texts are globs."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspaces.repository_globs import (
    MAX_GLOB_LENGTH,
    MAX_GLOBS_PER_TOKEN,
    describe_bad_glob,
    describe_bad_globs,
    is_covered,
    matches,
)


@pytest.mark.parametrize(
    ("glob", "name", "expected"),
    [
        ("api", "api", True),
        ("api", "api-web", False),
        ("api", "team/api", False),
        ("api-*", "api-web", True),
        ("api-*", "api-", True),
        ("api-*", "api", False),
        ("api-*", "my-api-web", False),
        ("api-*", "api-web/db", False),
        ("*-api", "web-api", True),
        ("*-api", "web-api-api", True),
        ("*-api", "team/web-api", False),
        ("*", "api", True),
        ("*", "team/api", False),
        ("*/*", "team/api", True),
        ("*/*", "team/api/db", False),
        ("**", "api", True),
        ("**", "team/api/db", True),
        ("team/**", "team/api", True),
        ("team/**", "team/api/db", True),
        ("team/**", "team", False),
        ("team/**", "teams/api", False),
        ("team/**/db", "team/api/db", True),
        ("team/**/db", "team/a/b/db", True),
        ("team/**/db", "team/db", False),
        ("**/db", "a/b/db", True),
        ("**db", "a/b-db", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a/b-c", False),
        # A dot stands for itself, and so do all others.
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
    ],
)
def test_a_glob_matches_all_of_a_name(glob: str, name: str, *, expected: bool) -> None:
    assert matches(glob, name) is expected


def to_pattern(glob: str) -> str:
    """Write a glob as a regular expression, for globs so short that backtracking takes no time."""
    parts = re.split(r"(\*\*?)", glob)
    return "".join({"*": "[^/]*", "**": ".*"}.get(part, re.escape(part)) for part in parts)


@given(
    st.text("ab/*", max_size=8).filter(lambda glob: "***" not in glob),
    st.text("ab/", max_size=10),
)
def test_a_glob_matches_what_its_regular_expression_does(glob: str, name: str) -> None:
    assert matches(glob, name) is (re.fullmatch(to_pattern(glob), name) is not None)


def test_no_glob_takes_long() -> None:
    """A regular expression that backtracks would never end."""
    assert not matches("*a" * 120 + "b", "a" * 250)
    assert not matches("**a" * 80 + "b", "a" * 250)


def test_one_of_several_globs_is_enough() -> None:
    assert is_covered(["web", "api-*"], "api-db")
    assert not is_covered(["web", "api-*"], "team/api-db")
    assert not is_covered([], "api")


@pytest.mark.parametrize(
    "glob", ["api", "api-*", "team/**", "*", "**", "a_b.c-d/e", "acme", "*/acme/x"]
)
def test_a_glob_is_a_name_with_stars(glob: str) -> None:
    assert describe_bad_glob("acme", glob) is None


@pytest.mark.parametrize(
    ("glob", "words"),
    [
        ("", '"" is not a repository'),
        ("API", '"API" is not a repository'),
        ("/api", '"/api" is not a repository'),
        ("api/", '"api/" is not a repository'),
        ("a//b", '"a//b" is not a repository'),
        ("api?", '"api?" is not a repository'),
        ("[ab]", '"[ab]" is not a repository'),
        ("a b", '"a b" is not a repository'),
        ("api\n", '"api\\n" is not a repository'),
        ("é", '"\\xe9" is not a repository'),
        ("a\0", '"a\\x00" is not a repository'),
        ("a***", "more than two stars in a row"),
        ("acme/api", 'Write the name within it: "api".'),
        ("acme/**", 'Write the name within it: "**".'),
        ("x" * (MAX_GLOB_LENGTH + 1), f"at most {MAX_GLOB_LENGTH} are allowed"),
    ],
    ids=ascii,
)
def test_what_is_no_glob_is_refused_with_the_reason(glob: str, words: str) -> None:
    assert words in (describe_bad_glob("acme", glob) or "")


def test_a_token_has_so_many_globs_at_most() -> None:
    assert describe_bad_globs("acme", ["api"] * MAX_GLOBS_PER_TOKEN) is None
    too_many = ["API"] * (MAX_GLOBS_PER_TOKEN + 1)
    assert describe_bad_globs("acme", too_many) == (
        f"There are {MAX_GLOBS_PER_TOKEN + 1} repositories; at most {MAX_GLOBS_PER_TOKEN} are "
        "allowed."
    )


def test_of_several_globs_the_first_bad_one_is_named() -> None:
    assert '"B"' in (describe_bad_globs("acme", ["a", "B", "C"]) or "")
