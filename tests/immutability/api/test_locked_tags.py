from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from rest_framework.test import APIClient

from immutability.errors import PermissionRevokedError
from immutability.models import LockedTag
from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, SEMVER, make_api_client
from tests.immutability.making import (
    make_lock,
    put_in_flight,
    put_stray,
    set_record,
    tag_events,
)
from tests.problems import nothing_written, read_problem
from workspaces.access import Scope
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

Protect = Callable[..., Policy]
Lock = Callable[..., LockedTag]

URL = "/api/v1/workspaces/acme/locked-tags"
REASON = "The build was broken."


@pytest.fixture
def lock(acme: Workspace) -> Lock:
    """Return a function that locks a tag of acme/api, or has it in another state."""
    return partial(make_lock, acme)


@pytest.fixture(scope="module")
def kept_admin(kept_core: Workspace) -> APIClient:
    """A program that may change the locks of acme, where all tags are protected."""
    return make_api_client(kept_core, Scope.ADMIN)


@pytest.fixture
def admin(db: None, kept_admin: APIClient) -> APIClient:
    return kept_admin


def list_tags(client: APIClient, **query: object) -> list[str]:
    response = client.get(f"{URL}?{urlencode(query)}")
    assert response.status_code == 200, response.content
    return [each["tag"] for each in response.json()["results"]]


def delete(client: APIClient, lock_id: int, **fields: str) -> Any:
    return client.delete(f"{URL}/{lock_id}", fields, format="json")


def release(client: APIClient, lock_id: int, reason: str = REASON) -> Any:
    return client.post(f"{URL}/{lock_id}/release", {"reason": reason}, format="json")


# The list.


def test_a_lock_is_shown_whole(admin: APIClient, lock: Lock) -> None:
    row = lock("v1.2.0")
    wanted = {
        "id": row.id,
        "repository": "acme/api",
        "tag": "v1.2.0",
        "digest": AA,
        "rule_name": "",
        "rule_pattern": "",
        "settings_version": 1,
        "pushed_by": "dana",
        "pushed_by_kind": "person",
        "locked_at": row.locked_at.isoformat().replace("+00:00", "Z"),
        "deleted_by": "",
        "deleted_at": None,
        "state": "locked",
    }
    assert admin.get(URL).json() == {"results": [wanted], "next": None}
    assert admin.get(f"{URL}/{row.id}").json() == wanted


def test_the_newest_lock_comes_first(admin: APIClient, lock: Lock) -> None:
    for tag in ("v1", "v3", "v2"):
        lock(tag)
    assert list_tags(admin) == ["v2", "v3", "v1"]


def test_the_list_holds_this_workspaces_locks_only(
    admin: APIClient, lock: Lock, globex: Workspace
) -> None:
    make_lock(globex, "v9")
    lock("v1")
    assert list_tags(admin) == ["v1"]


@pytest.fixture
def mixed(acme: Workspace, lock: Lock, protect: Protect) -> None:
    """Locks in each state: suspended are those whose tags do not begin with "v"."""
    for name, state in (
        ("acme/api:v1", "locked"),
        ("acme/api:v2", "reserved"),
        ("acme/web:v1", "locked"),
        ("acme/web:v3", "released"),
        ("acme/api:beta-100", "locked"),
        ("acme/web_api:beta_200", "locked"),
        ("acme/api:v4", "claimed"),
    ):
        repository, tag = name.split(":")
        lock(tag, state, repository=repository)
    protect(acme, Protection.SOME, PolicyRule("Versions", "^v"))


