"""Delete a locked tag as an admin: what becomes of the tag, of its name and of the log."""

from collections.abc import Callable

import pytest

from containers.models import Tag as TagRecord
from containers.registry.client import RegistryAnswer
from immutability.actions import delete_tag
from immutability.errors import ConflictError, PermissionRevokedError, TryAgainError
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from tests.immutability.actions.conftest import Act
from tests.immutability.core import Core
from tests.immutability.making import (
    make_lock,
    put_in_flight,
    set_record,
    tag_event_kinds,
    tag_events,
)
from tests.immutability.registry_double import (
    NO_ANSWER,
    Carry,
    Reply,
    answer,
    digest_of,
    image,
    lands_without_answer,
)
from tests.problems import nothing_written
from workspaces.models import Membership, Workspace

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


@pytest.fixture(params=[True, False], ids=["tag deletes", "no tag deletes"])
def row(core: Core, request: pytest.FixtureRequest) -> LockedTag:
    """The lock of v1, pushed through the gate; its registry can delete single tags, or cannot."""
    core.registry.deletes_tags = request.param
    core.push("v1", image=ONE)
    return LockedTag.objects.get()


def test_the_name_stays_reserved(core: Core, act: Act, row: LockedTag) -> None:
    left = act("reserve", row, core.registry, reason="leaked a secret")
    assert left is not None
    assert (left.state, left.deleted_by) == ("reserved", "alice")
    assert (core.shown(), core.record().digest) == ("nothing", "")
    event = tag_events(core.workspace)[-1]
    assert (event.kind, event.actor, event.reason) == ("tag.deleted", "alice", "leaked a secret")
    assert core.push("v1", image=TWO) == "403 reserved"


@pytest.mark.parametrize("state", ["locked", "released"])
def test_the_name_is_free(core: Core, act: Act, row: LockedTag, state: str) -> None:
    LockedTag.objects.update(state=state)
    assert act("delete and free", row, core.registry, expected_state=state) is None
    assert tag_event_kinds(core.workspace)[-2:] == ["tag.deleted", "lock.freed"]
    assert core.push("v1", image=TWO) == "201"


def test_a_tag_whose_image_is_lost_can_be_deleted_and_freed(
    core: Core, act: Act, row: LockedTag
) -> None:
    core.registry.manifests.clear()
    core.registry.tags.clear()
    assert act("delete and free", row, core.registry) is None
    assert core.push("v1", image=TWO) == "201"


def test_a_suspended_lock_ends_with_its_tag(core: Core, act: Act, row: LockedTag) -> None:
    core.protect(Protection.NONE)
    with nothing_written(), pytest.raises(ConflictError, match="do not cover this tag"):
        act("reserve", row, core.registry)
    assert act("delete and free", row, core.registry) is None
    assert (core.lock(), core.shown()) == ("none", "nothing")
    assert tag_event_kinds(core.workspace)[-1] == "lock.ended"


def test_a_suspended_lock_of_a_lost_image_ends(core: Core, act: Act, row: LockedTag) -> None:
    core.protect(Protection.NONE)
    core.registry.manifests.clear()
    core.registry.tags.clear()
    assert act("delete and free", row, core.registry) is None
    assert core.lock() == "none"


def test_a_tag_that_shows_another_image_is_not_deleted_by_its_image(core: Core, act: Act) -> None:
    core.registry.deletes_tags = False
    core.push("v1", image=ONE)
    core.registry.store(TWO, "v1")
    with pytest.raises(ConflictError, match="the registry shows"):
        act("reserve", LockedTag.objects.get(), core.registry)
    assert core.shown() == core.name_of(core.registry.tags["v1"])


def test_a_tag_that_shares_its_image_says_with_which_and_what_helps(core: Core, act: Act) -> None:
    core.registry.deletes_tags = False
    core.push("v1", "v2", image=ONE)
    with pytest.raises(ConflictError) as caught:
        act("reserve", LockedTag.objects.get(tag="v1"), core.registry)
    assert str(caught.value).endswith(
        '"v2" would go with its image. Release it and push another image under this tag, then '
        f"delete it; or delete {digest_of(ONE)}, and all of these tags with it."
    )
    assert set(LockedTag.objects.values_list("state", flat=True)) == {"locked"}
    core.release()
    assert core.push("v1", image=TWO) == "201"
    act("reserve", LockedTag.objects.get(tag="v1"), core.registry)
    assert [core.lock(tag) for tag in ("v1", "v2")] == [
        f"reserved {core.name_of(digest_of(TWO))}",
        f"locked {core.name_of(digest_of(ONE))}",
    ]


def test_what_the_registry_refuses_is_told_with_its_reason(core: Core, act: Act) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE", answer(403, "DENIED"))
    with pytest.raises(ConflictError, match=r"acme/api:v1 was not deleted: .* 403 \(DENIED"):
        act("reserve", LockedTag.objects.get(), core.registry)
    assert LockedTag.objects.get().state == "locked"


@pytest.mark.parametrize("reply", [NO_ANSWER, lands_without_answer])
def test_a_delete_without_an_answer_is_decided_later(core: Core, act: Act, reply: Reply) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE", reply)
    with pytest.raises(TryAgainError):
        act("reserve", LockedTag.objects.get(), core.registry)
    assert LockedTag.objects.get().state == "deleting"
    core.reconcile()
    assert LockedTag.objects.get().state == "reserved"


