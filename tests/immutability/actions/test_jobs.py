"""What was there before it was protected is locked in the background, piece by piece."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F

from containers.registry.client import RegistryAnswer
from immutability.actions import jobs
from immutability.actions.jobs import run_jobs
from immutability.models import Attempt, Job, LockedTag
from immutability.protection import Policy, Protection
from tests.conftest import SEMVER
from tests.immutability.actions.asking import lock_of, tag_event_kinds, tag_events
from tests.immutability.gate.conftest import gate as gate
from tests.immutability.gate.conftest import upstream as upstream
from tests.immutability.gate.left_behind import age_attempts, open_attempts
from tests.immutability.gate.upstream import (
    TIMEOUT,
    Carry,
    GateClient,
    Upstream,
    answer,
    digest_of,
    image,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


def _run(upstream: Any, seconds: float = 60.0) -> int:
    return run_jobs(upstream, seconds)


def _locked() -> dict[str, str]:
    return dict(LockedTag.objects.filter(state="locked").values_list("tag", "digest"))


def test_saving_a_protection_has_what_is_there_locked(
    acme: Workspace, protect: Protect, upstream: Upstream
) -> None:
    upstream.store(ONE, "v1.0.0", "v1.1.0", "nightly")
    upstream.store(TWO, "v2.0.0")
    protect(acme, Protection.SOME, SEMVER)
    assert _locked() == {}
    assert _run(upstream) == 1
    assert _locked() == {
        "v1.0.0": digest_of(ONE),
        "v1.1.0": digest_of(ONE),
        "v2.0.0": digest_of(TWO),
    }
    job = Job.objects.get()
    assert (job.looked_at_count, job.adopted_count, job.left_out_count) == (4, 3, 0)
    assert job.done_at is not None
    events = tag_events(acme)
    assert {event.kind for event in events} == {"tag.adopted"}
    assert {(event.actor, event.rule_name) for event in events} == {("taglock", SEMVER.name)}
    assert open_attempts() == 0
    assert _run(upstream) == 0


def test_a_push_is_refused_before_the_job_has_come_to_its_tag(
    acme: Workspace, protect: Protect, upstream: Upstream, gate: GateClient
) -> None:
    upstream.store(ONE, "v1")
    protect(acme, Protection.ALL)
    assert gate.push("v1", TWO).status_code == 403
    assert _run(upstream) == 1
    assert Job.objects.get().adopted_count == 0
    assert tag_event_kinds(acme).count("tag.adopted") == 1


@pytest.mark.parametrize("registry_url", ["", "http://registry.internal:5000"])
def test_without_a_registry_or_a_protection_nothing_is_asked_for(
    acme: Workspace, protect: Protect, settings: Any, registry_url: str
) -> None:
    settings.REGISTRY_URL = registry_url
    protect(acme, Protection.NONE if registry_url else Protection.ALL)
    assert not Job.objects.exists()


def test_taking_the_protection_back_calls_the_job_off(
    acme: Workspace, protect: Protect, upstream: Upstream
) -> None:
    upstream.store(ONE, "v1")
    protect(acme, Protection.ALL)
    protect(acme, Protection.NONE)
    assert _run(upstream) == 0
    assert _locked() == {}


def test_a_job_goes_on_where_it_was_when_its_time_was_over(
    acme: Workspace, protect: Protect, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_BATCH", 1)
    upstream.store(ONE, *[f"v{number}" for number in range(5)])
    protect(acme, Protection.ALL)
    seen = []
    clock = iter(range(1000))
    monkeypatch.setattr(jobs, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    while not _run(upstream, 2.0):
        job = Job.objects.get()
        assert job.lease is None
        seen.append((job.repository, job.tag, job.looked_at_count))
    assert seen[0] == ("acme/api", "v0", 1)
    assert [count for _, _, count in seen] == sorted({count for _, _, count in seen})
    assert len(_locked()) == 5
    assert upstream.sent("GET").count("v0") == 2


def _carry(carry: Carry) -> RegistryAnswer:
    return carry()


@pytest.mark.parametrize(
    "scripts",
    [{"LIST": [TIMEOUT]}, {"GET": [TIMEOUT, TIMEOUT], "LIST": [_carry, _carry, TIMEOUT]}],
    ids=["at the start", "on the way"],
)
def test_a_registry_that_is_away_stops_the_job_until_it_is_back(
    acme: Workspace, protect: Protect, upstream: Upstream, scripts: dict[str, Any]
) -> None:
    upstream.store(ONE, "v1", "v2", "v3")
    protect(acme, Protection.ALL)
    for method, replies in scripts.items():
        upstream.script(method, *replies)
    assert _run(upstream) == 0
    job = Job.objects.get()
    assert (job.lease, job.done_at) == (None, None)
    assert open_attempts() == 0
    assert _run(upstream) == 1
    assert len(_locked()) == 3


def test_a_tag_that_the_registry_cannot_show_is_left_out(
    acme: Workspace, protect: Protect, upstream: Upstream
) -> None:
    upstream.store(ONE, "v1", "v2", "v3")
    protect(acme, Protection.ALL)
    # Of the batch, and then tag by tag.
    upstream.script("GET", answer(500), answer(500))
    assert _run(upstream) == 1
    assert set(_locked()) == {"v2", "v3"}
    assert Job.objects.get().left_out_count == 1


def test_a_job_that_fails_gives_its_lease_back(
    acme: Workspace, protect: Protect, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.store(ONE, "v1")
    protect(acme, Protection.ALL)

    def fail(*args: object, **options: object) -> int:
        raise RuntimeError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(jobs, "adopt_tags", fail)
        with pytest.raises(RuntimeError):
            _run(upstream)
    assert Job.objects.get().lease is None
    assert _run(upstream) == 1


def test_a_tag_with_a_write_under_way_is_left_to_its_next_push(
    acme: Workspace, protect: Protect, upstream: Upstream, gate: GateClient
) -> None:
    upstream.store(ONE, "v1", "v2", "v3")
    upstream.script("PUT", TIMEOUT)
    gate.push("v2", TWO)
    protect(acme, Protection.ALL)
    assert _run(upstream) == 1
    assert set(_locked()) == {"v1", "v3"}
    assert Job.objects.get().left_out_count == 1
    age_attempts(16)
    assert gate.push("v2", TWO).status_code == 403
    assert lock_of(acme, "v2") is not None


def test_two_workers_do_a_job_once(acme: Workspace, protect: Protect, upstream: Upstream) -> None:
    upstream.store(ONE, "v1")
    protect(acme, Protection.ALL)
    other = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        other.append(_run(upstream))
        return carry()

    upstream.script("GET", meanwhile)
    assert _run(upstream) == 1
    assert other == [0]
    assert upstream.sent("GET") == ["v1", "v1"]


def test_a_worker_that_died_is_followed_by_another_once_its_lease_is_over(
    acme: Workspace, protect: Protect, upstream: Upstream
) -> None:
    upstream.store(ONE, "v1", "v2")
    protect(acme, Protection.ALL)

    class KilledError(BaseException):
        pass

    def die(carry: Carry) -> RegistryAnswer:
        raise KilledError

    upstream.script("GET", die)
    with pytest.raises(KilledError):
        _run(upstream)
    assert _run(upstream) == 0
    Job.objects.update(expires_at=F("asked_at"))
    age_attempts(2)
    assert _run(upstream) == 1
    assert set(_locked()) == {"v1", "v2"}


def test_a_worker_whose_job_was_asked_for_anew_changes_nothing_more(
    acme: Workspace, protect: Protect, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_BATCH", 1)
    upstream.store(ONE, "v1.0.0", "v2")
    protect(acme, Protection.SOME, SEMVER)

    def save(carry: Carry) -> RegistryAnswer:
        protect(acme, Protection.ALL)
        return carry()

    upstream.script("GET", save)
    assert _run(upstream) == 0
    job = Job.objects.get()
    assert (job.looked_at_count, job.lease, job.done_at) == (0, None, None)
    assert _run(upstream) == 1
    assert set(_locked()) == {"v1.0.0", "v2"}


def test_what_a_crash_left_of_an_adoption_is_given_up(
    acme: Workspace, protect: Protect, upstream: Upstream, gate: GateClient
) -> None:
    upstream.store(ONE, "v1")
    protect(acme, Protection.ALL)

    class KilledError(BaseException):
        pass

    def die(carry: Carry) -> RegistryAnswer:
        raise KilledError

    upstream.script("GET", lambda carry: carry(), die)
    with pytest.raises(KilledError):
        _run(upstream)
    attempt = Attempt.objects.get()
    assert (attempt.kind, attempt.outcome, attempt.sent_at) == ("adopt", "open", None)
    assert gate.push("v1", TWO).status_code == 503
    age_attempts(2)
    assert gate.push("v1", TWO).status_code == 403
    assert _locked() == {"v1": digest_of(ONE)}
