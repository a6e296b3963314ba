"""Hints: what a registry reports is looked at, and decides nothing."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from containers.models import Tag as TagRecord
from containers.names import Digest, TagName
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.registry.notifications import Report
from immutability.models import Drift, Hint, Job, LockedTag
from immutability.policy.protection import Protection
from immutability.reconcile import hints
from immutability.reconcile.hints import LOOK_AFTER, follow_hints, take_hints
from tests.immutability.core import Core, named
from tests.immutability.reconcile.conftest import Library, locked
from tests.immutability.registry_double import (
    INDEX_TYPE,
    NO_ANSWER,
    REPOSITORY,
    Carry,
    answer,
    digest_of,
    image,
    index,
)
from workspaces.log.models import LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = named("one", image("one")), named("two", image("two"))

Tell = Callable[..., int]


def pushed(tag: str, body: bytes) -> Report:
    return Report(REPOSITORY, TagName(tag), Digest(digest_of(body)), is_delete=False)


def deleted(tag: str = "", body: bytes | None = None) -> Report:
    digest = Digest(digest_of(body)) if body else None
    return Report(REPOSITORY, TagName(tag) if tag else None, digest, is_delete=True)


def wait() -> None:
    """Let the time pass after which the next look may begin."""
    Hint.objects.update(look_at=Now())


def follow(client: RegistryClient) -> int:
    wait()
    return follow_hints(client, 10.0)


def test_a_locked_tag_that_was_changed_past_the_gate_is_found(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    assert take_hints(gate.workspace, REPOSITORY, [pushed("v1", TWO)]) == 1
    assert Hint.objects.get().look_at > Hint.objects.get().received_at
    assert follow(client) == 1
    assert not Hint.objects.exists()
    found = Drift.objects.get()
    assert (found.kind, found.digest, found.found) == ("changed", digest_of(ONE), digest_of(TWO))
    assert LockEvent.objects.get(kind="drift.found").ref == found.event
    assert gate.lock() == "locked one"


@pytest.mark.parametrize("report", [deleted("v1"), deleted(body=ONE), deleted("v1", ONE)])
def test_a_locked_tag_that_was_deleted_past_the_gate_is_found(
    gate: Core, library: Library, client: RegistryClient, report: Report
) -> None:
    gate.push("v1", image=ONE)
    del library.tags["v1"]
    assert take_hints(gate.workspace, REPOSITORY, [report]) == 1
    assert follow(client) == 1
    assert Drift.objects.get().kind == "missing"
    assert gate.lock() == "locked one"


def test_a_part_of_a_locked_index_that_was_deleted_is_found(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE)
    library.store(TWO)
    gate.push("v1", image=index(ONE, TWO))
    del library.manifests[digest_of(ONE)]
    assert take_hints(gate.workspace, REPOSITORY, [deleted(body=ONE)]) == 1
    follow(client)
    found = Drift.objects.get()
    assert (found.kind, found.missing, found.missing_count) == ("incomplete", digest_of(ONE), 1)


def test_a_tag_that_was_pushed_past_the_gate_is_locked(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1")
    take_hints(gate.workspace, REPOSITORY, [pushed("v1", ONE)])
    assert follow(client) == 1
    assert locked() == {"v1": digest_of(ONE)}


def test_what_taglock_has_written_itself_is_not_looked_at(gate: Core, library: Library) -> None:
    said: list[int] = []

    def report(carry: Carry) -> RegistryAnswer:
        # Distribution says so before it writes the tag.
        said.append(take_hints(gate.workspace, REPOSITORY, [pushed("v1", ONE)]))
        return carry()

    library.script("PUT v1", report)
    gate.push("v1", image=ONE)
    said.append(take_hints(gate.workspace, REPOSITORY, [pushed("v1", ONE)]))

    def report_delete(carry: Carry) -> RegistryAnswer:
        done = carry()
        said.append(take_hints(gate.workspace, REPOSITORY, [deleted("v1"), deleted(body=ONE)]))
        return done

    library.script("DELETE v1", report_delete)
    gate.delete("v1", is_admin=True)
    said.append(take_hints(gate.workspace, REPOSITORY, [deleted("v1"), deleted(body=ONE)]))
    assert said == [0, 0, 0, 0]


def test_a_report_of_what_is_known_costs_one_statement(
    gate: Core, django_assert_num_queries: Callable[[int], CaptureQueriesContext]
) -> None:
    gate.push("v1", image=ONE)
    with django_assert_num_queries(1):
        take_hints(gate.workspace, REPOSITORY, [pushed("v1", ONE)])


def test_a_flood_of_reports_is_one_look(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    for _ in range(5):
        take_hints(
            gate.workspace, REPOSITORY, [pushed("v1", TWO), deleted("v1"), pushed("v1", TWO)]
        )
    library.calls.clear()
    assert follow(client) == 1
    assert library.heads().count("v1") == 1


def test_no_workspace_has_more_hints_than_the_limit(
    gate: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "MAX_HINTS_PER_WORKSPACE", 2)
    for number in range(4):
        take_hints(gate.workspace, REPOSITORY, [pushed(f"v{number}", ONE)])
    assert Hint.objects.count() == 2
    many = [pushed(f"w{number}", ONE) for number in range(3)]
    Hint.objects.all().delete()
    assert take_hints(gate.workspace, REPOSITORY, many) == 0
    assert not Hint.objects.exists()
    # All locks are compared instead.
    assert Job.objects.get(kind="drift").done_at is None


def test_a_tag_that_does_not_show_yet_what_was_reported_is_looked_at_again(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    take_hints(gate.workspace, REPOSITORY, [pushed("v1", TWO)])
    follow(client)
    assert not Drift.objects.exists()
    library.store(TWO, "v1")
    follow(client)
    assert (Drift.objects.get().kind, Hint.objects.count()) == ("changed", 0)


def test_what_never_shows_is_given_up(gate: Core, client: RegistryClient, library: Library) -> None:
    gate.push("v1", image=ONE)
    take_hints(gate.workspace, REPOSITORY, [pushed("v1", TWO)])
    library.calls.clear()
    for _ in range(len(LOOK_AFTER) + 2):
        follow(client)
    assert library.heads() == ["v1"] * len(LOOK_AFTER)
    assert not Hint.objects.exists()


def test_a_report_during_the_look_is_followed_by_another_look(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    take_hints(gate.workspace, REPOSITORY, [pushed("v1", TWO)])
    library.store(TWO, "v1")

    def report(carry: Carry) -> RegistryAnswer:
        seen = carry()
        take_hints(gate.workspace, REPOSITORY, [deleted("v1")])
        del library.tags["v1"]
        return seen

    library.script("HEAD v1", report)
    follow(client)
    assert Hint.objects.get().digest == ""
    follow(client)
    assert (Drift.objects.get().kind, Hint.objects.count()) == ("missing", 0)


@pytest.mark.parametrize(
    "busy",
    [
        {"write_id": "0" * 32, "write_kind": "push"},
        {"stray_until": Now() + timedelta(minutes=5)},
    ],
    ids=["write", "stray"],
)
@pytest.mark.parametrize("has_lock", [True, False])
def test_a_tag_that_is_being_written_is_looked_at_later(
    gate: Core, library: Library, client: RegistryClient, busy: dict[str, object], *, has_lock: bool
) -> None:
    gate.push("v1", image=ONE)
    if not has_lock:
        LockedTag.objects.all().delete()
    TagRecord.objects.update(**busy)
    library.store(TWO, "v1")
    take_hints(gate.workspace, REPOSITORY, [pushed("v1", TWO)])
    for _ in range(len(LOOK_AFTER) + 1):
        follow(client)
    assert not Drift.objects.exists()
    assert Hint.objects.count() == (1 if has_lock or "write_id" in busy else 0)


def test_a_registry_that_gives_no_answer_is_asked_again_later(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    for tag in ("v1", "v2"):
        gate.push(tag, image=ONE)
    library.store(TWO, "v1", "v2")
    take_hints(gate.workspace, REPOSITORY, [pushed("v1", TWO), pushed("v2", TWO)])
    library.script("HEAD", NO_ANSWER)
    library.script("VERSION", NO_ANSWER)
    assert follow(client) == 0
    assert [call.method for call in library.calls[-2:]] == ["HEAD", "VERSION"]
    assert follow(client) == 2
    assert Drift.objects.count() == 2


def test_a_tag_that_the_registry_cannot_show_keeps_no_other_waiting(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    for tag in ("v1", "v2"):
        gate.push(tag, image=ONE)
    library.store(TWO, "v1", "v2")
    take_hints(gate.workspace, REPOSITORY, [pushed("v1", TWO)])
    take_hints(gate.workspace, REPOSITORY, [pushed("v2", TWO)])
    library.script("HEAD v1", answer(500))
    assert follow(client) == 1
    assert Drift.objects.get().record.name == "v2"
    assert Hint.objects.get().tag == "v1"


def test_a_tag_without_a_lock_that_is_gone_is_given_up(
    unprotected: Core, library: Library, client: RegistryClient
) -> None:
    unprotected.push("v1", image=ONE)
    del library.tags["v1"]
    assert take_hints(unprotected.workspace, REPOSITORY, [deleted("v1")]) == 1
    for _ in range(len(LOOK_AFTER)):
        follow(client)
    assert not Hint.objects.exists()


def test_what_nothing_covers_is_recorded_and_no_drift(
    unprotected: Core, library: Library, client: RegistryClient
) -> None:
    unprotected.protect()
    unprotected.push("v1", image=ONE)
    unprotected.protect(Protection.NONE)
    library.store(TWO, "v1")
    library.store(TWO, "v2")
    take_hints(unprotected.workspace, REPOSITORY, [pushed("v1", TWO), pushed("v2", TWO)])
    follow(client)
    assert not Drift.objects.exists()
    assert unprotected.record("v2").digest == digest_of(TWO)


def test_two_workers_share_the_hints(gate: Core, library: Library, client: RegistryClient) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    take_hints(gate.workspace, REPOSITORY, [pushed("v1", TWO)])
    wait()

    def follow_too(carry: Carry) -> RegistryAnswer:
        assert follow_hints(client, 10.0) == 0
        return carry()

    library.script("HEAD v1", follow_too)
    assert follow_hints(client, 10.0) == 1
    assert library.store(index(ONE), media_type=INDEX_TYPE)
