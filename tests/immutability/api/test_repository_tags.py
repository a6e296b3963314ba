"""The tags of a repository over the API."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.utils import timezone
from rest_framework.test import APIClient

from containers.models import Repository
from containers.models import Tag as TagRecord
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.making import land, make_lock
from tests.problems import read_problem
from workspaces.access import Scope
from workspaces.models import Workspace

URL = "/api/v1/workspaces/acme/repositories/acme/api/tags"


@pytest.fixture
def auditor(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    return api_as(acme, Scope.AUDIT)


def show(workspace: Workspace, name: str, **fields: Any) -> None:
    """Let the registry have shown a tag that nothing has locked."""
    Repository.objects.get_or_create(workspace=workspace, name="acme/api")
    fields = {"digest": BB, **fields}
    TagRecord.objects.create(workspace=workspace, repository="acme/api", name=name, **fields)


def write(time: Any) -> str:
    return str(time.isoformat().replace("+00:00", "Z"))


def list_tags(client: APIClient, query: str = "") -> list[str]:
    response = client.get(f"{URL}?{query}")
    assert response.status_code == 200, response.content
    return [each["tag"] for each in response.json()["results"]]


def test_each_tag_has_all_that_is_known(
    acme: Workspace, auditor: APIClient, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    show(acme, "latest")
    make_lock(acme, "v1.0.0", rule_name=SEMVER.name)
    push = land(acme, AA, "v1.0.0")
    row = LockedTag.objects.get()
    assert auditor.get(f"{URL}?sort=name").json() == {
        "results": [
            {
                "tag": "latest",
                "state": "mutable",
                "digest": BB,
                "image_size": None,
                "last_pushed_at": None,
                "last_pushed_by": None,
                "locked_tag_id": None,
                "locked_at": None,
                "rule_name": None,
            },
            {
                "tag": "v1.0.0",
                "state": "locked",
                "digest": AA,
                "image_size": None,
                "last_pushed_at": write(push.at),
                "last_pushed_by": "dana",
                "locked_tag_id": row.id,
                "locked_at": write(row.locked_at),
                "rule_name": "Release versions",
            },
        ],
        "next": None,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["v2", "v1"]),
        ("sort=name", ["v1", "v2"]),
        ("q=registry.example.com/acme/api:v2", ["v2"]),
        ("q=sha256:bbbb", ["v2", "v1"]),
        ("state=mutable&q=v1", ["v1"]),
        ("state=locked", []),
    ],
)
def test_the_filters_are_those_of_the_page(
    acme: Workspace, auditor: APIClient, query: str, found: list[str]
) -> None:
    now = timezone.now()
    show(acme, "v1", pushed_at=now - timedelta(days=1))
    show(acme, "v2", pushed_at=now)
    assert list_tags(auditor, query) == found


@pytest.mark.parametrize("sort", ["pushed", "name"])
def test_next_leads_through_all_pages(acme: Workspace, auditor: APIClient, sort: str) -> None:
    for number in range(7):
        show(acme, f"v{number}", pushed_at=timezone.now() if number % 2 else None)
    address = f"{URL}?sort={sort}&limit=2"
    found: list[str] = []
    while address:
        body = auditor.get(address).json()
        found += [each["tag"] for each in body["results"]]
        address = (body["next"] or "").removeprefix(settings.PUBLIC_URL)
    assert sorted(found) == [f"v{number}" for number in range(7)]
    assert urlsplit(address).path == ""


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"q": "x" * 1001}, "#/q"),
        ({"q": "a\0b"}, "#/q"),
        ({"state": "open"}, "#/state"),
        ({"sort": "size"}, "#/sort"),
        ({"after": "x"}, "#/after"),
        ({"after": "9" * 100}, "#/after"),
        ({"limit": "0"}, "#/limit"),
        ({"limit": "201"}, "#/limit"),
        ({"nonsense": "1"}, "#/nonsense"),
    ],
)
def test_a_bad_query_is_refused(
    acme: Workspace, auditor: APIClient, query: dict[str, str], pointer: str
) -> None:
    show(acme, "v1")
    problem = read_problem(auditor.get(URL, query), 400)
    assert [each["pointer"] for each in problem["errors"]] == [pointer]


@pytest.mark.parametrize("name", ["acme/nowhere", "globex/api", "acme", "acme/API"])
def test_an_unknown_repository_is_not_found(
    acme: Workspace, globex: Workspace, auditor: APIClient, name: str
) -> None:
    make_lock(globex, "v1")
    address = f"/api/v1/workspaces/acme/repositories/{name}/tags"
    read_problem(auditor.get(address), 404)
