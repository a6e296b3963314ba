"""Finding repositories: order, paging, filters, last pushes, and nobody else's."""

from collections.abc import Callable
from typing import Any

import pytest

from containers.models import Push
from containers.models import Repository as KnownRepository
from containers.names import RepositoryName
from containers.repositories import (
    RepositoryPage,
    RepositoryQuery,
    find_repositories,
    find_repository,
)
from tests.immutability.making import land
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

EVERYTHING = RepositoryQuery()


def make(workspace: Workspace, *names: str, is_public: bool = False) -> None:
    KnownRepository.objects.bulk_create(
        KnownRepository(workspace=workspace, name=f"{workspace.slug}/{name}", is_public=is_public)
        for name in names
    )


def push(workspace: Workspace, name: str, tag: str = "v1") -> Push:
    return land(workspace, tag=tag, repository=f"{workspace.slug}/{name}")


def names_of(page: RepositoryPage) -> list[str]:
    return [each.name for each in page.repositories]


def test_repositories_come_by_name_and_page_by_page(acme: Workspace) -> None:
    make(acme, "d", "b", "e", "a", "c")
    first = find_repositories(acme, EVERYTHING, limit=2)
    assert (names_of(first), first.next_after) == (["acme/a", "acme/b"], "acme/b")
    second = find_repositories(acme, EVERYTHING, after=first.next_after, limit=2)
    assert (names_of(second), second.next_after) == (["acme/c", "acme/d"], "acme/d")
    third = find_repositories(acme, EVERYTHING, after=second.next_after, limit=2)
    assert (names_of(third), third.next_after) == (["acme/e"], "")


def test_a_page_that_is_just_full_is_the_last(acme: Workspace) -> None:
    make(acme, "a", "b")
    assert find_repositories(acme, EVERYTHING, limit=2).next_after == ""


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (RepositoryQuery("API"), ["acme/api", "acme/api-2"]),
        (RepositoryQuery("acme/w"), ["acme/web"]),
        (RepositoryQuery("%"), []),
        (RepositoryQuery("_"), []),
        (RepositoryQuery(is_public=True), ["acme/web"]),
        (RepositoryQuery(is_public=False), ["acme/api", "acme/api-2"]),
        (RepositoryQuery("api", is_public=True), []),
    ],
)
def test_filters_narrow_the_list(acme: Workspace, query: RepositoryQuery, found: list[str]) -> None:
    make(acme, "api", "api-2")
    make(acme, "web", is_public=True)
    assert names_of(find_repositories(acme, query)) == found


def test_each_repository_says_when_it_was_last_pushed_to(acme: Workspace) -> None:
    make(acme, "a", "b", "c")
    push(acme, "a", "z")
    last_of_a = push(acme, "a", "b")
    last_of_b = push(acme, "b")
    page = find_repositories(acme, EVERYTHING)
    assert {each.name: each.last_pushed_at for each in page.repositories} == {
        "acme/a": last_of_a.at,
        "acme/b": last_of_b.at,
        "acme/c": None,
    }


def test_a_page_is_two_queries_however_long(
    acme: Workspace, django_assert_num_queries: Callable[..., Any]
) -> None:
    make(acme, *(f"n{number}" for number in range(40)))
    for number in range(40):
        push(acme, f"n{number}")
    with django_assert_num_queries(2):
        assert len(find_repositories(acme, EVERYTHING).repositories) == 40


def test_one_repository_is_found_by_its_full_name(acme: Workspace) -> None:
    make(acme, "api", is_public=True)
    last = push(acme, "api")
    found = find_repository(acme, RepositoryName("acme/api"))
    assert found
    assert (found.name, found.is_public, found.last_pushed_at) == ("acme/api", True, last.at)
    assert find_repository(acme, RepositoryName("acme/ap")) is None
    assert find_repository(acme, RepositoryName("acme/api/x")) is None


def test_those_of_another_workspace_are_never_found(acme: Workspace, globex: Workspace) -> None:
    make(globex, "api")
    assert find_repository(acme, RepositoryName("globex/api")) is None
    assert find_repository(globex, RepositoryName("globex/api")) is not None


def test_the_pushes_of_another_workspace_do_not_count(acme: Workspace, globex: Workspace) -> None:
    make(acme, "api")
    push(globex, "api")
    assert [each.last_pushed_at for each in find_repositories(acme, EVERYTHING).repositories] == [
        None
    ]
