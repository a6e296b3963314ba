"""Writes that had no answer may land late, and locks that are not sure yet stand for no promise."""

from collections.abc import Callable
from typing import Any

import pytest

from containers.registry.client import RegistryAnswer
from immutability.actions import attempts
from immutability.actions.attempts import forget_ended_attempts
from immutability.actions.manage import (
    NameAfter,
    WrongStateError,
    delete_locked_tag,
    release_locked_tag,
)
from immutability.actions.read import UndecidedError
from immutability.actions.resolve import resolve_attempts
from immutability.models import Attempt, LockedTag
from immutability.protection import Policy, Protection
from tests.immutability.actions.asking import lock_of, standing_lock, tag_event_kinds, tag_events
from tests.immutability.gate.left_behind import age_attempts, open_attempts, state_of
from tests.immutability.gate.upstream import (
    INDEX_TYPE,
    TIMEOUT,
    Carry,
    GateClient,
    Upstream,
    answer,
    digest_of,
    image,
    index,
    is_undecided,
    lands_late,
)
from workspaces.access import SYSTEM
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


def _resolve(upstream: Any) -> int:
    return resolve_attempts(upstream, Attempt.objects.all())


def _delete(
    workspace: Workspace, upstream: Any, after: NameAfter = NameAfter.RESERVE, tag: str = "v1"
) -> LockedTag | None:
    row = standing_lock(workspace, tag)
    return delete_locked_tag(workspace, row.id, after, "why", actor=SYSTEM, registry=upstream)


def _release(workspace: Workspace) -> None:
    release_locked_tag(workspace, standing_lock(workspace, "v1").id, "why", actor=SYSTEM)


def _push_in_doubt(gate: GateClient, upstream: Upstream) -> None:
    """Lock v1 to ONE by a write whose repetition was answered, and the write itself was not."""
    upstream.script("PUT", TIMEOUT)
    assert is_undecided(gate.push("v1", ONE))
    assert gate.push("v1", ONE).status_code == 201
    _resolve(upstream)
    assert open_attempts() == 0


# A push that lands late.


