"""Announced pushes: confirmed, abandoned, joined, dropped."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.db import DatabaseError
from django.utils import timezone

from containers.known_tags import read_known_tags
from containers.reference import Digest, Repository, Tag
from immutability.actions.claims import (
    CLAIM_LEASE_SECONDS,
    ClaimEndedError,
    abandon_claim,
    confirm_claim,
)
from immutability.actions.manage import NameAfter, delete_locked_tag, release_locked_tag
from immutability.models import Attempt, LockedTag
from immutability.protection import Outcome, Policy, PolicyRule, Protection
from tests.conftest import AA, BB, CC, SEMVER
from tests.immutability.actions.asking import (
    REPOSITORY,
    attempt_of,
    break_the_log,
    claim,
    every_row,
    lock_of,
    push,
    standing_lock,
    tag_event_kinds,
    tag_events,
)
from workspaces.access import Actor, ActorKind
from workspaces.models import Workspace

Protect = Callable[..., Policy]

ALICE = Actor("alice", ActorKind.PERSON)
ERIN = Actor("erin", ActorKind.REGISTRY)
HARBORMASTER = Actor("the registry's token", ActorKind.TOKEN)


@pytest.fixture(autouse=True)
def _all_tags_are_protected(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)


def drop(workspace: Workspace, tag: str, reason: str = "") -> LockedTag | None:
    lock = standing_lock(workspace, tag)
    return delete_locked_tag(workspace, lock.id, NameAfter.RESERVE, reason, actor=ALICE)


def reserve(workspace: Workspace, tag: str) -> LockedTag:
    push(workspace, tag)
    delete_locked_tag(
        workspace, standing_lock(workspace, tag).id, NameAfter.RESERVE, "", actor=ALICE
    )
    return standing_lock(workspace, tag)


def release(workspace: Workspace, tag: str) -> LockedTag:
    push(workspace, tag)
    return release_locked_tag(workspace, standing_lock(workspace, tag).id, "", actor=ALICE)


# Confirm.


def test_a_confirmed_claim_is_a_lock(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    [lock] = confirm_claim(attempt, actor=HARBORMASTER)
    assert (lock.tag, lock.state, lock.digest) == ("v1", "locked", AA)
    assert standing_lock(acme, "v1").state == "locked"
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED
    assert push(acme, "v1").outcome is Outcome.UNCHANGED


def test_a_confirmed_claim_leaves_the_event_of_who_pushed(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    attempt = attempt_of(claim(acme, "v1.2.0"))
    assert tag_events(acme) == []
    confirm_claim(attempt, actor=HARBORMASTER)
    [event] = tag_events(acme)
    assert (event.kind, event.repository, event.tag, event.digest) == (
        "tag.locked",
        REPOSITORY,
        "v1.2.0",
        AA,
    )
    assert (event.actor, event.actor_kind) == ("dana", "registry")
    assert (event.rule_name, event.rule_pattern) == (SEMVER.name, SEMVER.pattern)
    assert event.settings_version == 2


def test_the_end_of_an_attempt_is_kept(acme: Workspace) -> None:
    confirmed, abandoned = attempt_of(claim(acme, "v1")), attempt_of(claim(acme, "v2"))
    confirm_claim(confirmed, actor=HARBORMASTER)
    abandon_claim(abandoned)
    for attempt, outcome in ((confirmed, "succeeded"), (abandoned, "failed")):
        attempt.refresh_from_db()
        assert attempt.outcome == outcome
        assert attempt.ended_at is not None


def test_a_claim_has_its_lease(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    left = attempt.expires_at - timezone.now()
    assert timedelta(seconds=CLAIM_LEASE_SECONDS - 60) < left
    assert left <= timedelta(seconds=CLAIM_LEASE_SECONDS)


def test_an_expired_claim_still_holds_and_can_be_confirmed(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    Attempt.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert push(acme, "v1", digest=BB).outcome is Outcome.CLAIM_PENDING
    confirm_claim(attempt, actor=HARBORMASTER)
    assert standing_lock(acme, "v1").state == "locked"


def test_confirming_again_changes_nothing(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    first = confirm_claim(attempt, actor=HARBORMASTER)
    before = every_row()
    again = confirm_claim(Attempt.objects.get(id=attempt.id), actor=HARBORMASTER)
    assert again == first
    assert every_row() == before


def test_all_tags_of_an_announced_push_are_locked_together(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1.2.0", "v1", "v1.2"))
    locks = confirm_claim(attempt, actor=HARBORMASTER)
    assert [lock.tag for lock in locks] == ["v1", "v1.2", "v1.2.0"]
    assert tag_event_kinds(acme) == ["tag.locked"] * 3


def test_a_claim_keeps_the_rule_under_which_it_was_decided(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    attempt = attempt_of(claim(acme, "v1.2.0"))
    protect(acme, Protection.SOME, PolicyRule("Everything", "."))
    confirm_claim(attempt, actor=HARBORMASTER)
    lock = standing_lock(acme, "v1.2.0")
    assert (lock.rule_name, lock.settings_version) == (SEMVER.name, 2)


def test_a_confirmation_that_cannot_be_recorded_locks_nothing(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    before = every_row()

    break_the_log(monkeypatch)
    with pytest.raises(DatabaseError, match="disk full"):
        confirm_claim(attempt, actor=HARBORMASTER)
    assert every_row() == before


def test_a_claim_of_one_workspace_is_not_touched_by_another(
    acme: Workspace, globex: Workspace, protect: Protect
) -> None:
    protect(globex, Protection.ALL)
    theirs = attempt_of(claim(globex, "v1", digest=BB))
    claim(acme, "v1")
    confirm_claim(theirs, actor=HARBORMASTER)
    assert standing_lock(globex, "v1").state == "locked"
    assert standing_lock(acme, "v1").state == "claimed"


# Abandon.


def test_an_abandoned_claim_burns_no_name(acme: Workspace) -> None:
    before = every_row()
    abandon_claim(attempt_of(claim(acme, "v1")))
    after = every_row()
    assert after["immutability_lockedtag"] == []
    assert after["workspaces_lockevent"] == before["workspaces_lockevent"]
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED_NOW


def test_abandoning_again_changes_nothing(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    abandon_claim(attempt)
    push(acme, "v1", digest=BB)
    before = every_row()
    abandon_claim(Attempt.objects.get(id=attempt.id))
    assert every_row() == before


def test_a_reserved_name_goes_back_to_being_reserved(acme: Workspace) -> None:
    reserved = reserve(acme, "v1")
    before = LockedTag.objects.values().get()
    answer = claim(acme, "v1")
    assert answer.outcome is Outcome.CLAIMED
    assert standing_lock(acme, "v1").state == "claimed"
    abandon_claim(attempt_of(answer))
    lock = standing_lock(acme, "v1")
    assert (lock.state, lock.digest) == ("reserved", AA)
    assert (lock.deleted_by, lock.deleted_at) == ("alice", reserved.deleted_at)
    assert push(acme, "v1", digest=BB).outcome is Outcome.RESERVED
    after = LockedTag.objects.values().get()
    assert (after["replaced_state"], after["replaced_digest"]) == ("", "")
    assert after["id"] == before["id"]


@pytest.mark.parametrize("digest", [AA, BB])
def test_a_released_tag_goes_back_to_being_released(acme: Workspace, digest: str) -> None:
    release(acme, "v1")
    abandon_claim(attempt_of(claim(acme, "v1", digest=digest)))
    lock = standing_lock(acme, "v1")
    assert (lock.state, lock.digest) == ("released", AA)
    assert push(acme, "v1", digest=CC).outcome is Outcome.LOCKED_NOW


@pytest.mark.parametrize("before", [reserve, release])
def test_a_failed_push_leaves_no_trace_in_the_lock_that_it_wanted_to_replace(
    acme: Workspace, protect: Protect, before: Callable[[Workspace, str], LockedTag]
) -> None:
    """A refused person must not read the name of somebody whose push never landed."""
    before(acme, "v1")
    protect(acme, Protection.SOME, PolicyRule("Later", "."))
    kept = LockedTag.objects.values().get()
    abandon_claim(attempt_of(claim(acme, "v1", actor=ERIN)))
    assert LockedTag.objects.values().get() == kept


@pytest.mark.parametrize("before", [reserve, release])
def test_a_confirmed_claim_over_an_older_lock_forgets_what_it_replaced(
    acme: Workspace, before: Callable[[Workspace, str], LockedTag]
) -> None:
    before(acme, "v1")
    confirm_claim(attempt_of(claim(acme, "v1", actor=ERIN)), actor=HARBORMASTER)
    lock = standing_lock(acme, "v1")
    assert (lock.state, lock.pushed_by) == ("locked", "erin")
    assert (lock.replaced_state, lock.replaced_digest) == ("", "")


# Several attempts of one image.


def test_the_same_image_joins_the_claim(acme: Workspace) -> None:
    first = claim(acme, "v1")
    second = claim(acme, "v1", actor=ERIN)
    assert second.outcome is Outcome.CLAIMED
    assert attempt_of(second).id != attempt_of(first).id
    assert LockedTag.objects.count() == 1


def test_another_image_is_told_to_wait(acme: Workspace) -> None:
    claim(acme, "v1")
    for ask_for in (claim, push):
        answer = ask_for(acme, "v1", digest=BB)
        assert answer.outcome is Outcome.CLAIM_PENDING
        assert answer.refusal is not None
        assert answer.refusal.status == 503
        [error] = answer.refusal.body["errors"]
        assert error["code"] == "UNAVAILABLE"
        assert error["message"] == (
            'tag "v1" of acme/api is being pushed by somebody else at this moment, as '
            "sha256:aaaaaaaaaaaa…. Try again in 10 seconds."
        )
        assert error["detail"] == {
            "reason": "CLAIM_PENDING",
            "repository": REPOSITORY,
            "tag": "v1",
        }
    assert Attempt.objects.count() == 1


def test_a_claim_lasts_until_none_of_its_attempts_is_open(acme: Workspace) -> None:
    first, second = attempt_of(claim(acme, "v1")), attempt_of(claim(acme, "v1"))
    abandon_claim(first)
    assert standing_lock(acme, "v1").state == "claimed"
    abandon_claim(second)
    assert lock_of(acme, "v1") is None


@pytest.mark.parametrize("winner", [0, 1])
def test_one_success_wins(acme: Workspace, winner: int) -> None:
    attempts = [attempt_of(claim(acme, "v1")), attempt_of(claim(acme, "v1", actor=ERIN))]
    confirm_claim(attempts[winner], actor=HARBORMASTER)
    abandon_claim(attempts[1 - winner])
    assert standing_lock(acme, "v1").state == "locked"
    assert tag_event_kinds(acme) == ["tag.locked"]


def test_a_failure_before_the_success_does_not_matter(acme: Workspace) -> None:
    first, second = attempt_of(claim(acme, "v1")), attempt_of(claim(acme, "v1"))
    abandon_claim(first)
    confirm_claim(second, actor=HARBORMASTER)
    assert standing_lock(acme, "v1").state == "locked"


def test_two_successes_lock_once(acme: Workspace) -> None:
    first, second = attempt_of(claim(acme, "v1")), attempt_of(claim(acme, "v1"))
    confirm_claim(first, actor=HARBORMASTER)
    assert [lock.tag for lock in confirm_claim(second, actor=HARBORMASTER)] == ["v1"]
    assert tag_event_kinds(acme) == ["tag.locked"]


def test_attempts_that_share_some_tags_keep_the_claims_that_are_theirs(acme: Workspace) -> None:
    first, second = attempt_of(claim(acme, "a", "b")), attempt_of(claim(acme, "b", "c"))
    abandon_claim(first)
    assert lock_of(acme, "a") is None
    assert standing_lock(acme, "b").state == "claimed"
    confirm_claim(second, actor=HARBORMASTER)
    assert {lock.tag: lock.state for lock in LockedTag.objects.all()} == {
        "b": "locked",
        "c": "locked",
    }


def test_a_push_in_one_call_locks_a_claimed_tag(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    assert push(acme, "v1", actor=ERIN).outcome is Outcome.LOCKED_NOW
    assert standing_lock(acme, "v1").state == "locked"
    assert tag_event_kinds(acme) == ["tag.locked"]
    assert [lock.tag for lock in confirm_claim(attempt, actor=HARBORMASTER)] == ["v1"]
    assert tag_event_kinds(acme) == ["tag.locked"]


def test_abandoning_after_a_push_in_one_call_leaves_the_lock(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    push(acme, "v1", actor=ERIN)
    abandon_claim(attempt)
    assert standing_lock(acme, "v1").state == "locked"


# A claim that was ended another way.


def test_a_claim_that_was_abandoned_cannot_be_confirmed(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    abandon_claim(attempt)
    before = every_row()
    with pytest.raises(ClaimEndedError) as caught:
        confirm_claim(attempt, actor=HARBORMASTER)
    assert str(caught.value) == "This claim has ended already: it was abandoned."
    assert every_row() == before


def test_a_claim_that_was_confirmed_cannot_be_abandoned(acme: Workspace) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    confirm_claim(attempt, actor=HARBORMASTER)
    before = every_row()
    with pytest.raises(ClaimEndedError) as caught:
        abandon_claim(attempt)
    assert str(caught.value) == "This claim has ended already: it was confirmed."
    assert every_row() == before


@pytest.mark.parametrize("end", [partial(confirm_claim, actor=HARBORMASTER), abandon_claim])
def test_a_claim_that_an_admin_dropped_cannot_be_ended_again(
    acme: Workspace, end: Callable[[Attempt], object]
) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    drop(acme, "v1")
    before = every_row()
    with pytest.raises(ClaimEndedError) as caught:
        end(attempt)
    assert str(caught.value) == (
        "This claim has ended already: it was dropped by an admin; check the push again."
    )
    assert every_row() == before


# Drop.


def test_an_admin_drops_a_claim_that_nobody_ends(acme: Workspace) -> None:
    claim(acme, "v1")
    claim(acme, "v1", actor=ERIN)
    assert drop(acme, "v1", "the build machine is gone") is None
    assert lock_of(acme, "v1") is None
    assert {attempt.outcome for attempt in Attempt.objects.all()} == {"dropped"}
    [event] = tag_events(acme)
    assert (event.kind, event.repository, event.tag, event.digest) == (
        "claim.dropped",
        REPOSITORY,
        "v1",
        AA,
    )
    assert (event.actor, event.actor_kind) == ("alice", "person")
    assert event.reason == "the build machine is gone"
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED_NOW


@pytest.mark.parametrize(("before", "state"), [(reserve, "reserved"), (release, "released")])
def test_a_dropped_claim_gives_back_what_it_replaced(
    acme: Workspace, before: Callable[[Workspace, str], LockedTag], state: str
) -> None:
    before(acme, "v1")
    claim(acme, "v1")
    left = drop(acme, "v1")
    assert left is not None
    assert (left.state, left.digest) == (state, AA)


def test_dropping_a_claim_leaves_other_tags_and_images_alone(acme: Workspace) -> None:
    claim(acme, "v1")
    other = attempt_of(claim(acme, "v2"))
    drop(acme, "v1")
    assert standing_lock(acme, "v2").state == "claimed"
    confirm_claim(other, actor=HARBORMASTER)


def test_dropping_one_tag_of_an_announced_push_gives_up_all_of_its_tags(acme: Workspace) -> None:
    """The attempt ends with the drop, and a claim without an open attempt would never end."""
    claim(acme, "a", "b")
    drop(acme, "a")
    assert lock_of(acme, "a") is None
    assert lock_of(acme, "b") is None


# A claim while nothing is protected.


def test_a_claim_that_is_confirmed_while_its_tag_is_not_protected_is_a_suspended_lock(
    acme: Workspace, protect: Protect
) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    protect(acme, Protection.NONE)
    confirm_claim(attempt, actor=HARBORMASTER)
    assert push(acme, "v1").outcome is Outcome.UNPROTECTED
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED


def test_what_a_confirmed_push_left_is_known_where_its_lock_had_ended(
    acme: Workspace, protect: Protect
) -> None:
    attempt = attempt_of(claim(acme, "v1"))
    LockedTag.objects.all().delete()
    protect(acme, Protection.NONE)
    assert confirm_claim(attempt, actor=HARBORMASTER) == []
    known = read_known_tags(acme, Repository(REPOSITORY), [Tag("v1")])
    assert known == {Tag("v1"): Digest(AA)}
