"""A workspace is archived, taken back, and handed over, each with an event."""

import pytest
from django.core.exceptions import PermissionDenied

from tests.problems import nothing_written
from tests.workspaces.test_commands import refuse, run
from workspaces.access import Actor, ActorKind
from workspaces.actions.archive import hand_over_workspace
from workspaces.log.models import LockEvent
from workspaces.models import Membership, User, Workspace

pytestmark = pytest.mark.django_db


def last_event() -> tuple[str, str, str, object]:
    row = LockEvent.objects.order_by("-id")[0]
    return row.workspace, row.kind, row.reason, row.details


def test_a_workspace_is_archived_and_unarchived_by_a_command(acme: Workspace) -> None:
    said = run("archive_workspace", "acme", "--reason", "sold")[1]
    assert said == "acme is archived.\n"
    assert last_event() == ("acme", "workspace.archived", "sold", None)
    acme.refresh_from_db()
    assert acme.is_archived
    with nothing_written():
        assert "as it was before" in run("archive_workspace", "acme")[1]
    refuse("create_workspace", "acme", "--name", "Another")
    assert run("archive_workspace", "acme", "--undo")[1] == "acme can be changed again.\n"
    assert last_event() == ("acme", "workspace.unarchived", "", None)
    acme.refresh_from_db()
    assert not acme.is_archived


def test_a_workspace_is_handed_over_by_a_command(
    acme: Workspace, alice: User, bob: User, mallory: User
) -> None:
    kinds = LockEvent.objects.order_by("-id").values_list("kind", flat=True)
    assert run("hand_over_workspace", "acme", "bob")[1] == "bob is admin of acme.\n"
    assert list(kinds[:2]) == ["member.changed", "workspace.handed_over"]
    run("hand_over_workspace", "acme", "mallory", "--reason", "Acme was bought")
    assert list(kinds[:2]) == ["member.added", "workspace.handed_over"]
    handed = LockEvent.objects.filter(kind="workspace.handed_over").latest("id")
    assert (handed.reason, handed.details) == ("Acme was bought", {"member": "mallory"})
    assert set(
        Membership.objects.filter(workspace=acme, role="admin").values_list(
            "user__username", flat=True
        )
    ) == {"alice", "bob", "mallory"}
    with nothing_written():
        run("hand_over_workspace", "acme", "mallory")
    User.objects.filter(username="bob").update(is_active=False)
    assert refuse("hand_over_workspace", "acme", "bob") == (
        "bob is deactivated. Choose someone else."
    )
    with nothing_written(), pytest.raises(PermissionDenied):
        hand_over_workspace(acme, mallory, actor=Actor("mallory", ActorKind.PERSON))
