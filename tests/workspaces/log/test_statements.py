"""Checkpoints from everywhere: whose they are, and whether a file is as it was written."""

from datetime import timedelta

from django.db.models import F

from tests.workspaces.log.conftest import Verify, Write
from tests.workspaces.log.tampering import note, without_triggers
from workspaces.log.checkpoints import checkpoint_path, make_checkpoint
from workspaces.log.keys import read_known_keys, rotate_key
from workspaces.log.models import Checkpoint, LockEvent
from workspaces.log.seal import seal_events
from workspaces.log.verify import Verification


def test_checkpoints_of_a_former_key_are_still_good(
    sealed: list[LockEvent], verify: Verify
) -> None:
    first = note()
    rotate_key()
    second = note()
    assert verify(first, second) == []
    (old, new) = reversed(read_known_keys())
    assert len(list(Verification("acme").run([new], []))) == 2
    assert len(list(Verification("acme").run([old], []))) == 2


def test_a_file_that_is_missing_or_altered_is_found(
    sealed: list[LockEvent], verify: Verify
) -> None:
    note()
    row = Checkpoint.objects.get()
    path = checkpoint_path(row)
    path.unlink()
    assert verify() == []
    with without_triggers():
        Checkpoint.objects.update(made_at=F("made_at") - timedelta(hours=3))
    assert any(
        f"its file is missing: {checkpoint_path(Checkpoint.objects.get())}" in each
        for each in verify()
    )
    with without_triggers():
        Checkpoint.objects.update(made_at=row.made_at)
    path.write_text(row.note.replace("tags.example", "tags.exemple", 1))
    findings = verify()
    assert any(f"its file says something else: {path}" in each for each in findings)
    assert any("is false: the text or it was altered" in each for each in findings)


def test_a_checkpoint_of_another_workspace_does_not_count(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    write(5, "globex")
    seal_events()
    other = make_checkpoint("globex")
    assert other is not None
    assert verify(other.note) == [
        "checkpoint given-0 is of another log: tags.example.org/globex/lock-log"
    ]
