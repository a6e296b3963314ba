"""The checkpoint of a log as it is now: the latest one, as long as it still says so."""

from typing import Any

import pytest

from tests.workspaces.log.conftest import Write
from workspaces.log.current import NothingSealedError, current_checkpoint
from workspaces.log.keys import rotate_key
from workspaces.log.models import Checkpoint
from workspaces.models import Workspace


def test_a_chain_that_has_not_moved_keeps_its_checkpoint(acme: Workspace, write: Write) -> None:
    write(2)
    first = current_checkpoint("acme")
    assert first.sequence == 3
    assert current_checkpoint("acme") == first
    write(1)
    assert current_checkpoint("acme").sequence == 4
    assert Checkpoint.objects.count() == 2


def test_another_workspaces_events_move_nothing(
    acme: Workspace, globex: Workspace, write: Write
) -> None:
    first = current_checkpoint("acme")
    write(1, "globex")
    assert current_checkpoint("acme") == first


def test_a_new_key_signs_anew(acme: Workspace, write: Write) -> None:
    first = current_checkpoint("acme")
    rotate_key()
    second = current_checkpoint("acme")
    assert second != first
    assert (second.sequence, second.hash) == (first.sequence, first.hash)


def test_a_log_without_a_seal_has_none(
    acme: Workspace, log_files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("current", "checkpoints"):
        monkeypatch.setattr(f"workspaces.log.{name}.seal_for", lambda *_: 0)
    with pytest.raises(NothingSealedError, match="Try again"):
        current_checkpoint("acme")
