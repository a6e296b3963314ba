"""The inventory as a job: begun by itself, in pieces, by one worker at a time."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.db.models.functions import Now

from containers.management import find
from containers.models import Repository as RepositoryRow
from containers.models import Tag as TagRecord
from containers.registry.client import RegistryAnswer, RegistryClient
from immutability import tasks
from immutability.models import Job, LockedTag
from immutability.policy.protection import Policy, Protection
from immutability.reconcile import inventory, work
from immutability.reconcile.jobs import ask_for_inventory, find_inventory
from immutability.reconcile.work import run_jobs
from tests.conftest import SEMVER
from tests.immutability.core import Core, named
from tests.immutability.reconcile.conftest import Library, locked
from tests.immutability.registry_double import (
    NO_ANSWER,
    Carry,
    answer,
    digest_of,
    image,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = named("one", image("one")), named("two", image("two"))
BROKEN = answer(500)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_TURN_SECONDS", 0.0)


class KilledError(BaseException):
    """The worker's process ends here."""


def _die(carry: Carry) -> RegistryAnswer:
    raise KilledError


def _run(client: RegistryClient, seconds: float = 60.0) -> int:
    return run_jobs(client, seconds)


def _listed() -> list[str]:
    rows = RepositoryRow.objects.filter(listed_at__isnull=False).order_by("name")
    return list(rows.values_list("name", flat=True))


