"""What belongs to one workspace is unknown in another, and so is a workspace to strangers."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.access.matrix import (
    ADDRESSES,
    ADMIN,
    ALICE,
    API,
    AUDIT,
    IN_WORKSPACE,
    MATRIX,
    REGISTRY,
    TOKENS,
    WORKSPACE_ADDRESSES,
)
from tests.access.site import Site
from tests.conftest import AA
from tests.problems import nothing_written, read_problem
from workspaces.models import User, Workspace

FOREIGN = [
    (address, name)
    for address in ADDRESSES
    for name in (
        "lock_id",
        "ref",
        "save_ref",
        "claim_id",
        "repository",
        "token_id",
        "membership_id",
        "invitation_id",
    )
    if f":{name}>" in address
]


@pytest.mark.parametrize(("address", "name"), FOREIGN)
def test_the_ids_of_another_workspace_are_unknown(site: Site, address: str, name: str) -> None:
    foreign = getattr(site.globex, name)
    path = site.acme.fill(address, **{name: foreign})
    callers = (ALICE, REGISTRY, AUDIT, ADMIN) if address.startswith(API) else (ALICE,)
    with nothing_written():
        for method, by_caller in MATRIX[address].items():
            may = [caller for caller in callers if by_caller[caller] in (200, 302)]
            answered = {
                caller: site.call(caller, method, address, path).status_code for caller in may
            }
            assert may
            assert answered == dict.fromkeys(may, 404)


@pytest.mark.parametrize(("address", "name"), [each for each in FOREIGN if each[0].startswith(API)])
def test_another_workspaces_id_is_answered_like_one_that_never_was(
    site: Site, address: str, name: str
) -> None:
    foreign = getattr(site.globex, name)
    unknown = {
        "lock_id": 999_999,
        "ref": "0" * 12,
        "claim_id": str(UUID(int=0)),
        "repository": "globex/nowhere",
        "token_id": 999_999,
    }[name]
    method = next(iter(MATRIX[address]))
    caller = next(each for each in ("alice", REGISTRY) if MATRIX[address][method][each] == 200)
    answers = [
        site.call(caller, method, address, site.acme.fill(address, **{name: value}))
        for value in (foreign, unknown)
    ]
    first, second = (read_problem(answer, 404, "not_found") for answer in answers)
    assert str(first).replace(str(foreign), "?") == str(second).replace(str(unknown), "?")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("check-push", {"repository": "globex/api", "tag": "v1", "digest": AA}),
        ("check-push", {"repository": "globex/api", "tag": "v1", "dry_run": True}),
        ("check-delete", {"repository": "globex/api", "tag": "v1"}),
        ("check-delete", {"repository": "globex/api", "digest": AA}),
    ],
)
def test_the_repositories_of_another_workspace_are_unknown(
    site: Site, path: str, body: dict[str, Any]
) -> None:
    with nothing_written():
        for caller in ("alice", *TOKENS):
            response = site.clients[caller].post(
                f"/api/v1/{path}", json.dumps(body), content_type="application/json"
            )
            assert read_problem(response, 404, "NAME_UNKNOWN"), caller


def answer_everywhere(site: Site, addresses: list[str], **others: str) -> dict[str, int]:
    """Return what Alice is answered by each method of these addresses."""
    return {
        f"{method} {address}": site.call(
            "alice", method, address, site.acme.fill(address, **others)
        ).status_code
        for address in addresses
        for method in MATRIX[address]
    }


def test_a_workspace_that_is_not_there_is_unknown(site: Site) -> None:
    answered = answer_everywhere(site, WORKSPACE_ADDRESSES, slug="nobody")
    assert answered == dict.fromkeys(answered, 404)


@pytest.mark.parametrize("slug", ["ACME", "acme.", "globe x", "%00", "%FF%FE", "a" * 300])
def test_what_no_workspace_can_be_called_is_unknown_too(site: Site, slug: str) -> None:
    # The pages find their workspace in one place, and so do the calls of the API.
    addresses = ["<str:slug>/", f"{IN_WORKSPACE}container-settings"]
    answered = answer_everywhere(site, addresses, slug=slug)
    assert answered == dict.fromkeys(answered, 404)


def test_somebody_who_left_the_workspace_is_a_stranger(site: Site, alice: User) -> None:
    alice.memberships.all().delete()
    answered = answer_everywhere(site, WORKSPACE_ADDRESSES)
    assert answered == dict.fromkeys(answered, 404)


def test_a_rule_of_another_workspace_protects_nothing_here(
    site: Site, acme: Workspace, globex: Workspace, protect: Callable[..., Policy]
) -> None:
    protect(globex, Protection.SOME, PolicyRule("Ours", "^ours$"))
    protect(acme, Protection.NONE)
    body = {"repository": "acme/api", "tag": "ours", "digest": AA}
    response = site.clients[REGISTRY].post(
        "/api/v1/check-push", json.dumps(body), content_type="application/json"
    )
    assert response.json()["outcome"] == "unprotected"
