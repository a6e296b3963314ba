"""Checkpoints: what they say, when they are made, where they are kept, and the keys behind them."""

import logging
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from packages_site.key_files import make_log_key_file
from tests.workspaces.log.conftest import Verify, Write
from tests.workspaces.log.tampering import without_triggers, write_at
from workspaces.log.checkpoints import (
    Statement,
    checkpoint_path,
    latest_checkpoint,
    make_checkpoint,
    make_due_checkpoints,
    parse_statement,
    verifier_key,
    write_missing_files,
)
from workspaces.log.keys import (
    KeyFileError,
    accept_key,
    read_known_keys,
    read_signing_key,
    rotate_key,
)
from workspaces.log.models import Checkpoint, EventSeal
from workspaces.log.notes import BadNoteError, open_note, parse_verifier_key
from workspaces.log.seal import seal_events
from workspaces.tasks import make_checkpoints

STATEMENT = Statement(
    "tags.example.org/acme/lock-log", 3, "ab" * 32, datetime(2026, 3, 12, 14, tzinfo=UTC)
)
TEXT = STATEMENT.to_text()


def make(slug: str = "acme") -> Checkpoint:
    checkpoint = make_checkpoint(slug)
    assert checkpoint is not None
    return checkpoint


# What it says.


def test_a_checkpoint_says_what_the_chain_is(write: Write) -> None:
    write(3)
    seal_events()
    checkpoint = make()
    head = EventSeal.objects.get(sequence=3)
    assert (checkpoint.workspace, checkpoint.sequence, checkpoint.hash) == ("acme", 3, head.hash)
    assert abs(timezone.now() - checkpoint.made_at) < timedelta(minutes=1)
    text = open_note(checkpoint.note, [parse_verifier_key(verifier_key())])
    assert parse_statement(text) == Statement(
        "tags.example.org/acme/lock-log", 3, head.hash, checkpoint.made_at
    )
    assert latest_checkpoint("acme") == checkpoint


def test_what_is_not_sealed_yet_is_sealed_first(write: Write) -> None:
    write(3)
    assert make().sequence == 3


def test_an_empty_log_has_no_checkpoint(write: Write) -> None:
    write(1, "globex")
    assert make_checkpoint("acme") is None
    assert latest_checkpoint("acme") is None


def test_the_text_has_the_lines_that_a_transparency_log_has() -> None:
    assert TEXT.splitlines() == [
        "tags.example.org/acme/lock-log",
        "3",
        "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
        "time 2026-03-12T14:00:00.000000Z",
    ]
    assert parse_statement(TEXT) == STATEMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT + "more\n",
        TEXT + "\n",
        TEXT.replace("\n3\n", "\n03\n"),
        TEXT.replace("\n3\n", "\n-3\n"),
        TEXT.replace("\n3\n", "\n٣\n"),
        TEXT.replace("\n3\n", f"\n{10**30}\n"),
        TEXT.replace("q6s=", "q6t="),
        TEXT.replace("q6s=", "q6s"),
        TEXT.replace("time 2026", "date 2026"),
        TEXT.replace("2026-03-12", "2026-02-30"),
        TEXT.replace(".000000Z", "Z"),
        TEXT.replace(".000000Z", ".000000+00:00"),
        TEXT.replace("tags.example.org/acme/lock-log", ""),
        "\n".join(TEXT.splitlines()[:3]) + "\n",
    ],
    ids=ascii,
)
def test_what_is_signed_and_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNoteError):
        parse_statement(text)


# When it is made.


def test_every_log_gets_one_a_day(write: Write) -> None:
    write(2)
    write(1, "globex")
    seal_events()
    assert make_due_checkpoints() == 2
    write(1)
    assert make_due_checkpoints() == 0
    with without_triggers():
        Checkpoint.objects.filter(workspace="acme").update(made_at=F("made_at") - timedelta(days=1))
    assert make_due_checkpoints() == 1
    assert make_due_checkpoints() == 0
    assert list(
        Checkpoint.objects.filter(workspace="acme")
        .order_by("id")
        .values_list("sequence", flat=True)
    ) == [2, 3]


def test_a_log_in_which_nothing_happened_gets_one_too(write: Write) -> None:
    write(2)
    seal_events()
    make_checkpoints()
    with without_triggers():
        Checkpoint.objects.update(made_at=F("made_at") - timedelta(days=1))
    make_checkpoints()
    assert list(Checkpoint.objects.values_list("sequence", flat=True)) == [2, 2]


def test_none_is_made_again_within_a_minute_where_nothing_happened(
    write: Write, log_files: Path
) -> None:
    write(2)
    first = make()
    assert [make() for _ in range(3)] == [first] * 3
    assert len(list((log_files / "checkpoints" / "acme").iterdir())) == 1
    write(1, "globex")
    assert make() == first
    write(1)
    second = make()
    assert second.sequence == 3
    with without_triggers():
        Checkpoint.objects.update(made_at=F("made_at") - timedelta(seconds=61))
    third = make()
    assert third not in (first, second)
    with without_triggers():
        Checkpoint.objects.filter(id=third.id).update(made_at=timezone.now() + timedelta(hours=1))
    assert make() not in (first, second, third)


def test_what_is_never_sealed_puts_back_the_time_that_is_signed_and_no_other(
    write: Write, verify: Verify
) -> None:
    """Otherwise one would be due again every hour, and two of the same moment share a file."""
    write(2)
    seal_events()
    stuck = write_at(timezone.now() - timedelta(days=2), details={"share": 0.5})
    assert [make_due_checkpoints() for _ in range(3)] == [1, 0, 0]
    first = Checkpoint.objects.get()
    rotate_key()
    second = make()
    for checkpoint in (first, second):
        assert abs(timezone.now() - checkpoint.made_at) < timedelta(minutes=1)
        text = open_note(checkpoint.note, read_known_keys())
        assert parse_statement(text).time == stuck.at
        assert checkpoint_path(checkpoint).read_text() == checkpoint.note
    assert [each for each in verify() if "checkpoint" in each] == []


