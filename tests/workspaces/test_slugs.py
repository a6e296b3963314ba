"""What can name a workspace."""

from collections.abc import Iterator

import pytest
from django.core.exceptions import ValidationError
from django.urls import URLPattern, URLResolver, get_resolver
from hypothesis import given
from hypothesis import strategies as st

from containers.names import InvalidReferenceError, parse_repository
from containers.prefixes import create_workspace
from workspaces.access import SYSTEM
from workspaces.models import Workspace
from workspaces.slugs import MAX_SLUG_LENGTH, RESERVED_SLUGS, describe_bad_slug
from workspaces.text import quote


@pytest.mark.parametrize(
    "slug", ["acme", "a", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "a1.b2_c3-d4", "a" * 63]
)
def test_what_can_be_a_slug(slug: str) -> None:
    assert describe_bad_slug(slug) is None


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "Acme",
        "acme/api",
        "acme ",
        " acme",
        "acme\n",
        ".acme",
        "acme.",
        "-acme",
        "acme-",
        "_acme",
        "a..b",
        "a___b",
        "a._b",
        "a b",
        "a:b",
        "a@b",
        "é",
        "a\u0663",
        "a\u212a",
        "a\0",
    ],
)
def test_what_cannot_be_a_slug(slug: str) -> None:
    assert describe_bad_slug(slug) == (
        f"{quote(slug)} cannot be a slug: use lower-case letters and digits, separated by single "
        "dots, underscores or hyphens."
    )


def test_a_slug_is_no_longer_than_a_label_of_a_host_name() -> None:
    assert MAX_SLUG_LENGTH == 63
    assert describe_bad_slug("a" * 64) == "A workspace's slug has at most 63 characters."


@pytest.mark.parametrize(
    "slug", ["api", "auth", "v2", "static", "accounts", "admin", "healthz", "readyz", "metrics"]
)
def test_names_that_addresses_need_are_reserved(slug: str) -> None:
    assert describe_bad_slug(slug) == f'"{slug}" is reserved; choose another slug.'


def first_components(patterns: list[URLPattern | URLResolver], before: str = "") -> Iterator[str]:
    """Return the first component of every address that is not a workspace's."""
    for each in patterns:
        route = before + str(each.pattern)
        if "/" not in route and isinstance(each, URLResolver):
            yield from first_components(each.url_patterns, route)
        elif not route.startswith("<"):
            yield route.split("/")[0]


def test_every_address_of_the_site_is_reserved() -> None:
    """A workspace of that name would have pages that nobody can reach."""
    taken = set(first_components(get_resolver().url_patterns)) - {""}
    assert taken
    assert taken <= RESERVED_SLUGS


@given(slug=st.text(st.characters(categories=None), max_size=80))
def test_a_slug_begins_the_name_of_a_repository(slug: str) -> None:
    try:
        is_component = parse_repository(f"{slug}/x").first_part == slug
    except InvalidReferenceError:
        is_component = False
    is_accepted = describe_bad_slug(slug) is None
    assert is_accepted == (is_component and len(slug) <= 63 and slug not in RESERVED_SLUGS)


@pytest.mark.parametrize("slug", ["", "Acme", "api", "a" * 64, "acme\n"])
def test_a_workspace_with_a_bad_slug_is_not_created(db: None, slug: str) -> None:
    with pytest.raises(ValidationError):
        create_workspace(slug, "Acme", actor=SYSTEM)
    assert not Workspace.objects.exists()


def test_a_slug_is_taken_once(acme: Workspace) -> None:
    with pytest.raises(ValidationError):
        create_workspace("acme", "Another", actor=SYSTEM)
    assert Workspace.objects.get().name == "Acme"
