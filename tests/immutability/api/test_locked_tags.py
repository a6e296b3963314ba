from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from immutability.models import LockedTag
from immutability.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.api.conftest import Ask
from tests.problems import nothing_written, read_problem
from workspaces.access import Scope
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

Protect = Callable[..., Policy]
Lock = Callable[..., LockedTag]

URL = "/api/v1/workspaces/acme/locked-tags"
REASON = "The build was broken."


@pytest.fixture(autouse=True)
def _all_tags_are_protected(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)


@pytest.fixture
def admin(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    return api_as(acme, Scope.ADMIN)


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
        "pushed_by_kind": "registry",
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
    admin: APIClient,
    lock: Lock,
    globex: Workspace,
    protect: Protect,
    api_as: Callable[..., APIClient],
) -> None:
    protect(globex, Protection.ALL)
    asked = {"repository": "globex/api", "tag": "v9", "digest": AA}
    api_as(globex, Scope.REGISTRY).post("/api/v1/check-push", asked, format="json")
    lock("v1")
    assert list_tags(admin) == ["v1"]


@pytest.fixture
def mixed(registry: APIClient, admin: APIClient, acme: Workspace, protect: Protect) -> None:
    """Locks in each state: suspended are those whose tags do not begin with "v"."""
    for repository, tag in (
        ("acme/api", "v1"),
        ("acme/api", "v2"),
        ("acme/web", "v1"),
        ("acme/web", "v3"),
        ("acme/api", "beta-100"),
        ("acme/web_api", "beta_200"),
    ):
        asked = {"repository": repository, "tag": tag, "digest": AA}
        assert registry.post("/api/v1/check-push", asked, format="json").status_code == 200
    claim = {"repository": "acme/api", "tag": "v4", "digest": AA, "two_phase": True}
    registry.post("/api/v1/check-push", claim, format="json")
    by_name = {f"{row.repository}:{row.tag}": row.id for row in LockedTag.objects.all()}
    assert delete(admin, by_name["acme/api:v2"], name="reserve", reason=REASON).status_code == 200
    assert release(admin, by_name["acme/web:v3"]).status_code == 200
    protect(acme, Protection.SOME, PolicyRule("Versions", "^v"))


@pytest.mark.parametrize(
    ("query", "tags"),
    [
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
    ],
)
def test_filters_narrow_the_list(
    admin: APIClient, mixed: None, query: dict[str, str], tags: list[str]
) -> None:
    assert sorted(list_tags(admin, **query)) == sorted(tags)


@pytest.mark.parametrize("query", [{}, {"state": "suspended"}, {"q": "v"}, {"state": "locked"}])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_paging_yields_each_lock_once(
    admin: APIClient, mixed: None, query: dict[str, str], limit: int
) -> None:
    whole = [each["id"] for each in admin.get(f"{URL}?{urlencode(query)}").json()["results"]]
    found: list[int] = []
    address: str | None = f"{URL}?{urlencode({**query, 'limit': limit})}"
    while address:
        page = admin.get(address).json()
        assert len(page["results"]) <= limit
        found += [each["id"] for each in page["results"]]
        address = page["next"]
        if address:
            assert address.startswith(f"{settings.PUBLIC_URL}{URL}?")
            parts = urlsplit(address)
            address = f"{parts.path}?{parts.query}"
    assert found == whole


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
        ({"q": "x" * 256}, "#/q"),
        ({"q": "a\0b"}, "#/q"),
        ({"repository": "acme"}, "#/repository"),
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
def test_a_deleted_tags_name_can_stay_reserved(
    admin: APIClient, lock: Lock, check_push: Ask, place: str
) -> None:
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
    assert check_push("v1", BB)["outcome"] == "reserved"


def test_a_deleted_tags_name_can_be_freed_at_once(
    admin: APIClient, lock: Lock, check_push: Ask
) -> None:
    row = lock("v1")
    assert delete(admin, row.id, name="free", reason=REASON).json() == {"locked_tag": None}
    read_problem(admin.get(f"{URL}/{row.id}"), 404, "not_found")
    kinds = list(
        LockEvent.objects.filter(reason=REASON).order_by("id").values_list("kind", flat=True)
    )
    assert kinds == ["tag.deleted", "lock.freed"]
    assert check_push("v1", BB)["outcome"] == "locked_now"


def test_a_reserved_name_can_be_freed_later(admin: APIClient, lock: Lock, check_push: Ask) -> None:
    row = lock("v1")
    delete(admin, row.id, name="reserve", reason=REASON)
    assert delete(admin, row.id, name="free", reason="No longer needed").json() == {
        "locked_tag": None
    }
    assert LockEvent.objects.get(kind="lock.freed").reason == "No longer needed"
    assert check_push("v1", BB)["outcome"] == "locked_now"


def test_a_reserved_name_cannot_be_reserved_again(admin: APIClient, lock: Lock) -> None:
    row = lock("v1")
    delete(admin, row.id, name="reserve", reason=REASON)
    with nothing_written():
        response = delete(admin, row.id, name="reserve", reason=REASON)
    assert "reserved" in read_problem(response, 409, "wrong_state")["detail"]


def test_a_tag_that_is_being_deleted_is_left_alone(admin: APIClient, lock: Lock) -> None:
    row = lock("v1")
    LockedTag.objects.update(state="deleting")
    with nothing_written():
        read_problem(delete(admin, row.id, name="free", reason=REASON), 409, "wrong_state")
        read_problem(release(admin, row.id), 409, "wrong_state")


@pytest.mark.parametrize("name", ["reserve", "free"])
def test_a_claim_is_dropped_and_the_name_is_what_it_was(
    admin: APIClient, check_push: Ask, name: str
) -> None:
    check_push("v1", two_phase=True)
    row = LockedTag.objects.get()
    assert delete(admin, row.id, name=name, reason=REASON).json() == {"locked_tag": None}
    event = LockEvent.objects.get(kind="claim.dropped")
    assert (event.reason, event.tag) == (REASON, "v1")
    assert check_push("v1", BB)["outcome"] == "locked_now"


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


def test_a_released_tag_takes_one_push_and_is_locked_anew(
    admin: APIClient, lock: Lock, check_push: Ask
) -> None:
    row = lock("v1")
    response = release(admin, row.id)
    assert response.status_code == 200
    assert response.json()["state"] == "released"
    assert response.json() == admin.get(f"{URL}/{row.id}").json()
    event = LockEvent.objects.get(kind="lock.released")
    assert (event.reason, event.actor, event.digest) == (REASON, "token admin", AA)
    assert check_push("v1", BB)["outcome"] == "locked_now"
    assert check_push("v1", AA)["outcome"] == "locked"


@pytest.mark.parametrize("state", ["claimed", "reserved", "released"])
def test_only_a_locked_tag_can_be_released(
    admin: APIClient, lock: Lock, check_push: Ask, state: str
) -> None:
    row = lock("v1")
    LockedTag.objects.update(state=state)
    with nothing_written():
        response = release(admin, row.id)
    assert state in read_problem(response, 409, "wrong_state")["detail"]


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


@pytest.mark.parametrize("verb", ["release", "reserve"])
def test_what_is_answered_about_a_suspended_lock_is_what_is_read_afterwards(
    admin: APIClient, lock: Lock, acme: Workspace, protect: Protect, verb: str
) -> None:
    row = lock("latest")
    protect(acme, Protection.SOME, SEMVER)
    if verb == "release":
        answer = release(admin, row.id).json()
    else:
        answer = delete(admin, row.id, name="reserve", reason=REASON).json()["locked_tag"]
    assert answer == admin.get(f"{URL}/{row.id}").json()


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
