"""All locks are compared with the registry: many questions at once, resumed where it stopped."""

import threading
from itertools import count
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F

from containers.management import find
from containers.registry.client import RegistryAnswer, RegistryClient
from immutability import tasks
from immutability.models import Drift, Job
from immutability.reconcile import comparison
from immutability.reconcile.comparison import run_comparisons
from immutability.reconcile.drift import _MAX_FAILURES
from immutability.reconcile.jobs import (
    COMPARE_AGAIN_AFTER,
    JOB_LEASE,
    ask_for_comparison,
    continue_comparison,
)
from tests.immutability.core import Core, named
from tests.immutability.making import make_lock
from tests.immutability.reconcile.conftest import Library
from tests.immutability.registry_double import INDEX_TYPE, Carry, image, index
from workspaces.models import Workspace

ONE, TWO = named("one", image("one")), named("two", image("two"))
LIST = index(ONE, TWO)


class KilledError(BaseException):
    """The worker's process ends here."""


def _die(carry: Carry) -> RegistryAnswer:
    raise KilledError


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch, one_by_one: None) -> None:
    monkeypatch.setattr(comparison, "LOCKS_PER_PART", 2)


@pytest.fixture
def moved(gate: Core, library: Library) -> Core:
    """Five locked tags, all of them at another image now."""
    for number in range(5):
        gate.push(f"v{number}", image=ONE)
    library.store(TWO, *(f"v{number}" for number in range(5)))
    library.calls.clear()
    return gate


def job() -> Job:
    return Job.objects.get(kind="drift")


