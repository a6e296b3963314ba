"""After a restored backup, an export of the log brings back what was locked or reserved since."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import transaction

from containers.models import RepositoryPrefix
from containers.names import RepositoryName
from immutability.policy.protection import Protection
from immutability.reconcile.replay import replay_export
from tests.immutability.core import Core, named
from tests.immutability.registry_double import image
from tests.problems import nothing_written
from tests.workspaces.log.exporting import access_of, ask, read
from workspaces.access import Role
from workspaces.log.export import begin_export
from workspaces.log.exported import BadExportError
from workspaces.log.keys import read_known_keys
from workspaces.log.models import LockEvent
from workspaces.log.seal import seal_events
from workspaces.models import Workspace

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("kept_core"),
]

ONE, TWO = (named(name, image(name)) for name in ("one", "two"))


@contextmanager
def forgotten(core: Core, path: Path, **wanted: str) -> Iterator[None]:
    """Export the log after what happens within, and go back to the time before it."""
    seal_events()
    with transaction.atomic():
        yield
        path.write_text(read(begin_export(access_of(core.workspace, Role.ADMIN), ask(**wanted))))
        transaction.set_rollback(True)


def replay(path: Path) -> int:
    return replay_export(path, read_known_keys())[1]


def test_what_was_locked_reserved_released_and_freed_since_is_so_again(
    core: Core, tmp_path: Path
) -> None:
    for tag in ("released", "ended", "freed", "same"):
        core.push(tag, image=ONE)
    core.delete("freed", is_admin=True)
    path = tmp_path / "log.jsonl"
    with forgotten(core, path):
        core.push("locked", image=ONE)
        core.push("reserved", image=TWO)
        core.delete("reserved", is_admin=True)
        core.release("released")
        core.push("released", image=TWO)
        core.free("freed")
        core.protect(Protection.NONE)
        core.push("ended", image=TWO)
    assert core.lock("locked") == core.lock("reserved") == "none"
    events = LockEvent.objects.count()

    assert replay(path) == 5
    assert {
        tag: core.lock(tag) for tag in ("locked", "reserved", "released", "freed", "ended")
    } == {
        "locked": "locked one",
        "reserved": "reserved two",
        "released": "locked two",
        "freed": "none",
        "ended": "none",
    }
    assert core.lock("same") == "locked one"
    assert LockEvent.objects.count() == events + 5
    again = LockEvent.objects.get(kind="tag.deleted", tag="reserved")
    assert (again.actor, again.digest) == ("alice", LockEvent.objects.get(tag="reserved").digest)
    assert set((again.details or {})["replayed"]) == {"event", "sequence", "at"}
    # What holds is what the gate goes by.
    assert core.push("reserved", image=ONE) == "403 reserved"
    assert core.push("locked", image=TWO) == "403 locked"
    # The log went on with other events: the export is of another one now.
    seal_events()
    with nothing_written(), pytest.raises(BadExportError, match="of another log"):
        replay(path)


def test_an_export_that_is_not_whole_or_not_of_this_log_changes_nothing(
    core: Core, globex: Workspace, tmp_path: Path
) -> None:
    path, bad = tmp_path / "log.jsonl", tmp_path / "bad.jsonl"
    with forgotten(core, path):
        core.push("v1", image=ONE)
        core.push("v2", image=ONE)
    lines = path.read_text().splitlines(keepends=True)
    changed = json.loads(lines[-2]) | {"tag": "v3"}
    for text, why in (
        ("".join(lines[:-1]), "its checkpoint is missing"),
        ("".join([*lines[:-2], lines[-1]]), "does not end where"),
        ("".join([*lines[:-3], *lines[-2:]]), "export without a filter"),
        ("".join(lines[-2:]), "begins with event"),
        ("".join([*lines[:-2], json.dumps(changed) + "\n", lines[-1]]), "was changed"),
        ("".join(lines).replace('"acme"', '"globex"'), "was changed"),
        ("".join(lines).replace('"acme"', '"nowhere"'), "does not have"),
        ("no export", "cannot be read"),
        ("", "has no events"),
    ):
        bad.write_text(text)
        with nothing_written(), pytest.raises(BadExportError, match=why):
            replay(bad)
    with nothing_written(), pytest.raises(BadExportError, match="no known key"):
        replay_export(path, [])
    assert replay(path) == 2


def test_a_repository_that_is_another_workspaces_by_now_changes_nothing(
    core: Core, globex: Workspace, tmp_path: Path
) -> None:
    core.repository = RepositoryName("library/app")
    path = tmp_path / "log.jsonl"
    prefix = RepositoryPrefix.objects.create(workspace=core.workspace, prefix="library")
    with forgotten(core, path):
        core.push("v1", image=ONE)
    RepositoryPrefix.objects.filter(pk=prefix.pk).update(workspace=globex)
    with nothing_written(), pytest.raises(BadExportError, match="by what the backup knows"):
        replay(path)