FILTERS: list[tuple[dict[str, str], list[str]]] = [
    ({}, ["v4", "beta_200", "beta-100", "v3", "v1", "v2", "v1"]),
    ({"q": "BETA"}, ["beta_200", "beta-100"]),
    ({"q": "web"}, ["beta_200", "v3", "v1"]),
    ({"q": "_"}, ["beta_200"]),
    ({"q": "%"}, []),
    ({"q": "nothing"}, []),
    ({"repository": "acme/api"}, ["v4", "beta-100", "v2", "v1"]),
    ({"tag": "v1"}, ["v1", "v1"]),
    ({"tag": "V1"}, []),
    ({"tag": "v"}, []),
    ({"repository": "acme/web", "tag": "v1"}, ["v1"]),
    ({"repository": "acme/web", "tag": "v2"}, []),
    ({"repository": "globex/api"}, []),
    ({"state": "locked"}, ["v1", "v1"]),
    ({"state": "reserved"}, ["v2"]),
    ({"state": "released"}, ["v3"]),
    ({"state": "claimed"}, ["v4"]),
    ({"state": "deleting"}, []),
    ({"state": "suspended"}, ["beta_200", "beta-100"]),
    ({"state": "suspended", "repository": "acme/api"}, ["beta-100"]),
    ({"state": "locked", "q": "web", "repository": "acme/web"}, ["v1"]),
]


def test_filters_narrow_the_list(admin: APIClient, mixed: None) -> None:
    for query, tags in FILTERS:
        assert sorted(list_tags(admin, **query)) == sorted(tags), query


@pytest.mark.parametrize("query", [{}, {"state": "suspended"}, {"q": "v"}, {"state": "locked"}])
def test_paging_yields_each_lock_once(admin: APIClient, mixed: None, query: dict[str, str]) -> None:
    whole = [each["id"] for each in admin.get(f"{URL}?{urlencode(query)}").json()["results"]]
    for limit in (1, 2, 3):
        assert list_ids_of_pages(admin, query, limit) == whole, limit


def list_ids_of_pages(client: APIClient, query: dict[str, str], limit: int) -> list[int]:
    """Return the locks of all pages, each of which names the next one."""
    found: list[int] = []
    address: str | None = f"{URL}?{urlencode({**query, 'limit': limit})}"
    while address:
        page = client.get(address).json()
        assert len(page["results"]) <= limit
        found += [each["id"] for each in page["results"]]
        address = page["next"]
        if address:
            assert address.startswith(f"{django_settings.PUBLIC_URL}{URL}?")
            parts = urlsplit(address)
            address = f"{parts.path}?{parts.query}"
    return found


