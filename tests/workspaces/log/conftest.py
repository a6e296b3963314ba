"""A short log of acme, with its key and its checkpoints in folders of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from tests.conftest import AA, BB
from tests.workspaces.log.exporting import access_of
from workspaces.access import Actor, ActorKind, Origin, Role
from workspaces.caller_access import Access
from workspaces.log import export
from workspaces.log.append import Event, append_events
from workspaces.log.keys import accept_key, read_known_keys
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.log.seal import seal_events
from workspaces.log.statements import Given
from workspaces.log.verify import Verification
from workspaces.models import KeyFingerprint, Workspace
from workspaces.shared_keys import LOG_KEY_FILE

DANA = Actor("dana", ActorKind.TOKEN, Origin("203.0.113.7", "docker/27.0"))

Write = Callable[..., list[LockEvent]]
Verify = Callable[..., list[str]]


@pytest.fixture
def log_files(settings: Any, tmp_path: Path, db: None) -> Iterator[Path]:
    """Let key and checkpoints be files of this test; return their folder."""
    key_of_the_tests = KeyFingerprint.objects.get(setting=LOG_KEY_FILE)
    settings.PUBLIC_URL = "https://tags.example.org"
    settings.LOG_KEY_FILE = tmp_path / "lock-log-key"
    settings.CHECKPOINT_DIR = tmp_path / "checkpoints"
    accept_key()
    yield tmp_path
    key_of_the_tests.save()


@pytest.fixture
def undone(db: None) -> Iterator[None]:
    """Undo at the end what a tamperer did: the database would miss rows that others refer to."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def write(log_files: Path, undone: None) -> Write:
    """Return a function that writes so many events, not sealed yet."""

    def write(count: int = 1, workspace: str = "acme", **fields: Any) -> list[LockEvent]:
        rows = append_events(
            [
                Event(
                    EventKind.PUSH_REFUSED,
                    workspace,
                    f"{workspace}/api",
                    f"v{number}",
                    digest=AA,
                    other_digest=BB,
                    rule_name="Releases",
                    rule_pattern="^v",
                    settings_version=3,
                    reason="the tag is locked",
                    details={"number": number, "text": "Ümlaut €"},
                    **fields,
                )
                for number in range(count)
            ],
            actor=DANA,
        )
        return list(LockEvent.objects.filter(id__in=[row.id for row in rows]).order_by("id"))

    return write


@pytest.fixture
def verify(log_files: Path) -> Verify:
    """Return a function that verifies a log and returns the findings."""

    def verify(*given: str, slug: str = "acme") -> list[str]:
        notes = [Given(f"given-{number}", note) for number, note in enumerate(given)]
        return list(Verification(slug).run(read_known_keys(), notes))

    return verify


@pytest.fixture
def auditor(acme: Workspace, log_files: Path) -> Access:
    """Olga, who reads all of acme's log."""
    return access_of(acme, Role.AUDITOR)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an export take ten events at once."""
    monkeypatch.setattr(export, "EVENTS_PER_BATCH", 10)


@pytest.fixture
def no_export_is_left() -> Iterator[None]:
    """Every export gives its place back."""
    yield
    assert len(export._slots) == 0


@pytest.fixture
def sealed(write: Write) -> list[LockEvent]:
    """Five events of acme, sealed."""
    rows = write(5)
    assert seal_events() == 5
    return rows
