"""What verifying finds of someone who can write to the database, and what it does not.

The tamperer has every right on the database, and not the key; who has both is found by anyone
who kept a checkpoint.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from tests.conftest import CC
from tests.workspaces.log.conftest import Verify, Write
from tests.workspaces.log.tampering import (
    drop_checkpoints,
    note,
    seal_anew,
    without_triggers,
    write_at,
)
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.log.canonical import format_time
from workspaces.log.checkpoints import make_checkpoint, parse_statement
from workspaces.log.erase import erase_origins
from workspaces.log.keys import read_known_keys
from workspaces.log.models import EventOrigin, EventSeal, LockEvent
from workspaces.log.notes import open_note
from workspaces.log.seal import seal_events
from workspaces.log.verify import Verification
from workspaces.models import AccessToken, Membership, User, Workspace

# What stands in an event's place once someone has altered it.
OTHER: dict[str, Any] = {
    "ref": "AAAAAAAAAAAA",
    "at": F("at") - timedelta(microseconds=1000),
    "workspace": "globex",
    "kind": "push.identical",
    "repository": "acme/web",
    "tag": "v9",
    "digest": CC,
    "other_digest": CC,
    "actor": "mallory",
    "actor_kind": "person",
    "rule_name": "Release",
    "rule_pattern": "^w",
    "settings_version": 4,
    "reason": "the tag was locked",
    "details": {"number": 1, "text": "Umlaut €"},
    "origin_hash": "0" * 64,
}


def test_a_log_that_nobody_touched_has_no_findings(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    kept = note()
    write(2)
    seal_events()
    note()
    write(1)
    verification = Verification("acme")
    assert list(verification.run(read_known_keys(), [])) == []
    assert verify(kept) == []
    assert (verification.sealed, verification.unsealed, verification.checkpoints) == (7, 1, 2)
    assert re.fullmatch(
        r"0 findings; 7 events sealed, the last one of \S+Z; 1 not sealed yet; 2 checkpoints with "
        r"a good signature\.",
        verification.describe(),
    )


def test_without_a_checkpoint_it_says_what_that_means(
    sealed: list[LockEvent], log_files: Path
) -> None:
    verification = Verification("acme")
    assert list(verification.run(read_known_keys(), [])) == []
    assert "a log that was completely rewritten cannot be detected" in verification.describe()


# Single rows.


def test_every_field_of_an_event_is_altered_below() -> None:
    names = {field.name for field in LockEvent._meta.concrete_fields}
    assert names == {*OTHER, "id"}


@pytest.mark.parametrize("name", OTHER)
def test_an_altered_field_is_found(sealed: list[LockEvent], verify: Verify, name: str) -> None:
    event = sealed[2]
    with without_triggers():
        assert LockEvent.objects.filter(id=event.id).update(**{name: OTHER[name]}) == 1
    ref = OTHER["ref"] if name == "ref" else event.ref
    assert f"event 3 ({ref}) was changed, or what is before it: its hash is not the seal's" in (
        verify()
    )


def test_an_altered_hash_is_found(sealed: list[LockEvent], verify: Verify) -> None:
    with without_triggers():
        EventSeal.objects.filter(sequence=3).update(hash="0" * 64)
    assert [each.split(" (")[0] for each in verify()] == ["event 3", "event 4"]


def test_an_event_that_was_given_a_new_id_is_found(sealed: list[LockEvent], verify: Verify) -> None:
    with without_triggers():
        LockEvent.objects.filter(id=sealed[2].id).update(id=sealed[4].id + 100)
    assert "event 3 was removed: its seal exists, but the event does not" in verify()


def test_a_removed_event_is_found(sealed: list[LockEvent], verify: Verify) -> None:
    with without_triggers():
        LockEvent.objects.filter(id=sealed[2].id)._raw_delete("default")
    assert verify() == ["event 3 was removed: its seal exists, but the event does not"]


def test_a_removed_event_with_its_seal_is_found(sealed: list[LockEvent], verify: Verify) -> None:
    with without_triggers():
        EventSeal.objects.filter(sequence=3)._raw_delete("default")
        LockEvent.objects.filter(id=sealed[2].id)._raw_delete("default")
    findings = verify()
    assert findings[0] == "event 3 is missing: removed, and the seal too"
    assert findings[1].startswith(f"event 4 ({sealed[3].ref}) was changed, or what is before it")


def test_a_removed_beginning_is_found(sealed: list[LockEvent], verify: Verify) -> None:
    with without_triggers():
        EventSeal.objects.filter(sequence__lte=3)._raw_delete("default")
        LockEvent.objects.filter(id__lte=sealed[2].id)._raw_delete("default")
    assert verify()[0] == "events 1 to 3 are missing: removed, and the seal too"


def test_two_swapped_events_are_found(sealed: list[LockEvent], verify: Verify) -> None:
    one, other = (LockEvent.objects.values().get(id=event.id) for event in (sealed[1], sealed[3]))
    with without_triggers():
        LockEvent.objects.filter(id=one["id"]).update(ref="BETWEEN00000")
        LockEvent.objects.filter(id=other["id"]).update(**{**one, "id": other["id"]})
        LockEvent.objects.filter(id=one["id"]).update(**{**other, "id": one["id"]})
    assert [each.split(" (")[0] for each in verify() if "its hash is not" in each] == [
        "event 2",
        "event 2",
        "event 4",
        "event 4",
    ]


def test_two_swapped_seals_are_found(sealed: list[LockEvent], verify: Verify) -> None:
    with without_triggers():
        EventSeal.objects.filter(sequence=2).update(sequence=99)
        EventSeal.objects.filter(sequence=4).update(sequence=2)
        EventSeal.objects.filter(sequence=99).update(sequence=4)
    assert [each.split(" (")[0] for each in verify() if "its hash is not" in each] == [
        f"event {number}" for number in (2, 3, 4, 5)
    ]


def test_a_removed_seal_leaves_a_gap_and_an_unsealed_event(
    sealed: list[LockEvent], verify: Verify
) -> None:
    with without_triggers():
        EventSeal.objects.filter(sequence=3)._raw_delete("default")
        old = timezone.now() - timedelta(minutes=11)
        LockEvent.objects.filter(id=sealed[2].id).update(at=old)
    findings = verify()
    assert "event 3 is missing: removed, and the seal too" in findings
    assert f"event {sealed[2].ref} of {format_time(old)} is not sealed" in findings


def test_an_event_that_waits_for_its_seal_is_no_finding_at_first(
    write: Write, verify: Verify
) -> None:
    write(1)
    assert verify() == []
    old = timezone.now() - timedelta(minutes=9)
    write_at(old)
    assert verify() == []
    late = write_at(timezone.now() - timedelta(minutes=11))
    assert verify() == [f"event {late.ref} of {format_time(late.at)} is not sealed"]


@pytest.mark.parametrize("name", ["salt", "address", "user_agent"])
def test_an_altered_origin_is_found(sealed: list[LockEvent], verify: Verify, name: str) -> None:
    EventOrigin.objects.filter(event=sealed[1]).update(**{name: "other"})
    assert verify() == [
        f"event 2 ({sealed[1].ref}): its origin was changed: its hash is not the event's"
    ]


def test_erased_origins_leave_the_log_as_it_is(sealed: list[LockEvent], verify: Verify) -> None:
    kept = note()
    assert erase_origins(timezone.now() + timedelta(days=1)) == 5
    assert verify(kept) == []


def test_what_cannot_be_written_canonically_is_found(
    sealed: list[LockEvent], verify: Verify
) -> None:
    with without_triggers():
        LockEvent.objects.filter(id=sealed[2].id).update(details={"number": 2.0})
    assert [each.split(" (")[0] for each in verify()] == ["event 3"]


# Put in later.


def test_an_old_event_that_was_put_in_unsealed_is_found(
    sealed: list[LockEvent], verify: Verify
) -> None:
    late = write_at(timezone.now() - timedelta(days=30))
    assert verify() == [f"event {late.ref} of {format_time(late.at)} is not sealed"]


def test_an_old_event_that_the_sealer_took_is_found(
    sealed: list[LockEvent], verify: Verify
) -> None:
    late = write_at(timezone.now() - timedelta(minutes=61))
    seal_events()
    (finding,) = verify()
    assert finding.startswith(f"event 6 ({late.ref}) was inserted in the past: it says ")
    assert re.search(r"and stands behind event \d \(\w+\) of \S+Z$", finding)


def test_an_event_of_a_transaction_that_took_long_is_no_finding(
    sealed: list[LockEvent], verify: Verify
) -> None:
    write_at(timezone.now() - timedelta(minutes=59))
    seal_events()
    assert verify() == []


def test_an_old_event_is_found_by_the_checkpoint_before_it_where_nothing_else_happened(
    write: Write, verify: Verify
) -> None:
    write_at(timezone.now() - timedelta(days=30))
    seal_events()
    note()
    late = write_at(timezone.now() - timedelta(days=10))
    seal_events()
    (finding,) = verify()
    assert finding.startswith(f"event 2 ({late.ref}) was inserted in the past")
    assert "stands behind the checkpoint of event 1 of " in finding


def test_an_event_in_the_middle_with_everything_computed_anew_is_found_by_a_checkpoint(
    sealed: list[LockEvent], verify: Verify
) -> None:
    kept = note()
    late = write_at(sealed[2].at)
    with without_triggers():
        EventSeal.objects.filter(sequence=5).update(sequence=6)
        EventSeal.objects.filter(sequence=4).update(sequence=5)
        EventSeal.objects.create(workspace="acme", sequence=4, event=late, hash="")
        seal_anew(first=4)
    assert all("signs another hash of event 5" in each for each in verify())
    drop_checkpoints()
    assert verify() == []
    assert verify(kept) == [
        "the log was rewritten: checkpoint given-0 signs another hash of event 5"
    ]


def test_an_event_of_the_future_is_found_and_those_behind_it_are_not(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    early = write_at(timezone.now() + timedelta(days=1))
    seal_events()
    write(2)
    seal_events()
    assert verify() == [
        f"event 6 ({early.ref}) says {format_time(early.at)}, later than it was sealed"
    ]


def test_what_was_sealed_while_the_sealer_was_away_does_not_look_put_in_later(
    write: Write, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that is made while events wait says so by its time."""
    write(1)
    seal_events()
    waiting = write_at(timezone.now() - timedelta(hours=3))
    monkeypatch.setattr("workspaces.log.checkpoints.seal_for", lambda: 0)
    checkpoint = make_checkpoint("acme")
    assert checkpoint is not None
    statement = parse_statement(open_note(checkpoint.note, read_known_keys()))
    assert (statement.sequence, statement.time) == (1, waiting.at)


# What may be deleted without a trace in the log.


def test_deleting_people_tokens_and_the_workspace_leaves_the_log_whole(
    acme: Workspace, globex: Workspace, write: Write, verify: Verify
) -> None:
    erin = User.objects.create_user("erin")
    add_member(acme, erin, Role.ADMIN, actor=SYSTEM)
    create_access_token(acme, "ci", [Scope.PUSH], actor=SYSTEM)
    write(3)
    kept = note()
    for model in (Membership, AccessToken, User, Workspace):
        model.objects.all().delete()
    assert verify(kept) == []
    assert verify(slug="globex") == []
    assert {row.actor for row in LockEvent.objects.all()} == {"taglock", "dana"}


def test_events_of_days_without_a_checkpoint_are_found(
    sealed: list[LockEvent], verify: Verify
) -> None:
    with without_triggers():
        for field in ("sealed_at",):
            EventSeal.objects.update(**{field: timezone.now() - timedelta(hours=49)})
        LockEvent.objects.update(at=timezone.now() - timedelta(hours=49))
        seal_anew()
    (finding,) = verify()
    assert finding.startswith("no checkpoint has been made of what was sealed since ")
    note()
    assert verify() == []