def test_a_released_tag_waits_for_a_write_of_its_old_image_that_may_still_land(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    _push_in_doubt(gate, upstream)
    _release(protected)
    assert is_undecided(gate.push("v1", TWO))
    assert state_of(protected) == ("released", digest_of(ONE))
    age_attempts(16)
    assert gate.push("v1", TWO).status_code == 201
    assert state_of(protected) == ("locked", digest_of(TWO))


def test_a_freed_name_waits_for_a_write_of_its_old_image_that_may_still_land(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    _push_in_doubt(gate, upstream)
    _delete(protected, upstream, NameAfter.FREE)
    assert is_undecided(gate.push("v1", TWO))
    assert lock_of(protected, "v1") is None
    age_attempts(16)
    assert gate.push("v1", TWO).status_code == 201


def test_a_dropped_claim_leaves_its_writes_in_doubt(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT, answer(500))
    gate.push("v1", ONE)
    age_attempts(16)
    _resolve(upstream)
    row = standing_lock(protected, "v1")
    delete_locked_tag(protected, row.id, NameAfter.FREE, "broken", actor=SYSTEM)
    assert lock_of(protected, "v1") is None
    # It was sent again just now.
    assert is_undecided(gate.push("v1", TWO))
    age_attempts(16)
    assert gate.push("v1", TWO).status_code == 201


def test_what_is_there_is_not_adopted_while_another_image_may_still_land(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    _push_in_doubt(gate, upstream)
    protect(protected, Protection.NONE)
    assert gate.push("v1", TWO).status_code == 201
    assert lock_of(protected, "v1") is None
    protect(protected, Protection.ALL)
    for body in (ONE, TWO):
        assert is_undecided(gate.push("v1", body))
    assert is_undecided(gate.delete("v1"))
    assert lock_of(protected, "v1") is None
    assert open_attempts() == 0
    age_attempts(16)
    assert gate.push("v1", ONE).status_code == 403
    assert state_of(protected) == ("locked", digest_of(TWO))


# A delete that lands late.


def test_an_admins_delete_that_may_still_land_holds_up_the_same_image_too(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", TIMEOUT)
    with pytest.raises(UndecidedError):
        _delete(protected, upstream)
    assert state_of(protected) == ("deleting", digest_of(ONE))
    assert _resolve(upstream) == 1
    assert state_of(protected) == ("reserved", digest_of(ONE))
    assert is_undecided(gate.push("v1", ONE))
    _delete(protected, upstream, NameAfter.FREE)
    for body in (ONE, TWO):
        assert is_undecided(gate.push("v1", body))
    age_attempts(16)
    assert gate.push("v1", TWO).status_code == 201


def test_a_delete_of_a_child_that_may_still_land_holds_up_its_index(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push(digest_of(ONE), ONE)
    upstream.script("DELETE", TIMEOUT)
    assert is_undecided(gate.delete(digest_of(ONE)))
    assert _resolve(upstream) == 1
    gate.push(digest_of(ONE), ONE)
    assert is_undecided(gate.push("v1", index(ONE), media_type=INDEX_TYPE))
    age_attempts(16)
    assert gate.push("v1", index(ONE), media_type=INDEX_TYPE).status_code == 201


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_delete_that_may_still_land_holds_up_unprotected_pushes_too(
    acme: Workspace, gate: GateClient, upstream: Upstream, target: str
) -> None:
    """Else it would take what was pushed since, and nobody could tell why it is gone."""
    gate.push("v1", ONE)
    upstream.script("DELETE", TIMEOUT)
    gate.delete(target)
    _resolve(upstream)
    assert is_undecided(gate.push("v1", ONE))
    assert gate.push("v2", TWO).status_code == 201
    if target != "v1":
        # A delete by digest leaves alone what has another image by then.
        assert gate.push("v1", TWO).status_code == 201
    age_attempts(16)
    assert gate.push("v1", ONE).status_code == 201


# An admin, while a push is under way.


@pytest.mark.parametrize("after", list(NameAfter))
def test_nothing_is_deleted_or_freed_while_a_push_of_the_tag_is_under_way(
    protected: Workspace, gate: GateClient, upstream: Upstream, after: NameAfter
) -> None:
    refused: list[Exception] = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        # Another push of the same image joins, and lands first: the tag is locked.
        assert gate.push("v1", ONE).status_code == 201
        with pytest.raises(UndecidedError, match="under way") as caught:
            _delete(protected, upstream, after)
        refused.append(caught.value)
        return carry()

    upstream.script("PUT", meanwhile)
    assert gate.push("v1", ONE).status_code == 201
    assert len(refused) == 1
    assert upstream.sent("DELETE") == []
    assert state_of(protected) == ("locked", digest_of(ONE))
    assert _delete(protected, upstream, after) is None or after is NameAfter.RESERVE


def test_a_reserved_name_is_not_freed_while_its_image_is_coming_back(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    _delete(protected, upstream)

    def meanwhile(carry: Carry) -> RegistryAnswer:
        with pytest.raises(WrongStateError):
            _delete(protected, upstream, NameAfter.FREE)
        return carry()

    upstream.script("PUT", meanwhile)
    assert gate.push("v1", ONE).status_code == 201
    assert state_of(protected) == ("locked", digest_of(ONE))


def test_a_tag_that_is_released_while_a_push_of_it_is_under_way_waits_for_that_push(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    answers = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        assert gate.push("v1", ONE).status_code == 201
        _release(protected)
        answers.append(gate.push("v1", TWO))
        return carry()

    upstream.script("PUT", meanwhile)
    assert gate.push("v1", ONE).status_code == 201
    assert is_undecided(answers[0])
    assert gate.push("v1", TWO).status_code == 201
    assert upstream.tags == {"v1": digest_of(TWO)}


# Unprotected writes under way, and locks.


def test_a_delete_adopts_nothing_under_which_an_unprotected_push_may_still_land(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    answers = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        protect(acme, Protection.ALL)
        answers.extend([gate.delete("v1"), gate.delete(digest_of(ONE))])
        assert lock_of(acme, "v1") is None
        return carry()

    upstream.script("PUT", meanwhile)
    assert gate.push("v1", TWO).status_code == 201
    assert all(is_undecided(each) for each in answers)
    assert upstream.sent("DELETE") == []
    assert open_attempts() == 0
    assert gate.delete("v1").status_code == 403
    assert state_of(acme) == ("locked", digest_of(TWO))


@pytest.mark.parametrize("state", ["locked", "released", "reserved"])
def test_protection_that_comes_back_while_another_image_is_on_its_way_waits_for_its_end(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream, state: str
) -> None:
    gate.push("v1", ONE)
    if state == "released":
        _release(protected)
    if state == "reserved":
        _delete(protected, upstream)
    protect(protected, Protection.NONE)
    answers = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        protect(protected, Protection.ALL)
        assert state_of(protected) == ("claimed", digest_of(TWO))
        answers.extend([gate.push("v1", ONE), gate.push("v1", TWO), gate.delete("v1")])
        return carry()

    upstream.script("PUT", meanwhile)
    assert gate.push("v1", TWO).status_code == 201
    assert [each.status_code for each in answers] == [503, 503, 503]
    assert lock_of(protected, "v1") is None
    ended = tag_events(protected)[-1]
    assert (ended.kind, ended.digest, ended.other_digest) == (
        "lock.ended",
        digest_of(ONE),
        digest_of(TWO),
    )
    assert gate.push("v1", ONE).status_code == 403
    assert state_of(protected) == ("locked", digest_of(TWO))


@pytest.mark.parametrize("state", ["locked", "released", "reserved"])
@pytest.mark.parametrize("end", [answer(400, "MANIFEST_INVALID"), TIMEOUT], ids=["400", "timeout"])
def test_a_suspended_lock_holds_again_where_the_other_image_did_not_land(
    protected: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    end: RegistryAnswer | Exception,
    state: str,
) -> None:
    gate.push("v1", ONE)
    if state == "released":
        _release(protected)
    if state == "reserved":
        _delete(protected, upstream)
    protect(protected, Protection.NONE)
    upstream.script("PUT", end)
    gate.push("v1", TWO)
    protect(protected, Protection.ALL)
    if end is TIMEOUT:
        assert is_undecided(gate.push("v1", ONE))
        age_attempts(16)
        assert _resolve(upstream) == 1
    row = standing_lock(protected, "v1")
    assert (row.state, row.digest) == (state, digest_of(ONE))
    assert bool(row.deleted_by) == (state == "reserved")
    assert "lock.ended" not in tag_event_kinds(protected)
    assert open_attempts() == 0


def test_the_lock_comes_back_only_when_none_of_several_pushes_may_land(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("PUT", TIMEOUT, answer(400, "MANIFEST_INVALID"))
    gate.push("v1", TWO)
    assert gate.push("v1", image("three")).status_code == 400
    protect(protected, Protection.ALL)
    assert state_of(protected) == ("claimed", digest_of(TWO))
    age_attempts(16)
    _resolve(upstream)
    assert state_of(protected) == ("locked", digest_of(ONE))


# Senders that were held up.


def test_a_sender_whose_lease_is_over_sends_nothing(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    def meanwhile(carry: Carry) -> RegistryAnswer:
        age_attempts(2)
        return carry()

    upstream.script("GET", meanwhile)
    assert gate.push("v1", ONE).status_code == 201
    assert [attempt.outcome for attempt in Attempt.objects.order_by("opened_at")] == [
        "failed",
        "succeeded",
    ]
    assert upstream.sent() == ["v1"]


def test_a_sender_that_stood_still_after_it_was_marked_sends_nothing(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, 31.0])
    with monkeypatch.context() as stood_still:
        stood_still.setattr(attempts, "_read_clock", lambda: next(seconds))
        assert is_undecided(gate.push("v1", ONE))
    assert upstream.sent() == []
    age_attempts(2)
    assert _resolve(upstream) == 1
    assert state_of(protected) == ("locked", digest_of(ONE))


def test_who_has_joined_a_claim_and_not_sent_yet_decides_anew_where_it_is_adopted(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    answers = []

    def join(carry: Carry) -> RegistryAnswer:
        # What it sees: nothing there yet. What the other one sees: an image behind its back.
        upstream.script("GET", _adopt_first)
        answers.append(gate.push("v1", ONE))
        return carry()

    def _adopt_first(carry: Carry) -> RegistryAnswer:
        absent = carry()
        upstream.store(TWO, "v1")
        assert gate.push("v1", ONE).status_code == 403
        return absent

    upstream.script("GET", join)
    assert gate.push("v1", ONE).status_code == 403
    assert [each.status_code for each in answers] == [403]
    assert upstream.sent_by_tag == []
    assert state_of(protected) == ("locked", digest_of(TWO))


# What has ended.


@pytest.mark.parametrize(("days", "left"), [(6, 2), (8, 0)])
def test_attempts_that_ended_long_ago_are_forgotten(
    protected: Workspace, gate: GateClient, days: int, left: int
) -> None:
    for tag in ("v1", "v2"):
        gate.push(tag, ONE)
    age_attempts(days * 24 * 60)
    assert forget_ended_attempts() == 2 - left
    assert Attempt.objects.count() == left


def test_what_is_open_is_never_forgotten(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT)
    gate.push("v1", ONE)
    age_attempts(365 * 24 * 60)
    assert forget_ended_attempts() == 0
    assert open_attempts() == 1


# What a repetition is told of a delete says nothing of the delete before it.


def _delete_with_a_refused_repetition(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream, end: Any
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("DELETE", end, answer(409, "DENIED"), answer(409, "DENIED"))
    assert is_undecided(gate.delete("v1"))
    assert _resolve(upstream) == 0
    protect(protected, Protection.ALL)
    assert state_of(protected) == ("deleting", digest_of(ONE))
    assert is_undecided(gate.push("v1", ONE))
    age_attempts(14)
    assert _resolve(upstream) == 0
    age_attempts(2)
    assert _resolve(upstream) == 1
    assert open_attempts() == 0


def test_a_delete_that_landed_ends_the_lock_though_its_repetition_is_refused(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    _delete_with_a_refused_repetition(protected, protect, gate, upstream, lands_late)
    assert lock_of(protected, "v1") is None
    assert gate.push("v1", TWO).status_code == 201


def test_a_delete_that_did_not_land_and_whose_repetition_is_refused_leaves_the_lock(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    _delete_with_a_refused_repetition(protected, protect, gate, upstream, TIMEOUT)
    assert state_of(protected) == ("locked", digest_of(ONE))
    assert gate.push("v1", TWO).status_code == 403


def test_an_adoption_that_was_given_up_leaves_no_claim_behind(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    """The unprotected push that stood in its way is of the same image, and is no claim's holder."""
    upstream.script("PUT", lands_late)
    assert is_undecided(gate.push("v1", ONE))
    protect(acme, Protection.ALL)
    assert is_undecided(gate.delete("v1"))
    assert lock_of(acme, "v1") is None
    age_attempts(16)
    assert _resolve(upstream) == 1
    assert lock_of(acme, "v1") is None
    assert gate.push("v1", TWO).status_code == 403
    assert state_of(acme) == ("locked", digest_of(ONE))
