"""Pushes in two phases: a claim, which its caller confirms or abandons."""

from collections.abc import Callable

import pytest

from immutability.models import Claim
from immutability.policy.protection import Protection
from immutability.push.check import CLAIM_LIFE
from tests.immutability.checks import Checks
from tests.immutability.core import Core
from tests.immutability.registry_double import Late, digest_of
from tests.immutability.states import (
    ONE,
    TWO,
    V_TAGS,
    locked,
    nothing,
    over_at,
    released,
    reserved,
    uncovered,
)
from workspaces.access import Actor, ActorKind

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]


def test_a_begin_is_a_write_in_flight_that_only_its_caller_ends(checks: Checks) -> None:
    claim = checks.begin("v1", image=ONE)
    record = checks.core.record()
    assert (record.write_id, record.write_is_external) == (claim.id, True)
    assert record.changed_at is not None
    assert record.write_expires_at == claim.expires_at == record.changed_at + CLAIM_LIFE
    assert (checks.core.stray(), checks.core.events()) == ("none", [])
    checks.core.let_pass(days=1)
    assert not checks.core.reconcile()
    assert (checks.core.lock(), checks.core.record().write_id) == ("claimed one", claim.id)
    assert checks.core.push("v1", image=ONE) == "503 CLAIM_PENDING"


@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize(
    ("before", "pushed", "confirmed", "abandoned"),
    [
        (nothing, ONE, "locked one", "none"),
        (released, TWO, "locked two", "released one"),
        (reserved, ONE, "locked one", "reserved one"),
    ],
)
def test_a_claim_is_confirmed_or_abandoned_once(
    core: Core,
    before: Callable[[Checks], None],
    pushed: bytes,
    confirmed: str,
    abandoned: str,
    *,
    is_connected: bool,
) -> None:
    checks = Checks(core, is_connected)
    before(checks)
    claim = checks.begin("v1", image=pushed)
    assert [checks.abandon(claim), checks.abandon(claim), core.lock()] == ["", "", abandoned]
    assert [checks.confirm(claim), core.lock()] == ["409", abandoned]
    claim = checks.begin("v1", image=pushed)
    checks.write("v1", image=pushed)
    assert [checks.confirm(claim), checks.confirm(claim), core.lock()] == ["v1", "v1", confirmed]
    assert [checks.abandon(claim), core.lock()] == ["409", confirmed]
    assert core.record().digest == digest_of(pushed)
    assert core.events().count("tag.locked") == (1 if before is nothing else 2)


def test_a_claim_can_be_confirmed_after_it_has_expired(checks: Checks) -> None:
    claim = checks.begin("v1", image=ONE)
    checks.core.let_pass(days=1)
    assert (checks.confirm(claim), checks.core.lock()) == ("v1", "locked one")


def test_of_several_tags_only_the_claimed_ones_are_in_flight(checks: Checks) -> None:
    checks.core.protect(Protection.SOME, V_TAGS)
    checks.core.push("v1", image=ONE)
    claim = checks.begin("v1", "v2", "main", image=ONE)
    assert claim.tags == {"main": "unprotected", "v1": "unchanged", "v2": "claimed"}
    assert [checks.core.stray(tag) for tag in ("main", "v1", "v2")] == ["one", "one", "none"]
    assert checks.core.record("main").stray_until == over_at(claim.expires_at)
    assert checks.confirm(claim) == "v1 v2"


@pytest.mark.parametrize(("before", "outcome"), [(uncovered, "unprotected"), (locked, "unchanged")])
def test_where_nothing_is_claimed_two_phases_are_one_call(
    checks: Checks, before: Callable[[Checks], None], outcome: str
) -> None:
    before(checks)
    answer = checks.answer("v1", image=ONE, two_phase=True)
    assert (answer.outcome, answer.claim, checks.core.stray()) == (outcome, None, "one")


def test_25_a_repeated_begin_waits_unless_the_same_caller_gives_the_same_key(
    checks: Checks,
) -> None:
    first = checks.begin("v1", "v2", image=ONE, key="build 7")
    assert checks.push("v1", "v2", image=ONE, two_phase=True) == "claim_pending"
    assert checks.push("v1", "v2", image=ONE, two_phase=True, key="build 8") == "claim_pending"
    other = Actor("other", ActorKind.TOKEN)
    with_other = checks.answer("v1", "v2", image=ONE, two_phase=True, key="build 7", caller=other)
    assert with_other.outcome == "claim_pending"
    again = checks.answer("v1", "v2", image=ONE, two_phase=True, key="build 7")
    assert again.claim is not None
    assert (again.claim.id, again.claim.expires_at) == (first.id, first.expires_at)
    assert {each.outcome.value for each in again.tags} == {"claimed"}
    assert Claim.objects.count() == 1


@pytest.mark.parametrize("other", [("v1", TWO), ("v2", ONE)])
def test_a_key_stands_for_one_push(checks: Checks, other: tuple[str, bytes]) -> None:
    checks.begin("v1", image=ONE, key="build 7")
    with pytest.raises(Exception, match="used for another push"):
        checks.begin(other[0], image=other[1], key="build 7")


@pytest.mark.parametrize("is_landed", [True, False])
def test_a_key_whose_claim_has_ended_begins_nothing(checks: Checks, *, is_landed: bool) -> None:
    claim = checks.begin("v1", image=ONE, key="build 7")
    (checks.confirm if is_landed else checks.abandon)(claim)
    with pytest.raises(Exception, match="has ended: it was"):
        checks.begin("v1", image=ONE, key="build 7")


def test_a_late_write_of_another_image_keeps_an_abandoned_claim_until_it_is_over(
    checks: Checks,
) -> None:
    released(checks)
    late = Late()
    checks.core.registry.script("PUT v1", late)
    assert checks.core.push("v1", image=TWO) == "503"
    checks.abandon(checks.begin("v1", image=TWO))
    assert checks.core.lock() == "claimed two"
    late.land()
    checks.core.let_pass(minutes=16)
    checks.core.reconcile()
    assert (checks.core.lock(), checks.core.shown()) == ("locked two", "two")
