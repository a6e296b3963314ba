"""Repositories over the API: list, one, and who may pull."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from containers.models import Push
from containers.models import Repository as KnownRepository
from tests.immutability.making import land
from tests.problems import nothing_written, read_problem
from tests.public import find_public
from workspaces.access import Scope
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

LIST = "/api/v1/workspaces/acme/repositories"


@pytest.fixture
def admin(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    """A program with a token of the scope admin."""
    return api_as(acme, Scope.ADMIN)


@pytest.fixture
def auditor(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    """A program with a token of the scope audit."""
    return api_as(acme, Scope.AUDIT)


def make(workspace: Workspace, *names: str, is_public: bool = False) -> None:
    for name in names:
        KnownRepository.objects.create(workspace=workspace, name=name, is_public=is_public)


def put(client: APIClient, name: str, body: Any) -> Any:
    return client.put(f"{LIST}/{name}", body, format="json")


# The list.


def test_the_list_has_every_repository_by_name(acme: Workspace, auditor: APIClient) -> None:
    make(acme, "acme/web", is_public=True)
    make(acme, "acme/api")
    land(acme)
    response = auditor.get(LIST)
    assert response.status_code == 200
    created = dict(KnownRepository.objects.values_list("name", "created_at"))

    def write(time: Any) -> str:
        return str(time.isoformat().replace("+00:00", "Z"))

    assert response.json() == {
        "results": [
            {
                "name": "acme/api",
                "is_public": False,
                "created_at": write(created["acme/api"]),
                "last_pushed_at": write(Push.objects.get().at),
            },
            {
                "name": "acme/web",
                "is_public": True,
                "created_at": write(created["acme/web"]),
                "last_pushed_at": None,
            },
        ],
        "next": None,
    }


def test_pages_follow_each_other_by_the_address_of_the_next(
    acme: Workspace, auditor: APIClient
) -> None:
    make(acme, *(f"acme/x{number}" for number in range(5)), "acme/other")
    address, pages = f"{LIST}?q=x&limit=2", []
    while address:
        answer = auditor.get(address).json()
        pages.append([each["name"] for each in answer["results"]])
        assert answer["next"] is None or answer["next"].startswith(settings.PUBLIC_URL)
        address = (answer["next"] or "").removeprefix(settings.PUBLIC_URL)
    assert pages == [["acme/x0", "acme/x1"], ["acme/x2", "acme/x3"], ["acme/x4"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=AP", ["acme/api"]),
        ("is_public=true", ["acme/web"]),
        ("is_public=false", ["acme/api"]),
        ("after=acme/api", ["acme/web"]),
        ("after=acme/web", []),
    ],
)
def test_the_list_can_be_filtered(
    acme: Workspace, auditor: APIClient, query: str, found: list[str]
) -> None:
    make(acme, "acme/api")
    make(acme, "acme/web", is_public=True)
    assert [each["name"] for each in auditor.get(f"{LIST}?{query}").json()["results"]] == found


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "is_public=perhaps", "public=true", f"q={'x' * 256}"]
)
def test_a_query_that_makes_no_sense_is_refused(
    acme: Workspace, auditor: APIClient, query: str
) -> None:
    read_problem(auditor.get(f"{LIST}?{query}"), 400, "invalid")


def test_the_list_is_of_one_workspace(
    acme: Workspace, globex: Workspace, auditor: APIClient
) -> None:
    make(globex, "globex/api")
    assert auditor.get(LIST).json()["results"] == []


# One.


def test_one_repository_is_found_by_its_full_name(acme: Workspace, auditor: APIClient) -> None:
    make(acme, "acme/team/api", is_public=True)
    answer = auditor.get(f"{LIST}/acme/team/api").json()
    assert (answer["name"], answer["is_public"]) == ("acme/team/api", True)
    assert answer == auditor.get(LIST).json()["results"][0]


def test_an_admin_makes_a_repository_public_and_private_again(
    acme: Workspace, admin: APIClient
) -> None:
    make(acme, "acme/api")
    response = put(admin, "acme/api", {"is_public": True})
    assert (response.status_code, response.json()["is_public"]) == (200, True)
    assert find_public(["acme/api"]) == {"acme/api"}
    response = put(admin, "acme/api", {"is_public": False})
    assert (response.status_code, response.json()["is_public"]) == (200, False)
    assert find_public(["acme/api"]) == set()
    events = LockEvent.objects.filter(repository="acme/api").order_by("id")
    assert [(each.kind, each.actor, each.actor_kind) for each in events] == [
        ("repository.published", "token admin", "token"),
        ("repository.closed", "token admin", "token"),
    ]


def test_saying_the_same_again_changes_nothing(acme: Workspace, admin: APIClient) -> None:
    first = put(admin, "acme/api", {"is_public": True})
    with nothing_written():
        second = put(admin, "acme/api", {"is_public": True})
    assert (second.status_code, second.json()) == (200, first.json())


def test_a_name_can_be_made_public_before_its_first_push(acme: Workspace, admin: APIClient) -> None:
    answer = put(admin, "acme/new", {"is_public": True}).json()
    assert (answer["name"], answer["is_public"], answer["last_pushed_at"]) == (
        "acme/new",
        True,
        None,
    )
    assert admin.get(f"{LIST}/acme/new").json() == answer


def test_what_nobody_knows_cannot_be_closed(acme: Workspace, admin: APIClient) -> None:
    """A misspelt name must not look like success to who wants a repository closed."""
    with nothing_written():
        response = put(admin, "acme/apii", {"is_public": False})
    assert "acme/apii" in read_problem(response, 404, "not_found")["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"is_public": None},
        {"is_public": "true"},
        {"is_public": "no"},
        {"is_public": 1},
        {"is_public": 0},
        {"is_public": [True]},
        {"public": True},
        {"is_public": True, "is_pubic": False},
        {"is_public": True, "name": "acme/api"},
        [True],
        True,
    ],
    ids=json.dumps,
)
def test_only_true_and_false_say_who_may_pull(acme: Workspace, admin: APIClient, body: Any) -> None:
    make(acme, "acme/api")
    with nothing_written():
        read_problem(put(admin, "acme/api", body), 400, "invalid")


@pytest.mark.parametrize("body", [{"is_public": True}, {"is_public": False}])
@pytest.mark.parametrize("name", ["globex/api", "globex/nowhere", "acme2/api", "initech/api"])
def test_the_repository_of_another_workspace_is_unknown(
    acme: Workspace, globex: Workspace, admin: APIClient, name: str, body: Any
) -> None:
    make(globex, "globex/api", is_public=True)
    with nothing_written():
        read_problem(admin.get(f"{LIST}/{name}"), 404, "not_found")
        read_problem(put(admin, name, body), 404, "not_found")


def test_a_row_of_another_workspace_shows_nothing_and_opens_nothing(
    acme: Workspace, globex: Workspace, admin: APIClient
) -> None:
    make(globex, "acme/api", is_public=True)
    read_problem(admin.get(f"{LIST}/acme/api"), 404, "not_found")
    assert admin.get(LIST).json()["results"] == []
    assert find_public(["acme/api"]) == set()


@pytest.mark.parametrize(
    "name",
    ["api", "globex", "acme/Api", "acme//api", "acme/api/", "/acme/api", "acme/%00", "acme/é"],
)
def test_what_is_no_name_is_not_found(acme: Workspace, admin: APIClient, name: str) -> None:
    with nothing_written():
        read_problem(admin.get(f"{LIST}/{name}"), 404, "not_found")
        read_problem(put(admin, name, {"is_public": True}), 404, "not_found")


def test_who_may_not_is_told_who_may(acme: Workspace, auditor: APIClient) -> None:
    make(acme, "acme/api")
    with nothing_written():
        response = put(auditor, "acme/api", {"is_public": True})
    assert "Only admins" in read_problem(response, 403, "forbidden")["detail"]
