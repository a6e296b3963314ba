import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from containers.prefixes import create_workspace
from immutability.policy.protection import Policy, Protection
from tests.conftest import (
    AA,
    BB,
    CC,
    SEMVER,
    make_api_client,
    make_member,
    protect_workspace,
)
from tests.problems import read_problem
from workspaces.access import SYSTEM, Role, Scope
from workspaces.log.keys import verifier_key
from workspaces.log.models import Checkpoint, LockEvent
from workspaces.models import User, Workspace

URL = "/api/v1/workspaces/acme/lock-log"
Protect = Callable[..., Policy]


@pytest.fixture
def auditor(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    return api_as(acme, Scope.AUDIT)


@pytest.fixture(scope="module")
def acme(kept_rows: None) -> Workspace:
    return create_workspace("acme", "Acme", actor=SYSTEM)


@pytest.fixture(scope="module")
def globex(kept_rows: None) -> Workspace:
    return create_workspace("globex", "Globex", actor=SYSTEM)


@pytest.fixture(scope="module")
def alice(acme: Workspace) -> User:
    return make_member(acme, "alice", Role.ADMIN)


@pytest.fixture(scope="module")
def registry(acme: Workspace) -> APIClient:
    return make_api_client(acme, Scope.REGISTRY)


@pytest.fixture(autouse=True)
def _some_history(db: None, kept_history: None) -> None:
    """What each test begins with."""


@pytest.fixture(scope="module")
def kept_history(acme: Workspace, globex: Workspace, alice: User, registry: APIClient) -> None:
    """Two locks, a refusal and an identical push in acme, and a lock in globex; made once."""
    protect_workspace(acme, Protection.SOME, SEMVER)
    protect_workspace(globex, Protection.ALL)
    stranger = make_api_client(globex, Scope.REGISTRY)
    for client, repository, tag, digest, actor in (
        (registry, "acme/api", "v1.0.0", AA, "dana"),
        (registry, "acme/web", "v2.0.0", BB, "erin"),
        (registry, "acme/api", "v1.0.0", CC, "erin"),
        (registry, "acme/api", "v1.0.0", AA, "erin"),
        (stranger, "globex/api", "v1.0.0", AA, "dana"),
    ):
        asked = {"repository": repository, "tag": tag, "digest": digest, "actor": actor}
        assert client.post("/api/v1/check-push", asked, format="json").status_code == 200


def list_events(client: APIClient | Client, **query: object) -> list[dict[str, Any]]:
    response = client.get(f"{URL}?{urlencode(query)}")
    assert response.status_code == 200, response.content
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def test_events_come_newest_first_and_of_this_workspace_only(auditor: APIClient) -> None:
    mine = LockEvent.objects.filter(workspace="acme").order_by("-id")
    assert [event["ref"] for event in list_events(auditor)] == [row.ref for row in mine]
    kinds = [event["kind"] for event in list_events(auditor, repository="acme/api")]
    assert kinds == ["push.identical", "push.refused", "tag.locked"]


def test_an_event_is_shown_whole(auditor: APIClient) -> None:
    row = LockEvent.objects.get(kind="push.refused")
    wanted = {
        "ref": row.ref,
        "at": row.at.isoformat().replace("+00:00", "Z"),
        "kind": "push.refused",
        "repository": "acme/api",
        "tag": "v1.0.0",
        "digest": AA,
        "other_digest": CC,
        "actor": "erin",
        "actor_kind": "registry",
        "rule_name": SEMVER.name,
        "rule_pattern": SEMVER.pattern,
        "settings_version": 1,
        "reason": "the tag is locked",
        "details": None,
        "url": f"{settings.PUBLIC_URL}/acme/lock-log/{row.ref}",
    }
    assert auditor.get(f"{URL}/{row.ref}").json() == wanted
    assert list_events(auditor, kind="push.refused") == [wanted]


def test_a_ref_may_be_typed_in_lower_case(auditor: APIClient) -> None:
    ref = LockEvent.objects.get(kind="push.refused").ref
    assert auditor.get(f"{URL}/{ref.lower()}").json()["ref"] == ref


def test_nothing_of_where_a_request_came_from_is_shown(auditor: APIClient) -> None:
    text = auditor.get(URL).content.decode()
    assert "127.0.0.1" not in text.replace(settings.PUBLIC_URL, "")
    assert "origin" not in text


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"repository": "acme/api"}, 3),
        ({"repository": "globex/api"}, 0),
        ({"tag": "v2.0.0"}, 1),
        ({"kind": "tag.locked"}, 2),
        ({"actor": "erin"}, 3),
        ({"actor": "eri"}, 0),
        ({"rule": "Release versions"}, 4),
        ({"rule": "release versions"}, 0),
        ({"digest": AA}, 3),
        ({"digest": CC}, 1),
        ({"digest": "cccc"}, 1),
        ({"digest": "sha256:aa"}, 3),
        ({"digest": "_"}, 0),
        ({"kind": "tag.locked", "actor": "erin", "repository": "acme/web"}, 1),
        ({"since": "2020-01-01", "kind": "tag.locked"}, 2),
        ({"until": "2020-01-01"}, 0),
        ({"since": "9999-12-31"}, 0),
        ({"until": "0001-01-01"}, 0),
        ({"since": "0001-01-01", "until": "9999-12-31", "kind": "tag.locked"}, 2),
        ({"kind": "", "rule": "Release versions"}, 4),
    ],
)
def test_filters_narrow_the_list(auditor: APIClient, query: dict[str, str], count: int) -> None:
    assert len(list_events(auditor, **query)) == count


