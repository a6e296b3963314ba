"""Stretches of a log that were rewritten, with new hashes: checkpoints tell."""

import re

from django.utils import timezone

from tests.workspaces.log.conftest import Verify, Write
from tests.workspaces.log.tampering import (
    drop_checkpoints,
    note,
    seal_anew,
    without_triggers,
    write_at,
)
from workspaces.log.checkpoints import checkpoint_path
from workspaces.log.keys import read_signing_key
from workspaces.log.models import Checkpoint, EventOrigin, EventSeal, LockEvent
from workspaces.log.notes import make_signing_key
from workspaces.log.seal import seal_events
from workspaces.models import Workspace


def rewrite(event: LockEvent, first: int) -> None:
    with without_triggers():
        LockEvent.objects.filter(id=event.id).update(actor="mallory")
        seal_anew(first=first)


def test_a_rewritten_tail_is_found_by_a_checkpoint(sealed: list[LockEvent], verify: Verify) -> None:
    note()
    rewrite(sealed[3], first=4)
    (finding,) = verify()
    assert finding.startswith("the log was rewritten: checkpoint 5 of ")
    assert finding.endswith(" in the database signs another hash of event 5")


def test_a_rewritten_whole_is_found_by_a_checkpoint_that_somebody_kept(
    sealed: list[LockEvent], verify: Verify
) -> None:
    kept = note()
    drop_checkpoints()
    rewrite(sealed[0], first=1)
    assert verify() == []
    assert verify(kept) == [
        "the log was rewritten: checkpoint given-0 signs another hash of event 5"
    ]


def test_a_rewritten_whole_is_found_though_newer_checkpoints_fit_to_it(
    sealed: list[LockEvent], verify: Verify
) -> None:
    """The operator has the key, too."""
    kept = note()
    drop_checkpoints()
    rewrite(sealed[0], first=1)
    note()
    assert verify() == []
    assert verify(kept) == [
        "the log was rewritten: checkpoint given-0 signs another hash of event 5"
    ]


def test_a_rewritten_whole_is_found_by_its_file_where_the_rows_are_gone(
    sealed: list[LockEvent], verify: Verify
) -> None:
    note()
    with without_triggers():
        Checkpoint.objects.all().delete()
    rewrite(sealed[0], first=1)
    (finding,) = verify()
    assert re.search(r"checkpoint \S+\.note signs another hash of event 5", finding)


def test_a_checkpoint_that_was_rewritten_without_the_key_is_found(
    sealed: list[LockEvent], verify: Verify
) -> None:
    note()
    row = Checkpoint.objects.get()
    checkpoint_path(row).unlink()
    rewrite(sealed[0], first=1)
    forged = make_signing_key(read_signing_key().name)
    text = row.note.partition("\n\n")[0] + "\n"
    with without_triggers():
        Checkpoint.objects.update(
            hash=EventSeal.objects.get(sequence=5).hash, note=forged.sign(text)
        )
    findings = verify()
    assert any("no known key has signed it" in each for each in findings)
    assert any("the row says something else than its note" in each for each in findings)


def test_a_log_that_was_cut_off_is_found(sealed: list[LockEvent], verify: Verify) -> None:
    kept = note()
    drop_checkpoints()
    with without_triggers():
        EventSeal.objects.filter(sequence__gt=3)._raw_delete("default")
        LockEvent.objects.filter(id__gt=sealed[2].id)._raw_delete("default")
    assert verify() == []
    assert verify(kept) == [
        "the log ends at event 3, and checkpoint given-0 signs event 5: the log was cut off, or a "
        "backup was restored"
    ]


def test_a_log_that_is_gone_is_found(sealed: list[LockEvent], verify: Verify) -> None:
    note()
    with without_triggers():
        EventSeal.objects.all()._raw_delete("default")
        LockEvent.objects.all()._raw_delete("default")
    (finding,) = verify()
    assert finding.startswith("the log ends at event 0, and checkpoint 5 of ")


def remove_log() -> None:
    """Remove all events, seals and checkpoints, and the files too."""
    drop_checkpoints()
    with without_triggers():
        EventSeal.objects.all()._raw_delete("default")
        EventOrigin.objects.all()._raw_delete("default")
        LockEvent.objects.all()._raw_delete("default")


GONE = (
    "the workspace exists, but no event says that it was created: the beginning of its log was "
    "removed"
)


def test_a_log_that_is_gone_with_its_checkpoints_is_found(
    acme: Workspace, verify: Verify, write: Write
) -> None:
    write(5)
    note()
    assert verify() == []
    remove_log()
    assert verify() == [GONE]


def test_a_log_that_is_gone_and_went_on_is_found(
    acme: Workspace, verify: Verify, write: Write
) -> None:
    write(5)
    note()
    remove_log()
    write(1)
    assert verify() == [GONE]
    seal_events()
    note()
    assert verify() == [GONE]


def test_a_log_that_is_gone_with_its_workspace_is_found_by_a_checkpoint_alone(
    acme: Workspace, verify: Verify, write: Write
) -> None:
    write(5)
    kept = note()
    remove_log()
    acme.delete()
    assert verify() == []
    (finding,) = verify(kept)
    assert finding.startswith("the log ends at event 0, and checkpoint given-0 signs event ")


def test_a_log_that_was_cut_off_and_went_on_is_found(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    kept = note()
    drop_checkpoints()
    with without_triggers():
        EventSeal.objects.filter(sequence__gt=3)._raw_delete("default")
        LockEvent.objects.filter(id__gt=sealed[2].id)._raw_delete("default")
    write(4)
    seal_events()
    assert verify() == []
    assert verify(kept) == [
        "the log was rewritten: checkpoint given-0 signs another hash of event 5"
    ]


def test_a_place_that_is_there_twice_is_found(sealed: list[LockEvent], verify: Verify) -> None:
    row = write_at(timezone.now())
    with without_triggers():
        EventSeal.objects.create(workspace="acme", sequence=6, event=row, hash="0" * 64)
        EventSeal.objects.filter(sequence=6).update(sequence=8)
    assert "events 6 to 7 are missing: removed, and the seal too" in verify()