def test_a_page_starts_below_the_id_that_was_given(admin: APIClient, lock: Lock) -> None:
    first, second = lock("v1"), lock("v2")
    assert list_tags(admin, before=second.id) == ["v1"]
    assert list_tags(admin, before=first.id) == []
    assert list_tags(admin, before=10**30) == ["v2", "v1"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"state": "lockd"}, "#/state"),
        ({"stat": "locked"}, "#/stat"),
        ({"limit": 0}, "#/limit"),
        ({"limit": 201}, "#/limit"),
        ({"limit": "many"}, "#/limit"),
        ({"before": -1}, "#/before"),
        ({"before": "x"}, "#/before"),
        ({"q": "x" * 1001}, "#/q"),
        ({"q": "a\0b"}, "#/q"),
        ({"repository": "Acme"}, "#/repository"),
        ({"repository": "x" * 256}, "#/repository"),
        ({"tag": "-v1"}, "#/tag"),
        ({"tga": "v1"}, "#/tga"),
    ],
)
def test_a_bad_filter_is_refused(admin: APIClient, query: dict[str, object], pointer: str) -> None:
    problem = read_problem(admin.get(f"{URL}?{urlencode(query)}"), 400)
    assert problem["code"] in ("invalid", "NAME_INVALID")
    assert problem["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("name", ["q", "repository", "tag", "state"])
def test_a_filter_that_is_left_empty_is_no_filter(admin: APIClient, lock: Lock, name: str) -> None:
    lock("v1")
    assert list_tags(admin, **{name: ""}) == ["v1"]


def test_a_lock_that_is_not_covered_is_shown_as_suspended(
    admin: APIClient, lock: Lock, acme: Workspace, protect: Protect
) -> None:
    row = lock("latest")
    protect(acme, Protection.SOME, SEMVER)
    assert admin.get(f"{URL}/{row.id}").json()["state"] == "suspended"


# Deleting.


@pytest.mark.parametrize("place", ["query", "body", "both"])
def test_a_deleted_tags_name_can_stay_reserved(admin: APIClient, lock: Lock, place: str) -> None:
    row = lock("v1")
    fields = {"name": "reserve", "reason": REASON}
    in_query = urlencode(fields if place == "query" else {})
    if place == "both":
        in_query = urlencode({"name": "reserve"})
    body = {"body": fields, "both": {"reason": REASON}, "query": None}[place]
    response = admin.delete(f"{URL}/{row.id}?{in_query}", body, format="json")
    assert response.status_code == 200
    answer = response.json()["locked_tag"]
    assert (answer["state"], answer["deleted_by"]) == ("reserved", 'token "token admin"')
    assert answer["deleted_at"] is not None
    assert answer == admin.get(f"{URL}/{row.id}").json()
    event = LockEvent.objects.get(kind="tag.deleted")
    assert (event.reason, event.actor, event.tag, event.digest) == (REASON, "token admin", "v1", AA)


@pytest.mark.parametrize(
    ("state", "kinds"),
    [("locked", ["tag.deleted", "lock.freed"]), ("reserved", ["lock.freed"])],
)
def test_a_name_can_be_freed(
    admin: APIClient, lock: Lock, acme: Workspace, state: str, kinds: list[str]
) -> None:
    row = lock("v1", state)
    assert delete(admin, row.id, name="free", reason=REASON).json() == {"locked_tag": None}
    read_problem(admin.get(f"{URL}/{row.id}"), 404, "not_found")
    assert [(event.kind, event.reason) for event in tag_events(acme)] == [
        (kind, REASON) for kind in kinds
    ]


def test_a_claim_is_dropped_and_stays_until_its_push_can_no_longer_land(
    admin: APIClient, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = lock("v1", "claimed")
    put_in_flight(row, write_is_external=True)
    dropped: list[str] = []
    monkeypatch.setattr(
        "immutability.actions.delete_tag.drop_claim",
        lambda workspace, lock_id, reason, *, actor: dropped.append(reason),
    )
    left = delete(admin, row.id, name="free", reason=REASON).json()["locked_tag"]
    assert (left["state"], dropped) == ("claimed", [REASON])


@pytest.mark.parametrize(
    ("state", "name"), [("reserved", "reserve"), ("reserved", "release"), ("released", "release")]
)
def test_a_state_that_does_not_allow_it_is_a_conflict(
    admin: APIClient, lock: Lock, state: str, name: str
) -> None:
    row = lock("v1", state)
    with nothing_written():
        if name == "release":
            response = release(admin, row.id)
        else:
            response = delete(admin, row.id, name=name, reason=REASON)
    assert state in read_problem(response, 409, "wrong_state")["detail"]


def test_the_name_of_a_suspended_lock_cannot_be_reserved(
    admin: APIClient, lock: Lock, acme: Workspace, protect: Protect
) -> None:
    row = lock("latest")
    protect(acme, Protection.SOME, SEMVER)
    with nothing_written():
        response = delete(admin, row.id, name="reserve", reason=REASON)
    assert "do not cover this tag" in read_problem(response, 409, "wrong_state")["detail"]


@pytest.mark.parametrize("name", ["reserve", "free", "release"])
def test_what_has_to_end_first_is_said_with_how_long_it_takes(
    admin: APIClient, lock: Lock, name: str
) -> None:
    row = lock("v1", "reserved" if name == "free" else "locked")
    put_stray(row, timezone.now() + timedelta(minutes=12))
    with nothing_written():
        if name == "release":
            response = release(admin, row.id)
        else:
            response = delete(admin, row.id, name=name, reason=REASON)
    problem = read_problem(response, 503, "undecided")
    assert "may still land. Try again in 12 minutes" in problem["detail"]
    assert problem["detail"][0].isupper()
    assert 700 < int(response.headers["Retry-After"]) <= 720


def test_a_caller_whose_permission_was_taken_away_meanwhile_is_told_so(
    admin: APIClient, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionRevokedError("the access token is not valid")

    monkeypatch.setattr("immutability.api.locked_tags.release_locked_tag", fail)
    response = release(admin, lock("v1").id)
    assert read_problem(response, 403, "forbidden")["detail"] == "The access token is not valid."


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/name"),
        ({"reason": REASON}, "#/name"),
        ({"name": "reserve"}, "#/reason"),
        ({"name": "reserve", "reason": ""}, "#/reason"),
        ({"name": "reserve", "reason": "  "}, "#/reason"),
        ({"name": "reserve", "reason": "x" * 501}, "#/reason"),
        ({"name": "reserve", "reason": "a\nb"}, "#/reason"),
        ({"name": "keep", "reason": REASON}, "#/name"),
        ({"name": "reserve", "reason": REASON, "force": "1"}, "#/force"),
    ],
)
@pytest.mark.parametrize("place", ["query", "body"])
def test_a_delete_says_what_becomes_of_the_name_and_why(
    admin: APIClient, lock: Lock, fields: dict[str, str], pointer: str, place: str
) -> None:
    row = lock("v1")
    with nothing_written():
        if place == "query":
            response = admin.delete(f"{URL}/{row.id}?{urlencode(fields)}")
        else:
            response = admin.delete(f"{URL}/{row.id}", fields, format="json")
    problem = read_problem(response, 400, "invalid")
    assert problem["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("body", ["[]", "5", '"free"', "null", "true", '[{"name": "free"}]'])
def test_a_body_that_is_no_object_is_refused_even_where_the_query_says_all(
    admin: APIClient, lock: Lock, body: str
) -> None:
    row = lock("v1")
    query = urlencode({"name": "free", "reason": REASON})
    with nothing_written():
        response = admin.delete(f"{URL}/{row.id}?{query}", body, content_type="application/json")
    read_problem(response, 400)


# Releasing.


def test_a_locked_tag_is_released(admin: APIClient, lock: Lock) -> None:
    row = lock("v1")
    response = release(admin, row.id)
    assert response.status_code == 200
    assert response.json()["state"] == "released"
    assert response.json() == admin.get(f"{URL}/{row.id}").json()
    event = LockEvent.objects.get(kind="lock.released")
    assert (event.reason, event.actor, event.digest) == (REASON, "token admin", AA)


def test_a_release_of_what_the_registry_never_had_frees_the_name(
    admin: APIClient, lock: Lock, settings: Any
) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    row = lock("v1")
    set_record(row, digest="")
    response = release(admin, row.id)
    assert (response.status_code, response.content) == (204, b"")
    assert not LockedTag.objects.exists()


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/reason"),
        ({"reason": ""}, "#/reason"),
        ({"reason": " \t "}, "#/reason"),
        ({"reason": "x" * 501}, "#/reason"),
        ({"reason": REASON, "name": "free"}, "#/name"),
    ],
)
def test_a_release_says_why(
    admin: APIClient, lock: Lock, fields: dict[str, str], pointer: str
) -> None:
    row = lock("v1")
    with nothing_written():
        response = admin.post(f"{URL}/{row.id}/release", fields, format="json")
    assert read_problem(response, 400, "invalid")["errors"][0]["pointer"] == pointer