def test_a_day_is_a_day_in_utc_and_both_ends_are_included(auditor: APIClient) -> None:
    day = LockEvent.objects.get(kind="push.refused").at.date().isoformat()
    assert len(list_events(auditor, since=day, until=day, kind="push.refused")) == 1


@pytest.mark.parametrize("query", [{}, {"kind": "tag.locked"}, {"repository": "acme/api"}])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_paging_yields_each_event_once(
    auditor: APIClient, query: dict[str, str], limit: int
) -> None:
    whole = [event["ref"] for event in list_events(auditor, **query)]
    found: list[str] = []
    address: str | None = f"{URL}?{urlencode({**query, 'limit': limit})}"
    while address:
        page = auditor.get(address).json()
        assert len(page["results"]) <= limit
        found += [event["ref"] for event in page["results"]]
        address = page["next"]
        if address:
            assert address.startswith(f"{settings.PUBLIC_URL}{URL}?")
            parts = urlsplit(address)
            address = f"{parts.path}?{parts.query}"
    assert found == whole


def test_events_that_arrive_meanwhile_do_not_shift_the_pages(
    auditor: APIClient, registry: APIClient
) -> None:
    whole = [event["ref"] for event in list_events(auditor)]
    first = auditor.get(f"{URL}?limit=2").json()
    asked = {"repository": "acme/api", "tag": "v3.0.0", "digest": AA}
    registry.post("/api/v1/check-push", asked, format="json")
    second = auditor.get(first["next"].removeprefix(settings.PUBLIC_URL)).json()
    found = [event["ref"] for event in first["results"] + second["results"]]
    assert found == whole[:4]


def test_a_member_sees_what_happened_to_tags_only(
    sign_in: Callable[[User], Client], bob: User
) -> None:
    subjects = {event["kind"].split(".")[0] for event in list_events(sign_in(bob))}
    assert subjects == {"tag", "push"}
    assert list_events(sign_in(bob), kind="settings.changed") == []


@pytest.mark.parametrize("who", ["alice", "olga"])
def test_admins_and_auditors_see_every_event(
    sign_in: Callable[[User], Client], alice: User, olga: User, who: str
) -> None:
    client = sign_in({"alice": alice, "olga": olga}[who])
    subjects = {event["kind"].split(".")[0] for event in list_events(client)}
    assert subjects == {"tag", "push", "settings", "member", "token", "workspace"}


def test_a_member_cannot_open_an_event_of_the_settings(
    sign_in: Callable[[User], Client], bob: User
) -> None:
    ref = LockEvent.objects.get(workspace="acme", kind="settings.changed").ref
    read_problem(sign_in(bob).get(f"{URL}/{ref}"), 404, "not_found")


def test_a_hidden_event_gives_a_member_no_place_to_page_from(
    sign_in: Callable[[User], Client], bob: User
) -> None:
    hidden = LockEvent.objects.get(workspace="acme", kind="settings.changed").ref
    foreign = LockEvent.objects.get(workspace="globex", kind="tag.locked").ref
    client = sign_in(bob)
    pages = [list_events(client, before=ref) for ref in (hidden, foreign, "0" * 12)]
    assert pages[0] == pages[1] == pages[2]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"kind": "tag.lock"}, "#/kind"),
        ({"since": "yesterday"}, "#/since"),
        ({"since": "2026-02-30"}, "#/since"),
        ({"until": "2026-13-01"}, "#/until"),
        ({"since": "2026-05-02", "until": "2026-05-01"}, "#/until"),
        ({"limit": 0}, "#/limit"),
        ({"limit": 201}, "#/limit"),
        ({"limit": "9" * 5000}, "#/limit"),
        ({"limit": "many"}, "#/limit"),
        ({"before": "0" * 13}, "#/before"),
        ({"before": "0" * 12, "after": "0" * 12}, "#/after"),
        ({"digest": "%"}, "#/digest"),
        ({"ref": "0"}, "#/ref"),
        ({"repository": "acme"}, "#/repository"),
        ({"tga": "v1"}, "#/tga"),
        ({"from": "abc"}, "#/from"),
        ({"repository": "x/" * 128}, "#/repository"),
        ({"tag": "x" * 129}, "#/tag"),
        ({"digest": "x" * 257}, "#/digest"),
        ({"actor": "a\0b"}, "#/actor"),
    ],
)
def test_a_bad_filter_is_refused(
    auditor: APIClient, query: dict[str, object], pointer: str
) -> None:
    problem = read_problem(auditor.get(f"{URL}?{urlencode(query)}"), 400, "invalid")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize("ref", ["0" * 12, "x", "x" * 300, "%00", "%FF", "ß"])