def test_a_name_that_could_not_be_freed_is_said_to_be_reserved(core: Core, act: Act) -> None:
    core.push("v1", image=ONE)
    core.registry.script("HEAD", NO_ANSWER)
    with pytest.raises(ConflictError, match="its name is reserved, but it was not freed: "):
        act("delete and free", LockedTag.objects.get(), core.registry)
    assert LockedTag.objects.get().state == "reserved"


def test_a_second_request_to_the_registry_asks_for_permission_again(core: Core, act: Act) -> None:
    core.registry.deletes_tags = False
    core.push("v1", image=ONE)

    def demote(carry: Carry) -> RegistryAnswer:
        Membership.objects.update(role="member")
        return carry()

    core.registry.script("DELETE v1", demote)
    with pytest.raises(PermissionRevokedError):
        act("reserve", LockedTag.objects.get(), core.registry)
    assert core.registry.tags
    assert LockedTag.objects.get().state == "locked"


# ---- without a registry ----------------------------------------------------------------------


@pytest.mark.parametrize("state", ["locked", "released"])
def test_without_a_registry_the_name_is_reserved_at_once(
    acme: Workspace, act: Act, protect: Protect, state: str
) -> None:
    protect(acme, Protection.ALL)
    left = act("reserve", make_lock(acme, "v1", state), reason="bad")
    assert left is not None
    assert (left.state, left.deleted_by, left.delete_reason) == ("reserved", "alice", "")
    assert left.deleted_at is not None
    record = TagRecord.objects.get()
    assert (record.digest, record.revision) == ("", 1)
    assert [(each.kind, each.reason) for each in tag_events(acme)] == [("tag.deleted", "bad")]


@pytest.mark.parametrize("protection", [Protection.ALL, Protection.NONE])
def test_without_a_registry_the_name_is_free_at_once(
    acme: Workspace, act: Act, protect: Protect, protection: Protection
) -> None:
    protect(acme, protection)
    assert act("delete and free", make_lock(acme, "v1")) is None
    assert tag_event_kinds(acme) == ["tag.deleted", "lock.freed"]
    assert TagRecord.objects.get().digest == ""


def test_without_a_registry_nothing_reserves_the_name_of_a_suspended_lock(
    acme: Workspace, act: Act
) -> None:
    row = make_lock(acme, "v1")
    with nothing_written(), pytest.raises(ConflictError, match="do not cover this tag"):
        act("reserve", row)


# ---- what is no locked tag -------------------------------------------------------------------


def test_a_reserved_name_is_not_reserved_again(acme: Workspace, act: Act) -> None:
    row = make_lock(acme, "v1", "reserved")
    with nothing_written(), pytest.raises(ConflictError, match="is deleted and its name is reser"):
        act("reserve", row)


def test_a_reserved_name_is_freed(acme: Workspace, act: Act) -> None:
    assert act("delete and free", make_lock(acme, "v1", "reserved")) is None
    assert tag_event_kinds(acme) == ["lock.freed"]


@pytest.mark.parametrize("what", ["reserve", "delete and free"])
def test_a_claim_is_dropped(
    acme: Workspace, act: Act, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    row = make_lock(acme, "v1", "claimed")
    put_in_flight(row, write_is_external=True)
    dropped = []

    def drop(workspace: Workspace, lock_id: int, reason: str, *, actor: object) -> None:
        dropped.append((workspace, lock_id, reason))
        LockedTag.objects.all().delete()

    monkeypatch.setattr(delete_tag, "drop_claim", drop)
    assert act(what, row, reason="the runner died") is None
    assert dropped == [(acme, row.id, "the runner died")]


@pytest.mark.parametrize("what", ["reserve", "delete and free"])
def test_the_claim_of_a_push_through_the_gate_is_waited_for(
    acme: Workspace, act: Act, what: str
) -> None:
    row = make_lock(acme, "v1", "claimed")
    with nothing_written(), pytest.raises(TryAgainError, match="is being pushed right now"):
        act(what, row)


@pytest.mark.parametrize("state", ["claimed", "locked"])
def test_a_demoted_admin_drops_no_claim(
    acme: Workspace, act: Act, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    row = make_lock(acme, "v1", state)
    put_in_flight(row, write_is_external=True)
    Membership.objects.update(role="member")
    monkeypatch.setattr(delete_tag, "drop_claim", lambda *_, **__: row.delete())
    with nothing_written(), pytest.raises(PermissionRevokedError):
        act("reserve", row)


def test_a_lock_that_ended_and_came_back_is_not_deleted(core: Core, act: Act) -> None:
    """Between the question and the hold the tag got another lock: of another push."""
    core.push("v1", image=ONE)
    row = LockedTag.objects.get()

    def end(carry: Carry) -> RegistryAnswer:
        LockedTag.objects.filter(id=row.id).delete()
        set_record(row, digest="", revision=99)
        return carry()

    set_record(row, digest="")
    core.registry.script("HEAD", end)
    with pytest.raises(LockedTag.DoesNotExist):
        act("reserve", row, core.registry)
    assert core.registry.sent("DELETE") == []
