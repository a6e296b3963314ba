"""A push, asked and checked: every outcome, what it writes, and what it leaves alone."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from containers.known_tags import read_known_tags
from containers.models import Tag as KnownTag
from containers.reference import Digest, Repository, Tag
from immutability.actions.check_push import PushCheck, check_push
from immutability.actions.claims import abandon_claim
from immutability.actions.manage import NameAfter, delete_locked_tag, release_locked_tag
from immutability.actions.read import UndecidedError, read_policy
from immutability.answers import PushAnswer
from immutability.models import Attempt, AttemptTag, LockedTag
from immutability.patterns import PatternEvaluationError
from immutability.protection import Outcome, Policy, PolicyRule, Protection
from tests.conftest import AA, BB, CC, SEMVER
from tests.immutability.actions.asking import (
    DANA,
    REPOSITORY,
    ask,
    attempt_of,
    break_the_log,
    claim,
    every_row,
    lock_of,
    meanwhile,
    message_of,
    push,
    standing_lock,
    tag_event_kinds,
    tag_events,
)
from workspaces.access import SYSTEM, Actor, ActorKind
from workspaces.log.models import EventRepeat, LockEvent
from workspaces.models import Workspace

Protect = Callable[..., Policy]


def outcomes(answer: PushAnswer) -> dict[str, Outcome]:
    return {each.tag.name: each.outcome for each in answer.tags}


def known_digest(workspace: Workspace, tag: str) -> str | None:
    known = read_known_tags(workspace, Repository(f"{workspace.slug}/api"), [Tag(tag)])
    return known[Tag(tag)].value if Tag(tag) in known else None


def reserve(workspace: Workspace, tag: str, digest: str = AA) -> LockedTag:
    """Lock a tag, and let an admin delete it."""
    push(workspace, tag, digest=digest)
    lock = standing_lock(workspace, tag)
    delete_locked_tag(workspace, lock.id, NameAfter.RESERVE, "", actor=Actor("alice", DANA.kind))
    return standing_lock(workspace, tag)


def release(workspace: Workspace, tag: str, digest: str = AA) -> LockedTag:
    """Lock a tag, and let an admin release it."""
    push(workspace, tag, digest=digest)
    lock = standing_lock(workspace, tag)
    return release_locked_tag(workspace, lock.id, "", actor=Actor("alice", DANA.kind))


# The first push.


def test_the_first_push_of_a_covered_tag_locks_it(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)
    answer = push(acme, "v1.2.0")
    assert answer.is_allowed
    assert answer.outcome is Outcome.LOCKED_NOW
    assert answer.refusal is None
    assert answer.claim is None
    [tag] = answer.tags
    assert tag.rule == SEMVER
    assert tag.locked_digest == Digest(AA)


def test_the_lock_holds_who_pushed_what_and_by_which_rule(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")
    lock = standing_lock(acme, "v1.2.0")
    assert (lock.repository, lock.tag, lock.state, lock.digest) == (
        REPOSITORY,
        "v1.2.0",
        "locked",
        AA,
    )
    assert (lock.rule_name, lock.rule_pattern) == (SEMVER.name, SEMVER.pattern)
    assert lock.settings_version == 1
    assert (lock.pushed_by, lock.pushed_by_kind) == ("dana", "registry")
    assert timezone.now() - lock.locked_at < timedelta(minutes=1)
    assert not Attempt.objects.exists()


def test_the_first_push_leaves_one_event(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")
    [event] = tag_events(acme)
    assert (event.kind, event.repository, event.tag) == ("tag.locked", REPOSITORY, "v1.2.0")
    assert (event.digest, event.other_digest) == (AA, "")
    assert (event.actor, event.actor_kind) == ("dana", "registry")
    assert (event.rule_name, event.rule_pattern) == (SEMVER.name, SEMVER.pattern)
    assert (event.settings_version, event.reason) == (1, "")


def test_under_all_a_lock_names_no_rule(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL, SEMVER)
    assert push(acme, "nightly").tags[0].rule is None
    assert standing_lock(acme, "nightly").rule_name == ""


@pytest.mark.parametrize("tag", ["latest", "v1.2.0"])
def test_a_locked_tag_refuses_another_image_latest_too(
    acme: Workspace, protect: Protect, tag: str
) -> None:
    protect(acme, Protection.ALL)
    push(acme, tag)
    answer = push(acme, tag, digest=BB)
    assert not answer.is_allowed
    assert answer.outcome is Outcome.LOCKED
    assert answer.tags[0].locked_digest == Digest(AA)
    assert standing_lock(acme, tag).digest == AA


def test_locks_of_one_repository_or_workspace_do_not_touch_another(
    acme: Workspace, globex: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    protect(globex, Protection.ALL)
    push(acme, "v1")
    assert push(globex, "v1", digest=BB).outcome is Outcome.LOCKED_NOW
    question = PushCheck(acme, Repository("acme/web"), (Tag("v1"),), Digest(BB))
    assert check_push(question, actor=DANA).outcome is Outcome.LOCKED_NOW


def test_tags_are_told_apart_by_case(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "RC1")
    assert push(acme, "rc1", digest=BB).outcome is Outcome.LOCKED_NOW


def test_a_check_needs_a_digest(acme: Workspace) -> None:
    question = PushCheck(acme, Repository(REPOSITORY), (Tag("v1"),), None)
    with pytest.raises(ValueError, match="a push has a digest"):
        check_push(question, actor=DANA)


# An identical push.


def test_an_identical_push_succeeds_and_changes_nothing(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    before = LockedTag.objects.values().get()
    answer = push(acme, "v1", actor=Actor("erin", ActorKind.REGISTRY))
    assert answer.is_allowed
    assert answer.outcome is Outcome.UNCHANGED
    assert answer.tags[0].locked_digest == Digest(AA)
    assert LockedTag.objects.values().get() == before
    assert tag_event_kinds(acme) == ["tag.locked", "push.identical"]


def test_identical_pushes_of_an_hour_are_one_event_and_a_counter(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    for _ in range(4):
        push(acme, "v1")
    assert tag_event_kinds(acme) == ["tag.locked", "push.identical"]
    assert EventRepeat.objects.get().count == 2


def test_with_the_switch_an_identical_push_is_refused(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL, refuse_identical_pushes=True)
    push(acme, "v1")
    answer = push(acme, "v1")
    assert answer.outcome is Outcome.LOCKED
    assert "Your push was the same image, and this workspace refuses identical pushes." in (
        message_of(answer)
    )
    assert tag_event_kinds(acme) == ["tag.locked", "push.refused"]


def test_with_the_switch_a_new_tag_is_locked_as_ever(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL, refuse_identical_pushes=True)
    assert push(acme, "v1").outcome is Outcome.LOCKED_NOW


def test_with_the_switch_an_existing_tag_refuses_the_image_that_it_has(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL, refuse_identical_pushes=True)
    assert push(acme, "v1", current=AA).outcome is Outcome.LOCKED
    assert tag_event_kinds(acme) == ["tag.adopted", "push.refused"]


# A refusal.


def test_a_refusal_is_an_oci_error_that_says_everything(
    acme: Workspace, protect: Protect, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://tags.example.org"
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")
    answer = push(acme, "v1.2.0", digest=BB)
    lock = standing_lock(acme, "v1.2.0")
    event = tag_events(acme)[-1]
    link = f"https://tags.example.org/acme/lock-log/{event.ref}"
    assert answer.refusal is not None
    assert answer.refusal.status == 403
    [error] = answer.refusal.body["errors"]
    assert error == {
        "code": "DENIED",
        "message": (
            'tag "v1.2.0" of acme/api cannot be overwritten because the tag is immutable: it is '
            f"locked to sha256:aaaaaaaaaaaa… since {lock.locked_at:%Y-%m-%d %H:%M} UTC by rule "
            '"Release versions" (pushed by dana via the registry). Your push was '
            "sha256:bbbbbbbbbbbb…. Push a new "
            f"tag, or ask an admin of acme. {link}"
        ),
        "detail": {
            "reason": "TAG_IMMUTABLE",
            "state": "locked",
            "repository": REPOSITORY,
            "tag": "v1.2.0",
            "locked_digest": AA,
            "locked_at": lock.locked_at.isoformat(),
            "rule": "Release versions",
            "pushed_by": "dana via the registry",
            "event": event.ref,
            "url": link,
            "pushed_digest": BB,
        },
    }


def test_a_refusal_leaves_one_event(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")
    protect(acme, Protection.SOME, SEMVER, PolicyRule("Another", "^x"))
    push(acme, "v1.2.0", digest=BB, actor=Actor("erin", ActorKind.REGISTRY))
    event = tag_events(acme)[-1]
    assert (event.kind, event.repository, event.tag) == ("push.refused", REPOSITORY, "v1.2.0")
    assert (event.digest, event.other_digest) == (AA, BB)
    assert (event.actor, event.actor_kind) == ("erin", "registry")
    assert (event.rule_name, event.rule_pattern) == (SEMVER.name, SEMVER.pattern)
    assert event.reason == "the tag is locked"


def test_a_repeated_refusal_gives_the_same_answer_and_the_same_ref(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    first = push(acme, "v1", digest=BB)
    assert push(acme, "v1", digest=BB) == first
    assert tag_event_kinds(acme) == ["tag.locked", "push.refused"]
    assert EventRepeat.objects.get().count == 1


def test_another_image_is_another_refusal(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    push(acme, "v1", digest=BB)
    push(acme, "v1", digest=CC)
    assert tag_event_kinds(acme) == ["tag.locked", "push.refused", "push.refused"]


# What the registry had before.


def test_an_existing_tag_is_adopted_and_accepts_the_image_that_it_has(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    answer = push(acme, "v1.2.0", current=AA)
    assert answer.outcome is Outcome.UNCHANGED
    assert answer.tags[0].locked_digest == Digest(AA)
    lock = standing_lock(acme, "v1.2.0")
    assert (lock.state, lock.digest, lock.pushed_by) == ("locked", AA, "")
    [event] = tag_events(acme)
    assert (event.kind, event.digest, event.rule_name) == ("tag.adopted", AA, SEMVER.name)


def test_an_existing_tag_is_adopted_and_refuses_another_image(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    answer = push(acme, "v1", digest=BB, current=AA)
    assert answer.outcome is Outcome.LOCKED
    assert answer.tags[0].locked_digest == Digest(AA)
    assert standing_lock(acme, "v1").digest == AA
    events = tag_events(acme)
    assert [event.kind for event in events] == ["tag.adopted", "push.refused"]
    assert [(event.digest, event.other_digest) for event in events] == [(AA, ""), (AA, BB)]
    assert message_of(answer).endswith(f"/acme/lock-log/{events[1].ref}")


def test_the_refusal_at_an_adoption_says_since_when_the_tag_is_locked(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    answer = push(acme, "v1", digest=BB, current=AA)
    lock = standing_lock(acme, "v1")
    assert (
        f"it is locked to sha256:aaaaaaaaaaaa… since {lock.locked_at:%Y-%m-%d %H:%M} UTC because "
        "all tags are protected. Your push was"
    ) in message_of(answer)


def test_a_refusal_at_an_adoption_is_the_same_the_next_time(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    first = push(acme, "v1", digest=BB, current=AA)
    assert push(acme, "v1", digest=BB, current=AA) == first


def test_what_an_earlier_unprotected_check_left_is_adopted(
    acme: Workspace, protect: Protect
) -> None:
    push(acme, "v1")
    assert known_digest(acme, "v1") == AA
    protect(acme, Protection.ALL)
    answer = push(acme, "v1", digest=BB)
    assert answer.outcome is Outcome.LOCKED
    assert standing_lock(acme, "v1").digest == AA
    assert known_digest(acme, "v1") is None


def test_the_last_unprotected_check_counts(acme: Workspace, protect: Protect) -> None:
    push(acme, "v1")
    push(acme, "v1", digest=BB)
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=BB).outcome is Outcome.UNCHANGED
    assert KnownTag.objects.count() == 0


def test_a_registry_that_says_what_it_has_knows_better(acme: Workspace, protect: Protect) -> None:
    push(acme, "v1")
    push(acme, "v2")
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=BB, current=None).outcome is Outcome.LOCKED_NOW
    assert push(acme, "v2", digest=BB, current=BB).outcome is Outcome.UNCHANGED


def test_a_lock_knows_better_than_a_registry(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    for current in (None, BB):
        assert push(acme, "v1", digest=BB, current=current).outcome is Outcome.LOCKED


def test_what_is_known_of_another_repository_is_not_adopted(
    acme: Workspace, protect: Protect
) -> None:
    push(acme, "v1")
    protect(acme, Protection.ALL)
    question = PushCheck(acme, Repository("acme/web"), (Tag("v1"),), Digest(BB))
    assert check_push(question, actor=DANA).outcome is Outcome.LOCKED_NOW


# A tag that is not covered.


def test_an_unprotected_push_leaves_no_event_and_no_lock(acme: Workspace) -> None:
    answer = push(acme, "v1")
    assert answer.is_allowed
    assert answer.outcome is Outcome.UNPROTECTED
    assert answer.tags[0].locked_digest is None
    assert not LockedTag.objects.exists()
    assert tag_events(acme) == []


def test_an_unprotected_push_that_brings_nothing_new_writes_nothing(acme: Workspace) -> None:
    push(acme, "v1")
    before = every_row()
    push(acme, "v1")
    assert every_row() == before


def test_a_suspended_lock_stays_when_the_same_image_comes(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    protect(acme, Protection.NONE)
    before = every_row()
    assert push(acme, "v1").outcome is Outcome.UNPROTECTED
    assert every_row() == before


def test_a_suspended_lock_ends_with_an_event_when_another_image_lands(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")
    protect(acme, Protection.NONE, SEMVER)
    answer = push(acme, "v1.2.0", digest=BB)
    assert answer.outcome is Outcome.UNPROTECTED
    assert answer.tags[0].locked_digest is None
    assert lock_of(acme, "v1.2.0") is None
    event = tag_events(acme)[-1]
    assert (event.kind, event.digest, event.other_digest) == ("lock.ended", AA, BB)
    assert (event.rule_name, event.settings_version) == (SEMVER.name, 2)
    assert event.reason == "another image was pushed while the tag was not protected"
    assert event.actor == "dana"


def test_a_suspended_lock_holds_again_where_protection_comes_back_first(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    protect(acme, Protection.NONE)
    push(acme, "v1")
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED
    assert push(acme, "v1").outcome is Outcome.UNCHANGED


def test_after_a_lock_has_ended_the_image_that_landed_is_adopted(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    protect(acme, Protection.NONE)
    push(acme, "v1", digest=BB)
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=AA).outcome is Outcome.LOCKED
    assert standing_lock(acme, "v1").digest == BB


def test_a_save_between_read_and_write_makes_the_end_of_a_lock_decide_anew(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    protect(acme, Protection.NONE)
    with meanwhile(lambda: protect(acme, Protection.ALL)):
        answer = push(acme, "v1", digest=BB)
    assert answer.outcome is Outcome.LOCKED
    assert standing_lock(acme, "v1").digest == AA


@pytest.mark.parametrize("is_known", [False, True])
def test_a_save_between_read_and_answer_makes_an_unprotected_push_decide_anew(
    *, acme: Workspace, protect: Protect, is_known: bool
) -> None:
    if is_known:
        push(acme, "v1")
    with meanwhile(lambda: protect(acme, Protection.ALL)):
        answer = push(acme, "v1")
    assert answer.outcome is (Outcome.UNCHANGED if is_known else Outcome.LOCKED_NOW)
    assert standing_lock(acme, "v1").digest == AA


def test_a_save_between_read_and_write_makes_a_first_push_decide_anew(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    with meanwhile(lambda: protect(acme, Protection.NONE)):
        answer = push(acme, "v1")
    assert answer.outcome is Outcome.UNPROTECTED
    assert lock_of(acme, "v1") is None
    assert tag_events(acme) == []


def test_a_lock_that_changes_between_read_and_write_makes_it_decide_anew(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    release(acme, "v1")
    lock = LockedTag.objects.filter(tag="v1")
    with meanwhile(lambda: lock.update(state="locked", digest=CC)):
        answer = push(acme, "v1", digest=BB)
    assert answer.outcome is Outcome.LOCKED
    assert standing_lock(acme, "v1").digest == CC


def test_a_lock_that_appears_between_read_and_write_wins(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    with meanwhile(lambda: push(acme, "v1", digest=CC)):
        answer = push(acme, "v1", digest=BB)
    assert answer.outcome is Outcome.LOCKED
    assert standing_lock(acme, "v1").digest == CC
    assert tag_event_kinds(acme) == ["tag.locked", "push.refused"]


def test_a_claim_that_is_given_up_between_read_and_write_is_not_joined(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    attempt = attempt_of(claim(acme, "v1"))
    with meanwhile(lambda: abandon_claim(attempt)):
        answer = claim(acme, "v1")
    assert answer.outcome is Outcome.CLAIMED
    assert standing_lock(acme, "v1").state == "claimed"


def test_what_never_settles_is_undecided(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    release(acme, "v1")
    lock = LockedTag.objects.filter(tag="v1")
    changes = [lambda digest=digest: lock.update(digest=digest) for digest in (BB, CC) * 4]
    with meanwhile(*changes), pytest.raises(UndecidedError):
        push(acme, "v1")
    assert standing_lock(acme, "v1").state == "released"
    assert tag_event_kinds(acme) == ["tag.locked", "lock.released"]


# Reserved and released.


def test_a_reserved_name_takes_back_only_its_own_image(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    reserve(acme, "v1")
    answer = push(acme, "v1", digest=BB)
    assert not answer.is_allowed
    assert answer.outcome is Outcome.RESERVED
    assert answer.refusal is not None
    assert answer.refusal.status == 403
    assert answer.refusal.body["errors"][0]["detail"]["state"] == "reserved"
    assert "was deleted by an admin (alice" in message_of(answer)
    assert standing_lock(acme, "v1").state == "reserved"
    refused = tag_events(acme)[-1]
    assert (refused.kind, refused.digest, refused.other_digest, refused.reason) == (
        "push.refused",
        AA,
        BB,
        "the name is reserved",
    )


def test_the_deleted_image_comes_back_and_is_locked(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    reserve(acme, "v1")
    answer = push(acme, "v1", actor=Actor("erin", ActorKind.REGISTRY))
    assert answer.outcome is Outcome.LOCKED_NOW
    lock = standing_lock(acme, "v1")
    assert (lock.state, lock.digest, lock.pushed_by) == ("locked", AA, "erin")
    assert (lock.replaced_state, lock.replaced_digest) == ("", "")
    assert tag_event_kinds(acme) == ["tag.locked", "tag.deleted", "tag.locked"]


@pytest.mark.parametrize("digest", [AA, BB])
def test_a_released_tag_is_locked_anew_to_whatever_comes(
    acme: Workspace, protect: Protect, digest: str
) -> None:
    protect(acme, Protection.ALL)
    release(acme, "v1")
    protect(acme, Protection.SOME, PolicyRule("All v", "^v"))
    assert push(acme, "v1", digest=digest).outcome is Outcome.LOCKED_NOW
    lock = standing_lock(acme, "v1")
    assert (lock.state, lock.digest, lock.rule_name, lock.settings_version) == (
        "locked",
        digest,
        "All v",
        2,
    )
    assert push(acme, "v1", digest=CC).outcome is Outcome.LOCKED
    assert tag_event_kinds(acme) == ["tag.locked", "lock.released", "tag.locked", "push.refused"]


@pytest.mark.parametrize("state", ["claimed", "deleting"])
def test_a_push_that_meets_a_claim_or_a_delete_is_told_to_try_again(
    acme: Workspace, protect: Protect, state: str
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    LockedTag.objects.update(state=state)
    before = every_row()
    answer = push(acme, "v1", digest=BB)
    assert not answer.is_allowed
    assert answer.outcome is Outcome.CLAIM_PENDING
    assert answer.refusal is not None
    assert answer.refusal.status == 503
    assert answer.refusal.body["errors"][0]["code"] == "UNAVAILABLE"
    assert every_row() == before


# Several tags in one push.


def test_several_tags_are_locked_together(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    answer = push(acme, "v1.2.0", "v1", "v1.2")
    assert outcomes(answer) == dict.fromkeys(("v1", "v1.2", "v1.2.0"), Outcome.LOCKED_NOW)
    assert [each.tag.name for each in answer.tags] == ["v1", "v1.2", "v1.2.0"]
    assert tag_event_kinds(acme) == ["tag.locked"] * 3


def test_nothing_is_locked_where_one_tag_is_refused(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    answer = push(acme, "a", "v1", "z", digest=BB)
    assert not answer.is_allowed
    assert outcomes(answer) == {"a": Outcome.FREE, "v1": Outcome.LOCKED, "z": Outcome.FREE}
    assert [each.locked_digest for each in answer.tags] == [None, Digest(AA), None]
    assert [lock.tag for lock in LockedTag.objects.all()] == ["v1"]
    assert tag_event_kinds(acme) == ["tag.locked", "push.refused"]


def test_a_refused_push_does_no_half_of_its_work(acme: Workspace, protect: Protect) -> None:
    """One tag each that would be locked, relocked, adopted, ended or remembered, and one that
    is refused: nothing but the refusal is put down."""
    protect(acme, Protection.ALL)
    reserve(acme, "v-reserved", BB)
    release(acme, "v-released")
    push(acme, "suspended")
    push(acme, "v-locked")
    protect(acme, Protection.SOME, PolicyRule("v", "^v"))
    before = every_row()
    answer = push(
        acme,
        "v-new",
        "v-reserved",
        "v-released",
        "suspended",
        "unprotected",
        "v-locked",
        digest=BB,
    )
    assert answer.outcome is Outcome.LOCKED
    after = every_row()
    [refused] = [
        each for each in after["workspaces_lockevent"] if each not in before["workspaces_lockevent"]
    ]
    assert (refused["kind"], refused["tag"]) == ("push.refused", "v-locked")
    for table in set(after) - {"workspaces_lockevent", "workspaces_eventrepeat"}:
        assert after[table] == before[table]


def test_a_tag_that_is_refused_at_its_adoption_undoes_the_other_claims(
    acme: Workspace, protect: Protect
) -> None:
    push(acme, "m")
    protect(acme, Protection.ALL)
    answer = push(acme, "a", "m", "z", digest=BB)
    assert answer.outcome is Outcome.LOCKED
    assert outcomes(answer) == {"a": Outcome.FREE, "m": Outcome.LOCKED, "z": Outcome.FREE}
    assert [(lock.tag, lock.digest) for lock in LockedTag.objects.all()] == [("m", AA)]
    assert tag_event_kinds(acme) == ["tag.adopted", "push.refused"]


def test_a_refused_push_of_several_existing_tags_answers_the_same_again(
    acme: Workspace, protect: Protect
) -> None:
    push(acme, "a", digest=BB)
    push(acme, "m", digest=AA)
    protect(acme, Protection.ALL)
    asked = ask(acme, "a", "m", digest=BB)
    first = push(acme, "a", "m", digest=BB)
    again = push(acme, "a", "m", digest=BB)
    assert outcomes(again) == {"a": Outcome.UNCHANGED, "m": Outcome.LOCKED}
    assert first.tags == again.tags
    assert asked.tags == again.tags


def test_every_tag_that_is_refused_leaves_an_event(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1", "v2")
    answer = push(acme, "v2", "v1", digest=BB)
    refused = tag_events(acme)[2:]
    assert [(event.kind, event.tag) for event in refused] == [
        ("push.refused", "v1"),
        ("push.refused", "v2"),
    ]
    assert message_of(answer).startswith('tag "v1" of acme/api ')
    assert message_of(answer).endswith(refused[0].ref)


def test_a_final_refusal_weighs_more_than_a_claim_under_way(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    claim(acme, "a")
    push(acme, "z")
    answer = push(acme, "a", "z", digest=BB)
    assert answer.outcome is Outcome.LOCKED
    assert outcomes(answer) == {"a": Outcome.CLAIM_PENDING, "z": Outcome.LOCKED}
    assert answer.refusal is not None
    assert answer.refusal.status == 403
    assert message_of(answer).startswith('tag "z" of acme/api ')


def test_a_push_of_covered_and_uncovered_tags(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)
    answer = push(acme, "latest", "v1.2.0")
    assert outcomes(answer) == {"latest": Outcome.UNPROTECTED, "v1.2.0": Outcome.LOCKED_NOW}
    assert answer.outcome is Outcome.LOCKED_NOW
    assert known_digest(acme, "latest") == AA
    assert known_digest(acme, "v1.2.0") is None


# Signature tags.


def test_signature_tags_can_be_rewritten_under_all(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    tag = "sha256-" + "a" * 64 + ".sig"
    for digest in (AA, BB, CC):
        assert push(acme, tag, digest=digest).outcome is Outcome.UNPROTECTED
    protect(acme, Protection.ALL, protect_signature_tags=True)
    assert push(acme, tag, digest=AA).outcome is Outcome.LOCKED


# What cannot be decided or recorded is not allowed.


def test_a_log_that_cannot_be_written_leaves_no_lock(
    acme: Workspace, protect: Protect, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(acme, Protection.ALL)
    before = every_row()

    break_the_log(monkeypatch)
    with pytest.raises(DatabaseError, match="disk full"):
        push(acme, "v1", "v2")
    assert every_row() == before


@pytest.mark.parametrize("digest", [AA, BB])
def test_an_identical_or_refused_push_that_cannot_be_recorded_is_not_answered(
    acme: Workspace, protect: Protect, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    before = every_row()

    break_the_log(monkeypatch)
    with pytest.raises(DatabaseError, match="disk full"):
        push(acme, "v1", digest=digest)
    assert every_row() == before


def test_an_end_of_a_lock_that_cannot_be_recorded_does_not_end_it(
    acme: Workspace, protect: Protect, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    protect(acme, Protection.NONE)
    before = every_row()

    break_the_log(monkeypatch)
    with pytest.raises(DatabaseError, match="disk full"):
        push(acme, "v1", digest=BB)
    assert every_row() == before


def test_a_rule_that_cannot_be_evaluated_allows_nothing(
    acme: Workspace, protect: Protect, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    before = every_row()

    def fail(*args: object) -> None:
        raise PatternEvaluationError("out of memory")

    monkeypatch.setattr("immutability.patterns.Pattern.find", fail)
    with pytest.raises(PatternEvaluationError):
        push(acme, "nightly")
    with pytest.raises(PatternEvaluationError):
        ask(acme, "nightly")
    assert every_row() == before


def test_a_saved_change_is_in_force_for_the_very_next_push(
    acme: Workspace, protect: Protect
) -> None:
    assert push(acme, "v1").outcome is Outcome.UNPROTECTED
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED
    protect(acme, Protection.NONE)
    assert push(acme, "v1", digest=BB).outcome is Outcome.UNPROTECTED
    assert read_policy(acme).version == 2


# Asking.


def test_asking_about_a_new_tag_says_free(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)
    answer = ask(acme, "v1.2.0", digest=None)
    assert answer.is_allowed
    assert answer.outcome is Outcome.FREE
    assert answer.tags[0].rule == SEMVER
    assert answer.tags[0].locked_digest is None
    assert answer.refusal is None


@pytest.mark.parametrize(
    ("digest", "outcome"),
    [(AA, Outcome.UNCHANGED), (BB, Outcome.LOCKED), (None, Outcome.LOCKED)],
)
@pytest.mark.parametrize("way", ["locked", "current", "known"])
def test_asking_about_a_tag_that_exists(
    acme: Workspace, protect: Protect, way: str, digest: str | None, outcome: Outcome
) -> None:
    if way == "known":
        push(acme, "v1")
    protect(acme, Protection.ALL)
    if way == "locked":
        push(acme, "v1")
    answer = ask(acme, "v1", digest=digest, **({"current": AA} if way == "current" else {}))
    assert answer.outcome is outcome
    assert answer.tags[0].locked_digest == Digest(AA)
    if outcome is Outcome.LOCKED:
        assert answer.refusal is not None
        assert answer.refusal.status == 403
        detail = answer.refusal.body["errors"][0]["detail"]
        assert (detail["locked_digest"], detail["pushed_digest"]) == (AA, digest)
        assert (detail["event"], detail["url"]) == (None, None)
    else:
        assert answer.refusal is None


@pytest.mark.parametrize(
    ("state", "digest", "outcome"),
    [
        ("claimed", AA, Outcome.FREE),
        ("claimed", BB, Outcome.CLAIM_PENDING),
        ("reserved", AA, Outcome.FREE),
        ("reserved", BB, Outcome.RESERVED),
        ("reserved", None, Outcome.RESERVED),
        ("released", BB, Outcome.FREE),
        ("deleting", AA, Outcome.CLAIM_PENDING),
    ],
)
def test_asking_about_a_lock_in_another_state(
    acme: Workspace, protect: Protect, state: str, digest: str | None, outcome: Outcome
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    LockedTag.objects.update(state=state)
    answer = ask(acme, "v1", digest=digest)
    assert answer.outcome is outcome
    assert answer.is_allowed is outcome.is_allowed
    assert (answer.refusal is None) is outcome.is_allowed


def test_asking_about_an_unprotected_tag(acme: Workspace) -> None:
    assert ask(acme, "v1", current=BB).outcome is Outcome.UNPROTECTED
    assert ask(acme, "v1", digest=None).outcome is Outcome.UNPROTECTED


def test_asking_with_the_switch_for_identical_pushes(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL, refuse_identical_pushes=True)
    push(acme, "v1")
    assert ask(acme, "v1").outcome is Outcome.LOCKED
    assert ask(acme, "v2", current=AA).outcome is Outcome.LOCKED


def test_asking_changes_no_row_in_any_table(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    reserve(acme, "v-reserved")
    release(acme, "v-released")
    push(acme, "v-locked")
    claim(acme, "v-claimed")
    push(acme, "suspended")
    protect(acme, Protection.SOME, PolicyRule("v", "^v"))
    push(acme, "known")
    tags = ["v-new", "v-reserved", "v-released", "v-locked", "v-claimed", "suspended", "known"]
    before = every_row()
    for tag in [*tags, "new"]:
        for digest in (AA, BB, None):
            ask(acme, tag, digest=digest)
            ask(acme, tag, digest=digest, current=BB)
    ask(acme, *tags, digest=BB)
    assert every_row() == before


def test_asking_twice_and_then_pushing_agree(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    asked = ask(acme, "v1", digest=BB)
    assert ask(acme, "v1", digest=BB) == asked
    assert push(acme, "v1", digest=BB).tags == asked.tags


def test_asking_needs_no_write(
    acme: Workspace, protect: Protect, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    protect(acme, Protection.ALL)
    with django_assert_num_queries(3) as captured:
        ask(acme, "a", "b", "c")
    assert all(query["sql"].startswith("SELECT") for query in captured.captured_queries)


# How many queries a check costs, savepoints of the test's own transaction included.


def test_an_unprotected_push_that_brings_nothing_new_costs_four_reads(
    acme: Workspace, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    push(acme, "v1")
    with django_assert_num_queries(4) as captured:
        push(acme, "v1")
    assert all(query["sql"].startswith("SELECT") for query in captured.captured_queries)


def test_what_an_unprotected_push_of_a_new_image_costs(
    acme: Workspace, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(7):
        push(acme, "v1")


def test_what_a_first_push_costs(
    acme: Workspace, protect: Protect, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    with django_assert_max_num_queries(11):
        push(acme, "v1.2.0")


def test_many_tags_cost_no_more_than_one(
    acme: Workspace, protect: Protect, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    protect(acme, Protection.ALL)
    with django_assert_max_num_queries(11):
        push(acme, *(f"v{number}" for number in range(20)))


@pytest.mark.parametrize("digest", [AA, BB])
def test_what_an_identical_or_a_refused_push_costs(
    acme: Workspace,
    protect: Protect,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    digest: str,
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    with django_assert_max_num_queries(10):
        push(acme, "v1", digest=digest)
    with django_assert_max_num_queries(8):
        push(acme, "v1", digest=digest)


# An announced push.


def test_a_two_phase_check_claims_and_locks_nothing_yet(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)
    answer = claim(acme, "v1.2.0")
    assert answer.outcome is Outcome.CLAIMED
    assert answer.is_allowed
    attempt = attempt_of(answer)
    assert (attempt.repository, attempt.digest, attempt.settings_version) == (REPOSITORY, AA, 1)
    assert (attempt.actor, attempt.actor_kind, attempt.outcome) == ("dana", "registry", "open")
    assert answer.claim is not None
    assert answer.claim.expires_at == attempt.expires_at
    assert attempt.expires_at > timezone.now()
    assert [each.tag for each in attempt.tags.all()] == ["v1.2.0"]
    assert standing_lock(acme, "v1.2.0").state == "claimed"
    assert tag_events(acme) == []


def test_a_two_phase_check_that_claims_nothing_has_no_claim(
    acme: Workspace, protect: Protect
) -> None:
    assert claim(acme, "v1").claim is None
    protect(acme, Protection.ALL)
    assert claim(acme, "v1").outcome is Outcome.UNCHANGED
    assert claim(acme, "v1").claim is None
    assert claim(acme, "v1", digest=BB).claim is None
    assert not Attempt.objects.exists()


def test_a_two_phase_check_adopts_what_is_there(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    assert claim(acme, "v1", digest=BB, current=AA).outcome is Outcome.LOCKED
    assert standing_lock(acme, "v1").state == "locked"


def test_a_refused_two_phase_push_of_several_tags_announces_nothing(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    answer = claim(acme, "v1", "v2", digest=BB)
    assert not answer.is_allowed
    assert answer.claim is None
    assert lock_of(acme, "v2") is None
    assert not Attempt.objects.exists()
    assert not AttemptTag.objects.exists()


def test_another_image_waits_for_a_claim_even_where_it_was_not_protected_for_a_while(
    acme: Workspace, protect: Protect
) -> None:
    """While the end of a write is unknown, nothing frees, adopts or claims its tag again: the
    write may land after the protection has come back."""
    protect(acme, Protection.ALL)
    claim(acme, "v1")
    protect(acme, Protection.NONE)
    assert push(acme, "v1", digest=BB).outcome is Outcome.UNPROTECTED
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=CC).outcome is Outcome.CLAIM_PENDING


def test_an_event_names_its_actor_even_without_an_account(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1", actor=SYSTEM)
    assert LockEvent.objects.filter(kind="tag.locked").get().actor == "taglock"
