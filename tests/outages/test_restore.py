"""An older backup is restored: what docs/operations.md says is done as it is written there."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from textwrap import dedent

import pytest
from django.db.models import F

from containers.models import Tag as TagRecord
from immutability.models import LockedTag
from tests.outages.conftest import count_unfinished
from tests.services.cluster import Cluster
from tests.services.console import Console
from tests.services.registry_user import Repository, digest_of
from tests.services.site import ROOT
from workspaces.models import LockEvent

pytestmark = pytest.mark.cluster

PYTHON = ".venv/bin/python"
Done = subprocess.CompletedProcess[str]


def _read_commands() -> list[str]:
    """Return the commands of the section, in order."""
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.partition("\n## After a restore\n")[2]
    blocks = re.findall(r"\n\n((?: {7}.*\n)+)", section)
    commands = []
    for block in blocks:
        written = dedent(block)
        for command in re.findall(rf'^{PYTHON} manage\.py (?:[^"\n]*"[^"]*"|.*)$', written, re.M):
            commands.append(command)
    return commands


@pytest.fixture
def run(cluster: Cluster) -> Iterator[Callable[[str], Done]]:
    """Return a function that runs a printed command beside the cluster."""
    console = Console(cluster.whole_env)

    def run(command: str) -> Done:
        python, *arguments = shlex.split(command)
        assert python == PYTHON
        return console.run(*arguments)

    yield run
    console.close()


def test_the_printed_commands_lock_what_the_backup_does_not_know_and_overwrite_nothing(
    run: Callable[[str], Done], repository: Repository, behind: Repository
) -> None:
    old, new = repository.make_image("old"), repository.make_image("new")
    # In flight when the backup was made …
    fault = "X-Fault: fail before the point leaves\r\n"
    assert repository.put("v1.0.0", old, headers=fault).status == 500
    # … and since then refused by the registry, and followed by another image.
    assert behind.put("v1.0.0", new).status == 201
    assert behind.put("v1.1.0", new).status == 201

    # The backup is older than any write can linger.
    age = timedelta(minutes=20)
    TagRecord.objects.update(write_expires_at=F("write_expires_at") - age)

    _, reconcile, check, sync = _read_commands()
    done = run(reconcile)
    assert (done.returncode, done.stdout) == (0, "1 tag reconciled, 0 not finished.\n"), done
    done = run(check)
    assert done.returncode == 1, done
    assert f"{repository.name}:v1.0.0: protected, and not locked yet" in done.stdout
    assert f"{repository.name}:v1.1.0: protected, and not locked yet" in done.stdout
    assert LockEvent.objects.filter(kind="drift.found", repository=repository.name).count() == 2
    assert run(sync).returncode == 0
    done = run(check)
    assert done.returncode == 0, done

    assert count_unfinished() == 0
    assert behind.tags == {"v1.0.0": digest_of(new), "v1.1.0": digest_of(new)}
    locks = LockedTag.objects.filter(repository=repository.name)
    assert {(lock.tag, lock.state, lock.digest) for lock in locks} == {
        (tag, "locked", digest_of(new)) for tag in ("v1.0.0", "v1.1.0")
    }
    assert repository.put("v1.0.0", old).status == 403