def test_a_reason_may_have_five_hundred_characters_of_any_script(
    admin: APIClient, lock: Lock
) -> None:
    reason = "理" * 500
    assert release(admin, lock("v1").id, reason).status_code == 200
    assert LockEvent.objects.get(kind="lock.released").reason == reason


def test_what_is_answered_about_a_suspended_lock_is_what_is_read_afterwards(
    admin: APIClient, lock: Lock, acme: Workspace, protect: Protect
) -> None:
    row = lock("latest")
    protect(acme, Protection.SOME, SEMVER)
    assert release(admin, row.id).json() == admin.get(f"{URL}/{row.id}").json()


@pytest.mark.parametrize("lock_id", ["0", "999999", "9" * 30, "9" * 5000, "-1", "x", "1.0", "%00"])
def test_a_lock_that_is_not_there_is_not_found(admin: APIClient, lock_id: str) -> None:
    with nothing_written():
        read_problem(admin.get(f"{URL}/{lock_id}"), 404, "not_found")
        fields = {"name": "free", "reason": REASON}
        read_problem(admin.delete(f"{URL}/{lock_id}", fields, format="json"), 404, "not_found")
        read_problem(
            admin.post(f"{URL}/{lock_id}/release", {"reason": REASON}, format="json"),
            404,
            "not_found",
        )
