"""Confirming and abandoning claims over HTTP."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from rest_framework.test import APIClient

from containers.models import Tag as TagRecord
from immutability.actions.drop import drop_claim
from immutability.models import Claim, LockedTag
from immutability.policy.protection import Policy, Protection
from immutability.settle import settle_push
from tests.conftest import AA, BB, SEMVER
from tests.immutability.api.conftest import Ask
from tests.problems import nothing_written, read_problem
from workspaces.access import SYSTEM, Scope
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Workspace

Protect = Callable[..., Policy]


@pytest.fixture(autouse=True)
def _some_tags_are_protected(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)


@pytest.fixture
def claim(check_push: Ask) -> Callable[..., str]:
    """Return a function that claims a tag and returns the claim's id."""

    def claim(tag: str = "v1.2.0", digest: str = AA) -> str:
        answer = check_push(tag, digest, two_phase=True, actor="dana")
        assert answer["outcome"] == "claimed"
        return str(answer["claim"]["id"])

    return claim


def end(client: APIClient, claim_id: str, verb: str) -> Any:
    return client.post(f"/api/v1/claims/{claim_id}/{verb}")


def test_a_confirmed_claim_is_a_lock(registry: APIClient, claim: Callable[..., str]) -> None:
    claim_id = claim()
    response = end(registry, claim_id, "confirm")
    assert response.status_code == 200
    assert response.json() == {"id": claim_id, "state": "confirmed", "locked_tags": ["v1.2.0"]}
    row = LockedTag.objects.get()
    assert (row.state, row.digest, row.pushed_by) == ("locked", AA, "dana")
    event = LockEvent.objects.get(kind="tag.locked")
    assert (event.tag, event.digest) == ("v1.2.0", AA)
    assert (event.actor, event.actor_kind) == ("dana", "registry")


def test_an_abandoned_claim_leaves_the_name_free(
    registry: APIClient, claim: Callable[..., str]
) -> None:
    claim_id = claim()
    response = end(registry, claim_id, "abandon")
    assert response.status_code == 200
    assert response.json() == {"id": claim_id, "state": "abandoned", "locked_tags": []}
    assert not LockedTag.objects.exists()
    assert claim("v1.2.0", BB)


@pytest.mark.parametrize("verb", ["confirm", "abandon"])
def test_saying_it_again_changes_nothing(
    registry: APIClient, claim: Callable[..., str], verb: str
) -> None:
    claim_id = claim()
    first = end(registry, claim_id, verb).json()
    with nothing_written():
        assert end(registry, claim_id, verb).json() == first


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [("confirm", "abandon", "confirmed"), ("abandon", "confirm", "abandoned")],
)
def test_a_claim_ends_one_way_only(
    registry: APIClient, claim: Callable[..., str], first: str, second: str, word: str
) -> None:
    claim_id = claim()
    end(registry, claim_id, first)
    with nothing_written():
        response = end(registry, claim_id, second)
    assert word in read_problem(response, 409, "claim_ended")["detail"]


@pytest.mark.parametrize("verb", ["confirm", "abandon"])
def test_a_claim_that_an_admin_dropped_has_ended(
    registry: APIClient, claim: Callable[..., str], acme: Workspace, verb: str
) -> None:
    claim_id = claim()
    TagRecord.objects.update(write_expires_at=F("write_expires_at") - timedelta(minutes=15))
    drop_claim(acme, LockedTag.objects.get().id, "The registry was replaced.", actor=SYSTEM)
    with nothing_written():
        response = end(registry, claim_id, verb)
    assert "dropped" in read_problem(response, 409, "claim_ended")["detail"]


@pytest.mark.parametrize("verb", ["confirm", "abandon"])
def test_a_token_that_is_revoked_meanwhile_ends_no_claim(
    registry: APIClient, claim: Callable[..., str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The end waits while another holds the tag."""
    claim_id = claim()

    def revoke_first(*arguments: Any, **options: Any) -> Any:
        AccessToken.objects.update(revoked_at=timezone.now())
        return settle_push(*arguments, **options)

    monkeypatch.setattr("immutability.push.claims.settle_push", revoke_first)
    read_problem(end(registry, claim_id, verb), 403)
    assert LockedTag.objects.get().state == "claimed"
    assert Claim.objects.get().outcome == Claim.Outcome.OPEN


def test_a_claim_of_several_tags_ends_as_one(registry: APIClient) -> None:
    asked = {
        "repository": "acme/api",
        "tags": ["v1.0.1", "v1.0.0", "feature-x"],
        "digest": AA,
        "two_phase": True,
    }
    answer = registry.post("/api/v1/check-push", asked, format="json").json()
    ended = end(registry, answer["claim"]["id"], "confirm").json()
    assert ended["locked_tags"] == ["v1.0.0", "v1.0.1"]


@pytest.mark.parametrize("verb", ["confirm", "abandon"])
@pytest.mark.parametrize(
    "claim_id", ["00000000-0000-4000-8000-000000000000", "not-a-claim", "1", "%00"]
)
def test_an_unknown_claim_is_not_found(registry: APIClient, verb: str, claim_id: str) -> None:
    read_problem(end(registry, claim_id, verb), 404, "not_found")


@pytest.mark.parametrize("verb", ["confirm", "abandon"])
def test_the_claim_of_another_workspace_is_not_found_and_stays_open(
    claim: Callable[..., str],
    verb: str,
    globex: Workspace,
    api_as: Callable[..., APIClient],
) -> None:
    claim_id = claim()
    stranger = api_as(globex, Scope.REGISTRY)
    with nothing_written():
        read_problem(end(stranger, claim_id, verb), 404, "not_found")


@pytest.mark.parametrize("verb", ["confirm", "abandon"])
@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.REGISTRY])
def test_only_a_registry_ends_claims(
    claim: Callable[..., str],
    verb: str,
    scope: Scope,
    acme: Workspace,
    api_as: Callable[..., APIClient],
) -> None:
    claim_id = claim()
    client = api_as(acme, scope)
    with nothing_written():
        read_problem(end(client, claim_id, verb), 403, "forbidden")