def test_the_first_connection_has_everything_read_without_a_protection_too(
    acme: Workspace, globex: Workspace, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1", "v2", "v3")
    assert _run(client) == 2
    assert set(TagRecord.objects.values_list("name", "digest")) == {
        (name, digest_of(ONE)) for name in ("v1", "v2", "v3")
    }
    assert _listed() == ["acme/api"]
    assert not LockedTag.objects.exists()
    job = find_inventory(acme)
    assert job is not None
    assert (job.looked_at_count, job.adopted_count, job.left_out_count) == (3, 0, 0)
    assert job.done_at is not None
    # Once.
    library.calls.clear()
    assert _run(client) == 0
    assert library.calls == []


def test_saving_a_protection_has_what_is_there_locked(
    acme: Workspace,
    protect: Protect,
    connected: None,
    library: Library,
    client: RegistryClient,
) -> None:
    library.store(ONE, "v1.0.0", "v1.1.0", "nightly")
    library.store(TWO, "v2.0.0")
    assert _run(client) == 1
    protect(acme, Protection.SOME, SEMVER)
    assert locked() == {}
    assert _run(client) == 1
    assert locked() == {
        "v1.0.0": digest_of(ONE),
        "v1.1.0": digest_of(ONE),
        "v2.0.0": digest_of(TWO),
    }
    job = Job.objects.get()
    assert (job.looked_at_count, job.adopted_count, job.left_out_count) == (4, 3, 0)


def test_a_push_is_refused_before_the_job_has_come_to_its_tag(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1")
    assert gate.push("v1", image=TWO) == "403 locked"
    assert _run(client) == 1
    assert Job.objects.get().adopted_count == 0


def test_a_job_goes_on_where_it_was_when_its_time_was_over(
    gate: Core,
    library: Library,
    client: RegistryClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work, "TAGS_PER_BATCH", 1)
    library.repositories = ["acme/a", "acme/b"]
    library.store(ONE, "v1", "v2", "v3")
    places = []
    clock = iter(range(1000))
    monkeypatch.setattr(work, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    while not _run(client, 2.0):
        job = Job.objects.get()
        assert job.lease is None
        places.append((job.repository, job.tag))
    assert places[0] == ("acme/a", "v1")
    # One piece each time, the end of a repository included.
    assert places == sorted(set(places))
    # Each tag of each repository once.
    heads = [each for each in library.asked if "?" not in each]
    assert heads == [f"acme/{name}:v{tag}" for name in "ab" for tag in (1, 2, 3)]
    assert _listed() == ["acme/a", "acme/b"]


@pytest.mark.parametrize(
    "scripts",
    [{"CATALOG": [NO_ANSWER]}, {"LIST acme/api": [NO_ANSWER], "CATALOG": [None, NO_ANSWER]}],
    ids=["at the start", "on the way"],
)
def test_a_registry_that_is_away_stops_the_job_until_it_is_back(
    gate: Core, library: Library, client: RegistryClient, scripts: dict[str, Any]
) -> None:
    library.store(ONE, "v1", "v2", "v3")
    for what, replies in scripts.items():
        library.script(what, *[reply or (lambda carry: carry()) for reply in replies])
    assert _run(client) == 0
    job = Job.objects.get()
    assert (job.lease, job.done_at) == (None, None)
    assert _run(client) == 1
    assert len(locked()) == 3


def test_no_job_asks_a_registry_that_another_job_found_away(
    acme: Workspace, globex: Workspace, library: Library, client: RegistryClient
) -> None:
    library.is_down = True
    assert _run(client) == 0
    assert len(library.calls) == 1
    # And the other one has its turn first.
    Job.objects.filter(workspace=acme).update(expires_at=Now() - timedelta(seconds=5))
    library.is_down = False
    assert _run(client) == 2


def test_a_repository_that_cannot_be_read_does_not_keep_the_others_waiting(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.repositories = ["acme/a", "acme/b"]
    library.store(ONE, "v1")
    library.script("LIST acme/a", NO_ANSWER, NO_ANSWER)
    assert _run(client) == 1
    assert _listed() == ["acme/b"]


def test_a_list_that_comes_the_second_time_is_read_from_where_it_was(
    gate: Core, library: Library, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "TAGS_PER_BATCH", 2)
    library.store(ONE, "v1", "v2", "v3")
    library.script("LIST acme/api", lambda carry: carry(), NO_ANSWER)
    assert _run(client) == 1
    assert [each for each in library.asked if "?" not in each] == [
        f"acme/api:v{tag}" for tag in (1, 2, 3)
    ]
    assert _listed() == ["acme/api"]


def test_a_tag_that_the_registry_cannot_show_is_left_out(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1", "v2", "v3")
    library.script("HEAD v1", *[BROKEN] * 4)
    assert _run(client) == 1
    assert set(locked()) == {"v2", "v3"}
    assert Job.objects.get().left_out_count == 1
    assert _listed() == []


def test_a_tag_with_a_write_in_flight_is_left_to_its_next_push(
    unprotected: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1", "v2", "v3")
    library.script("PUT v2", NO_ANSWER)
    assert unprotected.push("v2", image=TWO) == "503"
    unprotected.protect()
    assert _run(client) == 1
    # Its digest is known, but another image may land yet.
    assert set(locked()) == {"v1", "v3"}
    unprotected.let_pass(minutes=16)
    assert unprotected.reconcile("v2")
    assert unprotected.push("v2", image=TWO) == "403 locked"


def test_two_workers_do_a_job_once(gate: Core, library: Library, client: RegistryClient) -> None:
    library.store(ONE, "v1")
    other = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        other.append(_run(client))
        return carry()

    library.script("HEAD v1", meanwhile)
    assert _run(client) == 1
    assert other == [0]
    assert library.heads() == ["v1"]


def test_a_worker_that_died_is_followed_by_another_once_its_lease_is_over(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1", "v2")
    library.script("HEAD v1", _die)
    with pytest.raises(KilledError):
        _run(client)
    assert _run(client) == 0
    Job.objects.update(expires_at=F("asked_at"))
    assert _run(client) == 1
    assert set(locked()) == {"v1", "v2"}


def test_a_job_that_fails_gives_its_lease_back(
    gate: Core, library: Library, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.store(ONE, "v1")

    def fail(*args: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(work, "read_tags", fail)
        with pytest.raises(RuntimeError):
            _run(client)
    assert Job.objects.get().lease is None
    assert _run(client) == 1


def test_a_worker_whose_job_was_asked_for_again_changes_nothing_more(
    acme: Workspace,
    protect: Protect,
    connected: None,
    library: Library,
    client: RegistryClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work, "TAGS_PER_BATCH", 1)
    library.store(ONE, "v1.0.0", "v2")
    protect(acme, Protection.SOME, SEMVER)

    def save(carry: Carry) -> RegistryAnswer:
        protect(acme, Protection.ALL)
        return carry()

    library.script("HEAD v2", save)
    assert _run(client) == 0
    job = Job.objects.get()
    assert (job.looked_at_count, job.lease, job.done_at) == (0, None, None)
    assert _listed() == []
    assert _run(client) == 1
    assert set(locked()) == {"v1.0.0", "v2"}


def test_a_worker_whose_job_was_asked_for_again_lists_nothing(
    acme: Workspace, library: Library, client: RegistryClient
) -> None:
    def save(carry: Carry) -> RegistryAnswer:
        ask_for_inventory(acme)
        return carry()

    # While it reads that there are no tags left.
    library.script("LIST acme/api", save)
    assert _run(client) == 0
    assert _listed() == []
    assert _run(client) == 1
    assert _listed() == ["acme/api"]


# ---- sync_registry, and the task ----------------------------------------------------------------


@pytest.fixture
def sync(
    monkeypatch: pytest.MonkeyPatch, client: RegistryClient, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Return a function that calls the command and returns the lines that it prints."""
    monkeypatch.setattr(find, "find_registry", lambda _: client)

    def sync(*arguments: str) -> list[str]:
        call_command("sync_registry", *arguments)
        return capsys.readouterr().out.splitlines()

    return sync


def test_sync_registry_reads_and_locks_and_says_how_far_it_is(
    gate: Core, globex: Workspace, library: Library, sync: Callable[..., list[str]]
) -> None:
    library.store(ONE, "v1", "v2")
    assert sync() == [
        "acme: 2 tags looked at, 2 locked, 0 left to their next push.",
        "globex: 0 tags looked at, 0 locked, 0 left to their next push.",
    ]


def test_sync_registry_locks_what_a_restored_backup_has_forgotten(
    gate: Core, library: Library, sync: Callable[..., list[str]]
) -> None:
    gate.push("v1", image=ONE)
    gate.push("v2", image=TWO)
    LockedTag.objects.all().delete()
    TagRecord.objects.filter(name="v2").delete()
    sync("acme")
    assert locked() == {"v1": digest_of(ONE), "v2": digest_of(TWO)}


def test_sync_registry_works_on_no_other_workspace(
    gate: Core, globex: Workspace, sync: Callable[..., list[str]]
) -> None:
    sync("acme")
    ask_for_inventory(globex)
    sync("acme")
    assert Job.objects.get(workspace=globex).done_at is None


def test_sync_registry_says_where_the_registry_does_not_answer(
    gate: Core, library: Library, sync: Callable[..., list[str]]
) -> None:
    library.is_down = True
    with pytest.raises(CommandError, match="did not say what it has"):
        sync("acme")


def test_sync_registry_names_what_is_missing(
    gate: Core, monkeypatch: pytest.MonkeyPatch, sync: Callable[..., list[str]]
) -> None:
    with pytest.raises(CommandError, match="There is no workspace nowhere"):
        sync("acme", "nowhere")
    monkeypatch.setattr(find, "find_registry", lambda _: None)
    with pytest.raises(CommandError, match="REGISTRY_URL"):
        sync()


@pytest.mark.parametrize("is_connected", [True, False])
def test_the_task_works_on_jobs_where_a_registry_is_connected(
    acme: Workspace, client: RegistryClient, monkeypatch: pytest.MonkeyPatch, *, is_connected: bool
) -> None:
    monkeypatch.setattr(
        tasks, "find_registries", lambda: [(None, client if is_connected else None)]
    )
    tasks.run_due_jobs()
    assert Job.objects.filter(done_at__isnull=False).exists() is is_connected
