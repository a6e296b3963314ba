"""An archived workspace: its images can be pulled, and nothing in it is changed by anyone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from rest_framework.test import APIClient

from containers.names import RepositoryName
from containers.visibility import set_public
from immutability.actions.save_settings import save_container_settings
from immutability.errors import ArchivedError, PermissionRevokedError
from immutability.models import LockedTag
from immutability.policy.drafts import Draft
from immutability.policy.protection import Protection
from tests.conftest import sign_in_as
from tests.immutability.core import ALICE, Core
from tests.immutability.gate.client import GateClient
from tests.immutability.registry_double import digest_of, image
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Actor, ActorKind, Role, Scope
from workspaces.actions.archive import archive_workspace, unarchive_workspace
from workspaces.actions.invitations import invite
from workspaces.models import User

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

SAID = (
    "The workspace acme is archived: its images can be pulled, but nothing in it can be changed. "
    "Ask a site administrator to unarchive it."
)
ONE, TWO = image("one"), image("two")


@pytest.mark.both_databases
def test_pushes_and_deletes_are_refused_and_locks_stay(
    core: Core, gate: GateClient, admin_gate: GateClient, alice: User
) -> None:
    gate.push("v1", ONE)
    core.protect(Protection.NONE)
    gate.push("edge", ONE)
    core.protect()
    archive_workspace(core.workspace, actor=SYSTEM)
    core.registry.calls.clear()
    with nothing_written():
        answers = [
            gate.push("v1", ONE),
            gate.push("v1", TWO),
            gate.push("v2", TWO),
            gate.push(digest_of(TWO), TWO),
            gate.push(digest_of(TWO), TWO, query="tag=v3"),
            gate.delete("edge"),
            admin_gate.delete("v1"),
            admin_gate.delete(digest_of(ONE)),
        ]
    assert core.registry.sent() == []
    for answer in answers:
        assert answer.status_code == 403
        assert json.loads(answer.content)["errors"] == [
            {
                "code": "DENIED",
                "message": SAID,
                "detail": {"reason": "WORKSPACE_ARCHIVED", "workspace": "acme"},
            }
        ]
    unarchive_workspace(core.workspace, actor=SYSTEM)
    assert gate.push("v1", TWO).status_code == 403
    assert "immutable" in gate.push("v1", TWO).content.decode()
    assert gate.push("v2", TWO).status_code == 201


@pytest.mark.parametrize("change", ["push", "push by digest", "delete"])
def test_what_is_archived_meanwhile_counts_where_it_is_decided(core: Core, change: str) -> None:
    core.push("v1", image=ONE)
    core.registry.calls.clear()
    archive_workspace(core.workspace, actor=SYSTEM)
    # The row from before is what the gate has.
    assert not core.workspace.is_archived
    calls = {
        "push": lambda: core.push("v2", image=ONE),
        "push by digest": lambda: core.push(image=TWO),
        "delete": lambda: core.delete("v1", is_admin=True),
    }
    with nothing_written(), pytest.raises(ArchivedError, match=SAID):
        calls[change]()
    assert core.registry.sent() == []


def test_a_push_that_was_read_before_is_refused_in_its_hold(core: Core) -> None:
    store = core.registry.put_manifest

    def archive_and_store(*arguments: Any, **options: Any) -> Any:
        archive_workspace(core.workspace, actor=SYSTEM)
        return store(*arguments, **options)

    core.registry.put_manifest = archive_and_store  # type: ignore[method-assign]
    with pytest.raises(ArchivedError):
        core.push("v1", image=ONE)
    assert core.shown() == "nothing"


def test_a_registry_that_asks_is_told(
    core: Core, registry: APIClient, api_as: Callable[..., APIClient]
) -> None:
    archive_workspace(core.workspace, actor=SYSTEM)
    asked = {"repository": "acme/api", "tag": "v1", "digest": digest_of(ONE)}
    for options in ({}, {"dry_run": True}, {"two_phase": True}):
        answer = registry.post("/api/v1/check-push", {**asked, **options}, format="json").json()
        assert (answer["allowed"], answer["outcome"], answer["claim"]) == (False, "archived", None)
        assert answer["error"]["status"] == 403
        assert answer["error"]["body"]["errors"][0]["message"] == SAID
    for target in ({"tag": "v1"}, {"digest": digest_of(ONE)}):
        answer = registry.post(
            "/api/v1/check-delete", {"repository": "acme/api", **target}, format="json"
        ).json()
        assert answer["allowed"] is False
        assert answer["error"]["body"]["errors"][0]["message"] == SAID


def test_settings_locks_and_repositories_cannot_be_changed(
    core: Core, api_as: Callable[..., APIClient], alice: User
) -> None:
    core.push("v1", image=ONE)
    lock = LockedTag.objects.get()
    archive_workspace(core.workspace, actor=SYSTEM)
    client, browser = api_as(core.workspace, Scope.ADMIN), sign_in_as(alice)
    settings = "/api/v1/workspaces/acme/container-settings"
    refused = client.put(settings, {"protection": "none"}, headers={"If-Match": '"1"'})
    assert (refused.status_code, refused.json()["detail"]) == (403, SAID)
    assert client.get(settings).status_code == 200
    page = browser.post(f"/acme/locked-tags/{lock.id}/release/", {"reason": "because"})
    assert page.status_code == 403
    assert SAID in page.content.decode()
    overview = browser.get("/acme/").content.decode()
    assert "This workspace is archived since" in overview
    # Who was let in before it was archived.
    with nothing_written():
        for call in (
            core.release,
            lambda: save_container_settings(
                core.workspace,
                Draft(Protection.NONE),
                expected_version=1,
                may_suspend_locks=True,
                actor=ALICE,
            ),
            lambda: set_public(
                core.workspace, RepositoryName("acme/api"), is_public=True, actor=ALICE
            ),
        ):
            with pytest.raises((PermissionDenied, PermissionRevokedError), match="is archived"):
                call()
    # An auditor can be let in.
    invite(core.workspace, "dora", Role.AUDITOR, inviter=alice, actor=ALICE)
    assert client.get("/api/v1/workspaces/acme/access-tokens").status_code == 200


def test_only_site_administrators_archive(core: Core) -> None:
    with nothing_written():
        for change in (archive_workspace, unarchive_workspace):
            with pytest.raises(PermissionDenied):
                change(core.workspace, actor=Actor("alice", ActorKind.PERSON))