def test_a_row_that_was_made_before_the_time_of_its_note_is_found(
    write: Write, verify: Verify
) -> None:
    write(1)
    checkpoint = make()
    with without_triggers():
        Checkpoint.objects.update(made_at=checkpoint.made_at - timedelta(microseconds=1))
    assert any("the row says something else than its note" in each for each in verify())


# Where it is kept.


def test_a_checkpoint_is_a_file_too(write: Write, log_files: Path) -> None:
    write(2)
    checkpoint = make()
    (path,) = (log_files / "checkpoints" / "acme").iterdir()
    assert path == checkpoint_path(checkpoint)
    assert path.name == f"2-{checkpoint.made_at:%Y%m%dT%H%M%S.%f}Z.note"
    assert path.read_bytes() == checkpoint.note.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_that_is_there_is_never_overwritten(write: Write) -> None:
    write(1)
    path = checkpoint_path(make())
    path.write_text("kept")
    assert write_missing_files() == 0
    assert path.read_text() == "kept"


def test_a_file_that_cannot_be_written_is_logged_and_tried_again(
    write: Write, log_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(1)
    write(1, "globex")
    seal_events()
    folder = log_files / "checkpoints"
    folder.write_text("no folder")
    with caplog.at_level(logging.ERROR):
        make_checkpoints()
    path = checkpoint_path(Checkpoint.objects.get(workspace="acme"))
    assert f"checkpoint {path} cannot be written" in caplog.text
    folder.unlink()
    assert write_missing_files("globex") == 1
    assert not path.exists()
    make_checkpoints()
    assert path.exists()
    assert Checkpoint.objects.count() == 2


# The keys.


def test_the_key_is_its_owners_alone_and_named_after_the_site(log_files: Path) -> None:
    path = log_files / "lock-log-key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("PRIVATE+KEY+tags.example.org+")
    assert verifier_key().startswith("tags.example.org+")
    assert [str(key) for key in read_known_keys()] == [verifier_key()]


def test_a_new_key_signs_and_the_former_ones_are_kept(write: Write, log_files: Path) -> None:
    write(1)
    first = verifier_key()
    old = make()
    second = str(rotate_key().verifier)
    third = str(rotate_key().verifier)
    assert [str(key) for key in read_known_keys()] == [third, second, first]
    assert (log_files / "lock-log-key.former").read_text() == f"{first}\n{second}\n"
    assert stat.S_IMODE((log_files / "lock-log-key").stat().st_mode) == 0o600
    assert open_note(make().note, [parse_verifier_key(third)])
    assert open_note(old.note, read_known_keys())
    assert not list(log_files.glob(".*"))


def test_no_checkpoint_is_made_without_a_key(write: Write, settings: Any) -> None:
    write(1)
    Path(settings.LOG_KEY_FILE).write_text("no key")
    with pytest.raises(KeyFileError, match="lock-log-key cannot be used as the lock log's key"):
        make_checkpoint("acme")
    Path(settings.LOG_KEY_FILE).unlink()
    with pytest.raises(KeyFileError):
        verifier_key()
    assert not Checkpoint.objects.exists()


def test_a_key_that_cannot_be_replaced_stays(write: Write, log_files: Path) -> None:
    write(1)
    before = read_signing_key()
    (log_files / "lock-log-key.former").mkdir()
    with pytest.raises(KeyFileError):
        rotate_key()
    assert read_signing_key() == before
    assert open_note(make().note, [before.verifier])


def test_a_node_with_another_key_signs_nothing_until_it_has_the_one_of_the_others(
    write: Write, log_files: Path, settings: Any
) -> None:
    write(1)
    seal_events()
    theirs = Path(settings.LOG_KEY_FILE)
    settings.LOG_KEY_FILE = log_files / "other" / "lock-log-key"
    make_log_key_file(settings.LOG_KEY_FILE, settings.PUBLIC_URL)
    for sign in (lambda: make_checkpoint("acme"), make_due_checkpoints, rotate_key):
        with pytest.raises(KeyFileError, match="has another lock log key than the other nodes"):
            sign()
    assert not Checkpoint.objects.exists()
    settings.LOG_KEY_FILE.write_text(theirs.read_text())
    make()


def test_after_a_rotation_the_other_nodes_sign_nothing_until_they_have_the_new_key(
    write: Write, log_files: Path, settings: Any
) -> None:
    write(1)
    rotated_here = Path(settings.LOG_KEY_FILE)
    other_node = log_files / "other" / "lock-log-key"
    other_node.parent.mkdir()
    other_node.write_text(rotated_here.read_text())
    rotate_key()
    settings.LOG_KEY_FILE = other_node
    with pytest.raises(KeyFileError, match=f"copy theirs to {other_node}"):
        make_checkpoint("acme")


def test_a_lost_key_is_replaced_by_one_that_is_accepted(write: Write, settings: Any) -> None:
    write(1)
    Path(settings.LOG_KEY_FILE).unlink()
    with pytest.raises(KeyFileError, match="there is no lock log key"):
        make_checkpoint("acme")
    new = accept_key()
    assert open_note(make().note, [new.verifier])
    assert accept_key() == new


def test_a_list_of_former_keys_that_was_spoilt_is_named(log_files: Path) -> None:
    (log_files / "lock-log-key.former").write_text("nonsense\n")
    with pytest.raises(KeyFileError, match="former is not a list of verifier keys"):
        read_known_keys()
