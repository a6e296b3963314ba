"""The commands of the lock log."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.workspaces.log.conftest import Write
from tests.workspaces.log.tampering import without_triggers
from workspaces.log.keys import verifier_key
from workspaces.log.models import Checkpoint, EventOrigin, EventSeal, LockEvent
from workspaces.log.notes import make_signing_key
from workspaces.log.seal import seal_events
from workspaces.models import Workspace


def run(*arguments: str) -> tuple[str, str]:
    """Run a command; return what it wrote to standard output and to standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err, no_color=True)
    return out.getvalue(), err.getvalue()


def fail(*arguments: str) -> str:
    """Run a command that finds something; return its lines."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command(*arguments, stdout=out, no_color=True)
    assert caught.value.code == 1
    return out.getvalue()


def refuse(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    line = str(caught.value)
    assert line
    assert "\n" not in line
    return line


# seal_lock_log


@pytest.mark.slow
def test_sealing_says_how_many(write: Write) -> None:
    write(1)
    assert run("seal_lock_log")[0] == "1 event sealed.\n"
    write(1200)
    assert run("seal_lock_log")[0] == "1200 events sealed.\n"
    assert run("seal_lock_log")[0] == "0 events sealed.\n"


def test_sealing_can_look_through_everything(write: Write) -> None:
    write(2)
    run("seal_lock_log")
    with without_triggers():
        EventSeal.objects.filter(sequence=2)._raw_delete("default")
    assert run("seal_lock_log", "--sweep")[0] == "1 event sealed.\n"


# make_checkpoint


def test_a_checkpoint_is_printed_as_it_is_kept(write: Write, log_files: Path) -> None:
    write(3)
    out, err = run("make_checkpoint", "acme")
    (path,) = (log_files / "checkpoints" / "acme").iterdir()
    assert out == path.read_text() == Checkpoint.objects.get().note
    assert err == f"Written to {path}\n"
    assert out.startswith("tags.example.org/acme/lock-log\n3\n")


@pytest.mark.usefixtures("log_files", "db")
def test_a_workspace_without_events_has_no_checkpoint() -> None:
    line = 'There are no events of a workspace "nowhere".'
    assert refuse("make_checkpoint", "nowhere") == line
    assert refuse("verify_lock_log", "nowhere") == line


def test_a_checkpoint_without_a_file_is_no_success(write: Write, log_files: Path) -> None:
    write(1)
    (log_files / "checkpoints").write_text("no folder")
    assert "its file cannot be written" in refuse("make_checkpoint", "acme")
    (log_files / "lock-log-key").write_text("no key")
    assert "cannot be used as the lock log's key" in refuse("make_checkpoint", "acme")
    assert "cannot be used as the lock log's key" in refuse("verify_lock_log", "acme")


# verify_lock_log


def test_a_log_that_is_whole_is_one_line(write: Write, log_files: Path) -> None:
    write(3)
    note, _ = run("make_checkpoint", "acme")
    kept = log_files / "kept.note"
    kept.write_text(note)
    write(1)
    for arguments in ([], ["--key", verifier_key()], ["--checkpoint", str(kept)]):
        out, _ = run("verify_lock_log", "acme", *arguments)
        assert out.startswith("acme: 0 findings; 3 events sealed, the last one of ")
        assert out.endswith("; 1 not sealed yet; 1 checkpoints with a good signature.\n")
        assert out.count("\n") == 1


def test_each_finding_is_a_line_and_the_status_is_1(write: Write, log_files: Path) -> None:
    rows = write(3)
    note, _ = run("make_checkpoint", "acme")
    kept = log_files / "kept.note"
    kept.write_text(note.replace("\n3\n", "\n2\n"))
    with without_triggers():
        LockEvent.objects.filter(id=rows[1].id).update(tag="v9")
    lines = fail("verify_lock_log", "acme", "--checkpoint", str(kept)).splitlines()
    assert len(lines) == 3
    assert lines[0] == (
        f"acme: checkpoint {kept}: the signature of tags.example.org is false: the text or it was "
        "altered"
    )
    assert lines[1].startswith(f"acme: event 2 ({rows[1].ref}) was changed")
    assert lines[2].startswith("acme: 2 findings; 3 events sealed")


def test_only_the_keys_that_are_named_are_believed(write: Write) -> None:
    write(1)
    run("make_checkpoint", "acme")
    other = str(make_signing_key("tags.example.org").verifier)
    assert "no known key has signed it" in fail("verify_lock_log", "acme", "--key", other)
    run("verify_lock_log", "acme", "--key", other, "--key", verifier_key())


def test_what_cannot_be_read_is_named(write: Write, log_files: Path) -> None:
    write(1)
    missing = log_files / "missing.note"
    assert str(missing) in refuse("verify_lock_log", "acme", "--checkpoint", str(missing))
    assert "--key is not a verifier key" in refuse("verify_lock_log", "acme", "--key", "nonsense")


def test_a_log_that_outlived_its_workspace_can_be_verified(acme: Workspace, write: Write) -> None:
    seal_events()
    acme.delete()
    out, _ = run("verify_lock_log", "acme")
    assert "1 events sealed" in out


# rotate_log_key


def test_a_new_key_is_printed_by_its_public_half_alone(log_files: Path) -> None:
    before = verifier_key()
    out, err = run("rotate_log_key")
    assert out == f"{verifier_key()}\n"
    assert out != f"{before}\n"
    assert "PRIVATE" not in out + err
    (log_files / "lock-log-key").unlink()
    assert "there is no lock log key" in refuse("rotate_log_key")
    out, _ = run("rotate_log_key", "--accept")
    assert out == f"{verifier_key()}\n"


# erase_origins


def test_erasing_says_how_many(write: Write, acme: Workspace, globex: Workspace) -> None:
    write(2)
    write(1, "globex")
    today = f"{timezone.now():%Y-%m-%d}"
    assert run("erase_origins", "--before", today)[0] == "0 origins erased.\n"
    assert run("erase_origins", "globex", "--before", "9999-12-31")[0] == "1 origin erased.\n"
    assert run("erase_origins", "--before", "9999-12-31")[0] == "2 origins erased.\n"


@pytest.mark.parametrize("day", ["", "yesterday", "2026-02-30", "2026-03-12T00:00"])
def test_erasing_wants_a_day(write: Write, day: str) -> None:
    write(1)
    assert refuse("erase_origins", "--before", day) == (
        "--before must be a day, such as 2026-05-01."
    )
    assert EventOrigin.objects.exists()


def test_erasing_wants_workspaces_that_are_there(write: Write, acme: Workspace) -> None:
    write(1)
    line = refuse("erase_origins", "acme", "nowhere", "--before", "9999-12-31")
    assert line == "There is no workspace nowhere."
    assert EventOrigin.objects.exists()
