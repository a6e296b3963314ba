"""What each caller's token grants, and what a limit to some repositories takes."""

import json

import pytest
from django.db import transaction

from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import read_token
from tests.access.matrix import (
    ADMIN,
    ALICE,
    API,
    AUDIT,
    BOB,
    BODIES,
    MATRIX,
    OF_THE_API,
    OLGA,
    PULL,
    PUSH,
    PUSH_ONLY,
    REGISTRY,
)
from tests.access.site import Site
from tests.conftest import BB
from tests.problems import nothing_written, read_problem
from workspaces.models import AccessToken

GRANTED: dict[str, set[str]] = {
    "anonymous": set(),
    ALICE: {"pull", "push", "delete"},
    BOB: {"pull", "push", "delete"},
    OLGA: {"pull"},
    "mallory": set(),
    "sam": set(),
    PULL: {"pull"},
    PUSH: {"pull", "push", "delete"},
    PUSH_ONLY: {"pull", "push"},
    REGISTRY: set(),
    AUDIT: set(),
    ADMIN: {"pull", "delete"},
    "pull here": {"pull"},
    "push here": {"pull", "push", "delete"},
    "push elsewhere": set(),
    "push-only here": {"pull", "push"},
    "push-only elsewhere": set(),
    "registry here": set(),
    "token of globex": set(),
}
DRY_RUNS = {
    "alice": 200,
    "bob": 200,
    "olga": 200,
    "mallory": 404,
    PULL: 403,
    PUSH: 200,
    PUSH_ONLY: 200,
    "pull here": 403,
    "push here": 200,
    "push elsewhere": 403,
    "registry here": 200,
    "registry elsewhere": 403,
    REGISTRY: 200,
    AUDIT: 200,
    ADMIN: 200,
    "token of globex": 404,
}


def test_the_token_service_grants_each_caller_what_they_may_do(site: Site) -> None:
    granted = {}
    for caller in GRANTED:
        answer = site.log_in(caller, "repository:acme/api:pull,push,delete", "registry:catalog:*")
        access = read_token(answer.json()["token"], token_keys()).access
        granted[caller] = {each.name: set(each.actions) for each in access}
    assert granted == {
        caller: {"acme/api": actions} if actions else {} for caller, actions in GRANTED.items()
    }


def test_a_dry_run_is_for_everybody_in_the_workspace_who_may_push_or_read(site: Site) -> None:
    body = {"repository": "acme/api", "tag": "locked", "digest": BB, "dry_run": True}
    with nothing_written():
        answered = {
            caller: site.clients[caller]
            .post("/api/v1/check-push", json.dumps(body), content_type="application/json")
            .status_code
            for caller in DRY_RUNS
        }
    assert answered == DRY_RUNS


@pytest.mark.parametrize("name", ["check-push", "check-delete"])
def test_a_limited_token_is_told_that_a_check_is_not_for_it(site: Site, name: str) -> None:
    body = BODIES["POST", f"{API}{name}"]
    with nothing_written():
        response = site.clients["registry elsewhere"].post(
            f"/api/v1/{name}", json.dumps(body), content_type="application/json"
        )
    problem = read_problem(response, 403, "forbidden")
    assert problem["detail"] == (
        "This access token is limited to other repositories than acme/api."
    )


def test_a_limit_takes_all_that_is_not_about_one_repository(site: Site) -> None:
    """No token can be made with such scopes and a limit: if there is one, it still does nothing."""
    AccessToken.objects.filter(name__in=["audit", "admin"]).update(repositories=["web"])
    answered = {}
    expected = {}
    for address, method in OF_THE_API:
        by_caller = MATRIX[address][method]
        for caller in (AUDIT, ADMIN):
            key = (method, address, caller)
            with transaction.atomic():
                response = site.call(caller, method, address, site.acme.fill(address))
                answered[key] = response.status_code
                transaction.set_rollback(True)
            is_let_in = by_caller[caller] < 300 and by_caller["token of globex"] >= 400
            expected[key] = 403 if is_let_in else by_caller[caller]
    assert answered == expected
