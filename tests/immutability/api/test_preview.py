"""POST …/container-settings/preview."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from containers.models import Tag as TagRecord
from immutability.models import Rule
from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.making import land, make_lock
from tests.problems import nothing_written, read_problem
from workspaces.access import Scope
from workspaces.models import Workspace

Protect = Callable[..., Policy]

URL = "/api/v1/workspaces/acme/container-settings/preview"
VERSIONS_ALONE = {"rule": "Versions", "exception": None, "pattern": "^v"}
VERSIONS = {"name": "Versions", "pattern": "^v"}


@pytest.fixture
def admin(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    return api_as(acme, Scope.ADMIN)


def ask(client: APIClient, **fields: Any) -> dict[str, Any]:
    with nothing_written():
        response = client.post(URL, fields, format="json")
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def test_it_says_what_saving_would_do(admin: APIClient, acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, PolicyRule("Production", "^prod"))
    make_lock(acme, "prod")
    make_lock(acme, "v0")
    for digest in (AA, BB):
        push = land(acme, digest, "v1")
    TagRecord.objects.create(
        workspace=acme, repository="acme/api", name="v1", digest=BB, pushed_at=push.at
    )
    rules = [VERSIONS, {"name": "Odd", "pattern": "^zz"}]
    found = ask(admin, protection="some", rules=rules)
    since = found["refused_pushes"].pop("since")
    [last] = found["refused_pushes"]["examples"]
    assert since < last.pop("last_at")
    assert found == {
        "version": 1,
        "is_exact": True,
        "checked_tags": 3,
        "locked": {
            "count": 1,
            "by_rule": [{**VERSIONS_ALONE, "count": 1, "examples": ["acme/api:v1"]}],
        },
        "suspended": {
            "count": 1,
            "by_rule": [
                {
                    "rule": "Production",
                    "exception": None,
                    "pattern": "^prod",
                    "count": 1,
                    "examples": ["acme/api:prod"],
                }
            ],
        },
        "resumed": {
            "count": 1,
            "by_rule": [{**VERSIONS_ALONE, "count": 1, "examples": ["acme/api:v0"]}],
        },
        "rules": [
            {"rule": "Versions", "pattern": "^v", "position": 1, "tags": 2},
            {"rule": "Odd", "pattern": "^zz", "position": 2, "tags": 0},
        ],
        "exceptions": [],
        "refused_pushes": {
            "count": 1,
            "is_exact": True,
            "examples": [
                {
                    "repository": "acme/api",
                    "tag": "v1",
                    "actor": "dana",
                    "actor_kind": "person",
                    "count": 1,
                }
            ],
        },
        "warnings": [],
    }


def test_what_is_left_out_stays_as_it_is_saved(
    admin: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL, SEMVER, protect_signature_tags=True)
    make_lock(acme, "sha256-" + "0" * 64)
    found = ask(admin, protection="all")
    assert found["suspended"]["count"] == 0
    assert [each["rule"] for each in found["rules"]] == [SEMVER.name]
    without = ask(admin, protection="all", protect_signature_tags=False)
    assert without["suspended"] == {
        "count": 1,
        "by_rule": [
            {
                "rule": None,
                "exception": None,
                "pattern": None,
                "count": 1,
                "examples": ["acme/api:sha256-" + "0" * 64],
            }
        ],
    }


def test_exceptions_are_told_apart_from_rules(
    admin: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    make_lock(acme, "latest")
    found = ask(admin, protection="all", exceptions=[{"name": "Moving", "pattern": "^latest$"}])
    assert found["suspended"]["by_rule"] == [
        {
            "rule": None,
            "exception": "Moving",
            "pattern": "^latest$",
            "count": 1,
            "examples": ["acme/api:latest"],
        }
    ]
    assert found["exceptions"] == [
        {"exception": "Moving", "pattern": "^latest$", "position": 1, "tags": 1}
    ]


def test_it_takes_the_body_of_a_put_as_it_is(admin: APIClient, acme: Workspace) -> None:
    body = admin.get("/api/v1/workspaces/acme/container-settings").json()
    assert ask(admin, **body, suspend_locks=True)["version"] == 0


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/protection"),
        ({"protection": "most"}, "#/protection"),
        ({"protection": "some", "rules": []}, "#/rules"),
        ({"protection": "some", "rules": [VERSIONS] * 8}, "#/rules"),
        ({"protection": "all", "rules": [{"name": "Bad", "pattern": "("}]}, "#/rules/0/pattern"),
        ({"protection": "all", "tags": ["v1"]}, "#/tags"),
    ],
)
def test_what_could_not_be_saved_has_no_preview(
    admin: APIClient, fields: dict[str, Any], pointer: str
) -> None:
    response = admin.post(URL, fields, format="json")
    assert read_problem(response, 400, "invalid")["errors"][0]["pointer"] == pointer


def test_a_rule_that_matches_no_tag_is_refused_as_when_saving(admin: APIClient) -> None:
    rules = [{"name": "Typo", "pattern": "^prod$ "}]
    response = admin.post(URL, {"protection": "some", "rules": rules}, format="json")
    read_problem(response, 400, "matches_no_tag")


def test_a_saved_rule_that_cannot_be_evaluated_is_an_error_and_no_answer(
    admin: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    Rule.objects.update(pattern="(")
    response = admin.post(URL, {"protection": "all", "rules": [VERSIONS]}, format="json")
    read_problem(response, 503, "undecided")


def test_warnings_come_with_it(admin: APIClient) -> None:
    found = ask(admin, protection="some", rules=[{"name": "Globs", "pattern": "release-*"}])
    assert [each["code"] for each in found["warnings"]] == ["looks_like_glob"]