def test_an_event_that_is_not_there_is_not_found(auditor: APIClient, ref: str) -> None:
    read_problem(auditor.get(f"{URL}/{ref}"), 404, "not_found")


# Places in the list.


def test_the_pages_lead_there_and_back(auditor: APIClient) -> None:
    first = auditor.get(f"{URL}?limit=2&kind=").json()
    assert first["previous"] is None
    second = auditor.get(first["next"]).json()
    assert second["previous"].split("?")[1].count("after=") == 1
    assert "before=" not in second["previous"]
    back = auditor.get(second["previous"]).json()
    assert back["results"] == first["results"]


def test_what_is_newer_than_an_event_can_be_asked_for(auditor: APIClient) -> None:
    oldest = LockEvent.objects.filter(workspace="acme").order_by("at", "id").first()
    assert oldest is not None
    newer = list_events(auditor, after=oldest.ref, limit=200)
    whole = list_events(auditor, limit=200)
    assert newer == [event for event in whole if event["ref"] != oldest.ref]


def test_a_page_is_one_query_of_the_log_wherever_it_is(auditor: APIClient) -> None:
    ref = LockEvent.objects.filter(workspace="acme").latest("id").ref
    for query in ({}, {"before": ref, "digest": "aaa"}, {"after": ref}):
        with CaptureQueriesContext(connection) as queries:
            list_events(auditor, **query)
        assert sum("lockevent" in each["sql"] for each in queries) == 1


# The checkpoint, and the export.


def test_the_checkpoint_is_that_of_the_log_as_it_is_now(auditor: APIClient) -> None:
    first = auditor.get(f"{URL}/checkpoint").json()
    made = Checkpoint.objects.get()
    assert first == {
        "sequence": LockEvent.objects.filter(workspace="acme").count(),
        "hash": made.hash,
        "made_at": made.made_at.isoformat().replace("+00:00", "Z"),
        "note": made.note,
        "verifier_key": verifier_key(),
    }
    assert auditor.get(f"{URL}/checkpoint").json() == first


def test_an_export_is_a_file_with_the_filters_of_the_list(auditor: APIClient) -> None:
    response: Any = auditor.get(f"{URL}/export?format=jsonl&kind=push.refused")
    assert response["Content-Type"] == "application/x-ndjson"
    event, last = map(json.loads, b"".join(response.streaming_content).splitlines())
    assert (event["kind"], event["digest"], event["other_digest"]) == ("push.refused", AA, CC)
    assert last["verifier_key"] == verifier_key()
    table: Any = auditor.get(f"{URL}/export?format=csv&tag=v2.0.0")
    assert table["Content-Type"].startswith("text/csv")
    assert len(b"".join(table.streaming_content).splitlines()) == 2


@pytest.mark.parametrize("query", ["", "format=xml", "format=csv&kind=x", "format=csv&export=x"])
def test_an_export_of_what_is_not_there_is_refused(auditor: APIClient, query: str) -> None:
    read_problem(auditor.get(f"{URL}/export?{query}"), 400, "invalid")


def test_a_second_export_at_once_is_told_when_to_try_again(auditor: APIClient) -> None:
    # Not read: it is still in progress.
    in_progress: Any = auditor.get(f"{URL}/export?format=jsonl")
    response = auditor.get(f"{URL}/export?format=jsonl")
    problem = read_problem(response, 503, "too_many_exports")
    assert problem["detail"].startswith("An export of this log is already running.")
    assert response["Retry-After"] == "30"
    b"".join(in_progress.streaming_content)
    assert auditor.head(f"{URL}/export?format=jsonl").status_code == 200


@pytest.mark.parametrize("path", ["checkpoint", "export?format=csv"])
def test_without_a_key_nothing_is_signed_and_its_place_is_not_told(
    auditor: APIClient, settings: Any, path: str
) -> None:
    settings.LOG_KEY_FILE = "/nowhere/key"
    problem = read_problem(auditor.get(f"{URL}/{path}"), 503, "cannot_sign")
    assert "nowhere" not in str(problem)