@pytest.mark.django_db(transaction=True)
def test_many_tags_are_looked_at_at_once(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    for number in range(comparison.MAX_CALLS_AT_ONCE):
        gate.push(f"v{number}", image=ONE)
    together = threading.Barrier(comparison.MAX_CALLS_AT_ONCE, timeout=10)

    def wait(carry: Carry) -> RegistryAnswer:
        together.wait()
        return carry()

    library.script("HEAD", *[wait] * comparison.MAX_CALLS_AT_ONCE)
    ask_for_comparison(gate.workspace)
    assert run_comparisons(client) == 1
    assert (job().looked_at_count, job().left_out_count) == (comparison.MAX_CALLS_AT_ONCE, 0)


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.usefixtures("_small_parts")
def test_a_comparison_goes_on_where_it_was_stopped(
    moved: Core, library: Library, client: RegistryClient
) -> None:
    ask_for_comparison(moved.workspace)
    library.script("HEAD v2", _die)
    with pytest.raises(KilledError):
        run_comparisons(client)
    assert (job().looked_at_count, Drift.objects.count()) == (2, 2)
    library.calls.clear()
    assert run_comparisons(client) == 1
    assert [each for each in library.heads() if each.startswith("v")] == ["v2", "v3", "v4"]
    assert (job().looked_at_count, Drift.objects.count()) == (5, 5)


@pytest.mark.django_db
@pytest.mark.usefixtures("_small_parts")
def test_a_comparison_is_done_in_pieces(
    moved: Core, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for_comparison(moved.workspace)
    # Each look at the clock takes a second.
    seconds = count()
    monkeypatch.setattr(comparison, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    parts: list[int] = []
    while len(parts) < 5 and not run_comparisons(client, 1.5):
        parts.append(job().looked_at_count)
    assert parts == [2, 4, 5]
    assert Drift.objects.count() == 5


@pytest.mark.django_db
@pytest.mark.usefixtures("_small_parts")
def test_two_workers_do_not_compare_the_same(
    moved: Core, library: Library, client: RegistryClient
) -> None:
    ask_for_comparison(moved.workspace)

    def run_too(carry: Carry) -> RegistryAnswer:
        assert run_comparisons(client) == 0
        return carry()

    library.script("HEAD v0", run_too)
    assert run_comparisons(client) == 1
    assert job().looked_at_count == 5


@pytest.mark.django_db
@pytest.mark.usefixtures("_small_parts")
def test_a_worker_whose_lease_is_over_writes_nothing_more(
    moved: Core, library: Library, client: RegistryClient
) -> None:
    ask_for_comparison(moved.workspace)

    def lose(carry: Carry) -> RegistryAnswer:
        Job.objects.update(expires_at=F("expires_at") - JOB_LEASE)
        assert run_comparisons(client) == 1
        return carry()

    library.script("HEAD v0", lose)
    assert run_comparisons(client) == 0
    assert (job().looked_at_count, job().done_at is not None) == (5, True)


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.usefixtures("_small_parts")
def test_one_that_is_ordered_while_it_runs_begins_again_later(
    moved: Core, library: Library, client: RegistryClient
) -> None:
    ask_for_comparison(moved.workspace)

    def ask(carry: Carry) -> RegistryAnswer:
        ask_for_comparison(moved.workspace)
        return carry()

    library.script("HEAD v4", ask)
    assert run_comparisons(client) == 0
    assert (job().done_at, job().lock_id, job().looked_at_count) == (None, 0, 5)
    assert job().compared_at is not None
    assert not job().is_running
    assert run_comparisons(client) == 0
    Job.objects.update(expires_at=F("expires_at") - COMPARE_AGAIN_AFTER)
    assert run_comparisons(client) == 1
    assert job().looked_at_count == 5
    assert continue_comparison(moved.workspace).id == job().id
    assert job().is_running


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.usefixtures("_small_parts")
def test_one_that_is_ordered_between_its_pieces_begins_again_later(
    moved: Core, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for_comparison(moved.workspace)
    # Each look at the clock takes a second.
    seconds = count()
    monkeypatch.setattr(comparison, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert run_comparisons(client, 1.5) == 0
    assert job().looked_at_count == 2
    ask_for_comparison(moved.workspace)
    assert run_comparisons(client, 100) == 0
    assert (job().done_at, job().lock_id, job().looked_at_count) == (None, 0, 5)
    ask_for_comparison(moved.workspace)
    assert run_comparisons(client, 100) == 1


@pytest.mark.django_db
def test_what_only_reports_order_again_and_again_leaves_the_registry_alone_between(
    moved: Core, client: RegistryClient, one_by_one: None
) -> None:
    done = []
    for _ in range(2):
        ask_for_comparison(moved.workspace, is_urgent=False)
        done.append(run_comparisons(client))
    assert done == [1, 0]
    assert (job().done_at, job().is_running) == (None, False)
    ask_for_comparison(moved.workspace)
    assert run_comparisons(client) == 1


@pytest.mark.django_db
def test_a_repository_that_cannot_be_shown_stops_no_other(
    moved: Core, library: Library, client: RegistryClient, one_by_one: None
) -> None:
    """And it is not asked for each of its tags: each answer may take twenty seconds."""
    for number in range(_MAX_FAILURES + 3):
        make_lock(moved.workspace, f"w{number}", repository="acme/broken")
    make_lock(moved.workspace, "v0", repository="acme/web")
    library.broken = {"acme/broken"}
    ask_for_comparison(moved.workspace)
    assert run_comparisons(client) == 1
    assert set(Drift.objects.values_list("record__repository", flat=True)) == {
        "acme/api",
        "acme/web",
    }
    assert (job().looked_at_count, job().left_out_count) == (_MAX_FAILURES + 9, _MAX_FAILURES + 3)
    assert sum(each.startswith("acme/broken:") for each in library.asked) == _MAX_FAILURES
    assert job().left_out_repository == "acme/broken"


@pytest.mark.django_db
@pytest.mark.usefixtures("_small_parts")
def test_the_command_goes_on_and_says_all_that_differs(
    moved: Core,
    library: Library,
    client: RegistryClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(find, "find_registry", lambda _: client)
    library.is_down = True
    with pytest.raises(CommandError, match="no answer"):
        call_command("check_drift")
    library.is_down = False
    moved.protect(repair_drift=True)
    capsys.readouterr()
    call_command("check_drift")
    assert capsys.readouterr().out.splitlines() == ["5 tags put back.", "0 differences found."]
    assert {moved.shown(f"v{number}") for number in range(5)} == {"one"}


@pytest.mark.django_db
def test_each_manifest_of_many_lists_is_asked_for_once(
    gate: Core, library: Library, client: RegistryClient, one_by_one: None
) -> None:
    for body in (ONE, TWO):
        library.store(body)
    gate.push("v1", "v2", "v3", image=LIST)
    library.calls.clear()
    ask_for_comparison(gate.workspace)
    assert run_comparisons(client) == 1
    assert len(library.heads()) == 3 + 2
    assert library.store(LIST, media_type=INDEX_TYPE)


@pytest.mark.django_db
def test_the_worker_compares_what_was_ordered(
    gate: Core,
    globex: Workspace,
    library: Library,
    client: RegistryClient,
    monkeypatch: pytest.MonkeyPatch,
    one_by_one: None,
) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    monkeypatch.setattr(tasks, "find_registries", lambda: [(None, client)])
    ask_for_comparison(gate.workspace)
    tasks.run_due_jobs()
    assert Drift.objects.get().record.name == "v1"
