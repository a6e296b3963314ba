"""A delete, checked: what a lock holds is for admins alone."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError

from containers.models import Tag as KnownTag
from containers.reference import Digest, Repository, Tag
from immutability.actions.check_delete import DeleteCheck, check_delete
from immutability.actions.manage import release_locked_tag
from immutability.actions.read import UndecidedError
from immutability.models import LockedTag
from immutability.patterns import PatternEvaluationError
from immutability.protection import DeleteOutcome, Outcome, Policy, PolicyRule, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.actions.asking import (
    REPOSITORY,
    break_the_log,
    claim,
    delete,
    every_row,
    lock_of,
    meanwhile,
    message_of,
    push,
    standing_lock,
    tag_event_kinds,
    tag_events,
)
from tests.immutability.gate.upstream import Upstream, image
from workspaces.access import SYSTEM, Actor, ActorKind
from workspaces.models import Workspace

Protect = Callable[..., Policy]

ALICE = Actor("alice", ActorKind.REGISTRY)


# By tag.


def test_a_locked_tag_is_not_for_members_to_delete(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")
    answer = delete(acme, "v1.2.0")
    assert not answer.is_allowed
    [tag] = answer.tags
    assert (tag.outcome, tag.locked_digest) == (DeleteOutcome.LOCKED, Digest(AA))
    assert standing_lock(acme, "v1.2.0").state == "locked"
    event = tag_events(acme)[-1]
    assert (event.kind, event.repository, event.tag) == ("delete.refused", REPOSITORY, "v1.2.0")
    assert (event.digest, event.other_digest, event.actor) == (AA, "", "dana")
    assert (event.rule_name, event.reason) == (SEMVER.name, "only admins may delete a locked tag")


def test_a_refused_delete_is_an_oci_error(acme: Workspace, protect: Protect, settings: Any) -> None:
    settings.PUBLIC_URL = "https://tags.example.org"
    protect(acme, Protection.ALL)
    push(acme, "v1")
    answer = delete(acme, "v1")
    lock, event = standing_lock(acme, "v1"), tag_events(acme)[-1]
    link = f"https://tags.example.org/acme/lock-log/{event.ref}"
    assert answer.refusal is not None
    assert answer.refusal.status == 403
    [error] = answer.refusal.body["errors"]
    assert error == {
        "code": "DENIED",
        "message": (
            'tag "v1" of acme/api cannot be deleted because the tag is immutable: it is locked to '
            f"sha256:aaaaaaaaaaaa… since {lock.locked_at:%Y-%m-%d %H:%M} UTC because all tags are "
            "protected (pushed by dana via the registry). Only admins of acme can delete it. "
            f"{link}"
        ),
        "detail": {
            "reason": "TAG_IMMUTABLE",
            "state": "locked",
            "repository": REPOSITORY,
            "tag": "v1",
            "locked_digest": AA,
            "locked_at": lock.locked_at.isoformat(),
            "rule": None,
            "pushed_by": "dana via the registry",
            "event": event.ref,
            "url": link,
        },
    }


def test_a_repeated_refused_delete_gives_the_same_answer(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    assert delete(acme, "v1") == delete(acme, "v1")
    assert tag_event_kinds(acme) == ["tag.locked", "delete.refused"]


def test_an_admins_delete_leaves_the_name_reserved(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")
    answer = delete(acme, "v1.2.0", is_admin=True, actor=ALICE)
    assert answer.is_allowed
    assert answer.refusal is None
    assert answer.tags[0].outcome is DeleteOutcome.DELETED
    lock = standing_lock(acme, "v1.2.0")
    assert (lock.state, lock.digest, lock.deleted_by) == (
        "reserved",
        AA,
        "alice via the registry",
    )
    assert lock.deleted_at is not None
    event = tag_events(acme)[-1]
    assert (event.kind, event.digest, event.actor) == ("tag.deleted", AA, "alice")
    assert (event.rule_name, event.settings_version) == (SEMVER.name, 1)
    assert event.reason == "the name stays reserved"
    assert push(acme, "v1.2.0", digest=BB).outcome is Outcome.RESERVED
    assert push(acme, "v1.2.0").outcome is Outcome.LOCKED_NOW


def test_a_delete_of_a_reserved_name_is_allowed_and_keeps_it_reserved(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    delete(acme, "v1", is_admin=True, actor=ALICE)
    before = every_row()
    for is_admin in (False, True):
        answer = delete(acme, "v1", is_admin=is_admin)
        assert answer.is_allowed
        assert answer.tags[0].outcome is DeleteOutcome.NOT_LOCKED
    assert every_row() == before


@pytest.mark.parametrize("is_admin", [False, True])
def test_a_tag_that_nothing_holds_can_be_deleted(*, acme: Workspace, is_admin: bool) -> None:
    push(acme, "v1")
    answer = delete(acme, "v1", is_admin=is_admin)
    assert answer.is_allowed
    assert (answer.tags[0].outcome, answer.tags[0].locked_digest) == (
        DeleteOutcome.NOT_LOCKED,
        None,
    )
    assert not KnownTag.objects.exists()
    assert tag_events(acme) == []


def test_a_deleted_unprotected_tag_is_new_once_it_is_protected(
    acme: Workspace, protect: Protect
) -> None:
    push(acme, "v1")
    delete(acme, "v1")
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED_NOW


def test_a_delete_while_the_tag_is_not_protected_ends_its_lock(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    protect(acme, Protection.NONE)
    answer = delete(acme, "v1")
    assert answer.is_allowed
    assert answer.tags[0].outcome is DeleteOutcome.SUSPENDED
    assert lock_of(acme, "v1") is None
    event = tag_events(acme)[-1]
    assert (event.kind, event.digest, event.settings_version) == ("lock.ended", AA, 2)
    assert event.reason == "the tag was deleted while it was not protected"


def test_a_released_tag_is_still_for_admins_to_delete(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    release_locked_tag(acme, standing_lock(acme, "v1").id, "", actor=ALICE)
    assert not delete(acme, "v1").is_allowed
    assert delete(acme, "v1", is_admin=True).is_allowed
    assert standing_lock(acme, "v1").state == "reserved"


@pytest.mark.parametrize("is_admin", [False, True])
def test_a_delete_waits_for_a_push_under_way(
    *, acme: Workspace, protect: Protect, is_admin: bool
) -> None:
    protect(acme, Protection.ALL)
    claim(acme, "v1")
    before = every_row()
    answer = delete(acme, "v1", is_admin=is_admin)
    assert not answer.is_allowed
    assert answer.tags[0].outcome is DeleteOutcome.CLAIM_PENDING
    assert answer.refusal is not None
    assert answer.refusal.status == 503
    assert answer.refusal.body["errors"][0]["code"] == "UNAVAILABLE"
    assert every_row() == before


@pytest.mark.parametrize("target", ["v1", AA])
def test_an_existing_tag_is_protected_before_any_push_has_adopted_it(
    acme: Workspace, protect: Protect, target: str
) -> None:
    """A tag is covered the moment that the protection is saved: with its delete, its name would
    be free for another image."""
    push(acme, "v1")
    protect(acme, Protection.ALL)
    assert not delete(acme, target).is_allowed
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED


# By digest.


def test_a_delete_by_digest_is_refused_where_one_tag_is_locked(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1", "v1.2")
    before = every_row()["immutability_lockedtag"]
    answer = delete(acme, AA)
    assert not answer.is_allowed
    assert [(each.tag.name, each.outcome) for each in answer.tags] == [
        ("v1", DeleteOutcome.LOCKED),
        ("v1.2", DeleteOutcome.LOCKED),
    ]
    assert message_of(answer).startswith('tag "v1" of acme/api cannot be deleted ')
    assert tag_event_kinds(acme)[2:] == ["delete.refused"] * 2
    assert every_row()["immutability_lockedtag"] == before


def test_an_admins_delete_by_digest_reserves_every_tag_that_it_takes(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1", "v1.2")
    push(acme, "v2", digest=BB)
    answer = delete(acme, AA, is_admin=True)
    assert [each.tag.name for each in answer.tags] == ["v1", "v1.2"]
    assert {lock.tag: lock.state for lock in LockedTag.objects.all()} == {
        "v1": "reserved",
        "v1.2": "reserved",
        "v2": "locked",
    }


def test_a_delete_by_digest_takes_all_of_its_tags_or_none(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, PolicyRule("v", "^v"))
    push(acme, "v1")
    claim(acme, "v2")
    for is_admin in (False, True):
        assert not delete(acme, AA, is_admin=is_admin).is_allowed
        assert {lock.tag: lock.state for lock in LockedTag.objects.all()} == {
            "v1": "locked",
            "v2": "claimed",
        }


def test_a_final_refusal_weighs_more_than_a_push_under_way(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    claim(acme, "a")
    push(acme, "z")
    answer = delete(acme, AA)
    assert answer.refusal is not None
    assert answer.refusal.status == 403
    assert message_of(answer).startswith('tag "z" ')


def test_a_digest_that_no_lock_has_can_be_deleted(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    answer = delete(acme, BB)
    assert answer.is_allowed
    assert answer.tags == ()


def test_the_same_digest_in_another_repository_or_workspace_does_not_matter(
    acme: Workspace, globex: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    protect(globex, Protection.ALL)
    push(acme, "v1")
    assert delete(globex, AA, is_admin=True).is_allowed
    question = DeleteCheck(acme, Repository("acme/web"), Digest(AA), is_admin=True)
    assert check_delete(question, actor=ALICE).is_allowed
    assert standing_lock(acme, "v1").state == "locked"


def test_a_delete_by_digest_of_an_unprotected_tag_is_not_adopted_afterwards(
    acme: Workspace, protect: Protect
) -> None:
    """The registry drops every tag of the manifest: nothing is there any more to be adopted."""
    push(acme, "v1")
    assert delete(acme, AA).is_allowed
    protect(acme, Protection.ALL)
    assert push(acme, "v1", digest=BB).outcome is Outcome.LOCKED_NOW


# What cannot be decided or recorded is not allowed.


def test_a_delete_that_cannot_be_recorded_reserves_nothing(
    acme: Workspace, protect: Protect, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    before = every_row()

    break_the_log(monkeypatch)
    with pytest.raises(DatabaseError, match="disk full"):
        delete(acme, "v1", is_admin=True)
    assert every_row() == before


def test_a_rule_that_cannot_be_evaluated_allows_no_delete(
    acme: Workspace, protect: Protect, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")

    def fail(*args: object) -> None:
        raise PatternEvaluationError("out of memory")

    monkeypatch.setattr("immutability.patterns.Pattern.find", fail)
    with pytest.raises(PatternEvaluationError):
        delete(acme, "v1.2.0", is_admin=True)
    assert standing_lock(acme, "v1.2.0").state == "locked"


def test_a_lock_that_changes_between_read_and_write_makes_it_decide_anew(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    lock = LockedTag.objects.filter(tag="v1")
    with meanwhile(lambda: lock.update(state="claimed")):
        answer = delete(acme, "v1", is_admin=True)
    assert answer.tags[0].outcome is DeleteOutcome.CLAIM_PENDING
    assert standing_lock(acme, "v1").state == "claimed"


@pytest.mark.parametrize("target", ["v1", AA])
def test_a_save_between_read_and_write_makes_the_end_of_a_lock_decide_anew(
    acme: Workspace, protect: Protect, target: str
) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    protect(acme, Protection.NONE)
    with meanwhile(lambda: protect(acme, Protection.ALL)):
        answer = delete(acme, target)
    assert answer.tags[0].outcome is DeleteOutcome.LOCKED
    assert standing_lock(acme, "v1").state == "locked"


def test_a_tag_that_is_locked_between_read_and_answer_is_not_deleted(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    with meanwhile(lambda: push(acme, "v1")):
        answer = delete(acme, "v1")
    assert answer.tags[0].outcome is DeleteOutcome.LOCKED
    assert standing_lock(acme, "v1").state == "locked"


def test_what_never_settles_is_undecided(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    lock = LockedTag.objects.filter(tag="v1")
    changes = [lambda state=state: lock.update(state=state) for state in ("released", "locked") * 4]
    with meanwhile(*changes), pytest.raises(UndecidedError):
        delete(acme, "v1", is_admin=True)
    assert standing_lock(acme, "v1").state == "locked"
    assert tag_event_kinds(acme) == ["tag.locked"]


@pytest.mark.parametrize("target", ["v1", "digest"])
def test_a_covered_tag_that_only_the_registry_knows_is_not_deleted(
    acme: Workspace, protect: Protect, target: str
) -> None:
    registry = Upstream()
    digest = registry.store(image("one"), "v1")
    protect(acme, Protection.ALL)
    check = DeleteCheck(
        acme,
        Repository("acme/api"),
        Tag("v1") if target == "v1" else Digest(digest),
        is_admin=False,
    )
    answer = check_delete(check, actor=SYSTEM, registry=registry)  # type: ignore[arg-type]
    assert not answer.is_allowed
    assert standing_lock(acme, "v1").digest == digest
