"""What a registry reports: hints about the caller's workspaces, and 200 for everything else."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from containers.registry.notifications import MEDIA_TYPES
from immutability.api import events
from immutability.models import Hint
from tests.conftest import AA, BB
from tests.problems import nothing_written, read_problem
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import Workspace
from workspaces.throttles import Limit

pytestmark = pytest.mark.django_db

URL = "/api/v1/registry-events"


@pytest.fixture(autouse=True)
def _connected(settings: Any) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"


def push(repository: str = "acme/api", tag: str = "v1", digest: str = AA) -> dict[str, Any]:
    """Return what Distribution reports of a push."""
    target = {"repository": repository, "tag": tag, "digest": digest, "size": 528}
    return {"events": [{"id": "3206", "action": "push", "target": target}]}


def send(client: APIClient, document: object, media_type: str = MEDIA_TYPES[0]) -> Any:
    response = client.post(URL, json.dumps(document), content_type=media_type)
    assert response.status_code == 200, response.content
    return response.json()


def hints() -> list[tuple[str, str, str]]:
    return list(Hint.objects.order_by("id").values_list("repository", "tag", "digest"))


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_report_is_a_hint(registry: APIClient, media_type: str) -> None:
    assert send(registry, push(), media_type) == {"understood": 1, "looks": 1}
    assert hints() == [("acme/api", "v1", AA)]


def test_harbor_s_webhook_is_a_hint(registry: APIClient) -> None:
    resources = [{"tag": "v1", "digest": AA, "resource_url": "h/acme/api:v1"}]
    data = {"resources": resources, "repository": {"repo_full_name": "acme/api"}}
    document = {"type": "PUSH_ARTIFACT", "occur_at": 1737446601, "event_data": data}
    assert send(registry, document) == {"understood": 1, "looks": 1}
    assert hints() == [("acme/api", "v1", AA)]


@pytest.mark.parametrize("document", [{}, [], {"events": []}, {"object_kind": "push"}, "events"])
def test_what_is_not_about_tags_is_answered_200(registry: APIClient, document: object) -> None:
    with nothing_written():
        assert send(registry, document) == {"understood": 0, "looks": 0}


def test_a_workspace_s_token_gives_hints_about_that_one_alone(
    registry: APIClient, globex: Workspace
) -> None:
    with nothing_written():
        for name in ("globex/api", "nowhere/api"):
            assert send(registry, push(name)) == {"understood": 1, "looks": 0}


def test_a_limited_token_gives_hints_about_its_repositories_alone(acme: Workspace) -> None:
    secret = create_access_token(acme, "web", [Scope.REGISTRY], actor=SYSTEM, repositories=["web"])
    client = APIClient(headers={"Authorization": f"Bearer {secret}"})
    both = {"events": push("acme/api")["events"] + push("acme/web")["events"]}
    assert send(client, both) == {"understood": 2, "looks": 1}
    assert hints() == [("acme/web", "v1", AA)]


def test_a_site_s_registry_gives_hints_about_every_workspace(
    acme: Workspace, globex: Workspace
) -> None:
    secret = create_access_token(None, "main registry", [Scope.REGISTRY], actor=SYSTEM)
    client = APIClient(headers={"Authorization": f"Bearer {secret}"})
    both = {"events": push("acme/api")["events"] + push("globex/api", digest=BB)["events"]}
    assert send(client, both) == {"understood": 2, "looks": 2}
    assert hints() == [("acme/api", "v1", AA), ("globex/api", "v1", BB)]


def test_without_a_registry_there_is_nothing_to_look_at(registry: APIClient, settings: Any) -> None:
    settings.REGISTRY_URL = ""
    with nothing_written():
        assert send(registry, push()) == {"understood": 1, "looks": 0}


def test_more_events_than_a_registry_sends_at_once_are_refused(registry: APIClient) -> None:
    response = registry.post(URL, {"events": [{}] * 101}, format="json")
    with nothing_written():
        assert "101 events; at most 100" in read_problem(response, 400, "invalid")["detail"]


def test_a_media_type_that_no_registry_sends_is_refused(registry: APIClient) -> None:
    response = registry.post(URL, "events", content_type="text/plain")
    read_problem(response, 415, "unsupported_media_type")


def test_too_many_reports_are_answered_429(
    registry: APIClient, monkeypatch: pytest.MonkeyPatch, within_one_window: None
) -> None:
    limit = Limit("few events", calls=2, seconds=3600, counted="registry events")
    monkeypatch.setattr(events, "EVENTS_PER_TOKEN", limit)
    for _ in range(2):
        send(registry, push())
    response = registry.post(URL, push(tag="v2"), format="json")
    assert "Too many registry events" in read_problem(response, 429, "too_many_calls")["detail"]


def test_a_person_reports_nothing(
    acme: Workspace, alice: Any, sign_in: Callable[[Any], Client]
) -> None:
    response = sign_in(alice).post(URL, push(), content_type="application/json")
    read_problem(response, 403, "forbidden")
