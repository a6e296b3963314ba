"""What a check allowed may be written later, or never."""

import pytest

from tests.immutability.checks import Checks
from tests.immutability.registry_double import digest_of
from tests.immutability.states import (
    ONE,
    TWO,
    locked_by_a_check,
    released,
    reserved,
    stray_from_before_the_protection,
    uncovered,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]


def test_a_lock_stands_while_the_registry_shows_what_it_showed_before(checks: Checks) -> None:
    locked_by_a_check(checks)
    checks.core.let_pass(minutes=17)
    checks.core.reconcile()
    assert (checks.core.lock(), checks.core.stray()) == ("locked one", "none")
    assert checks.push("v1", image=TWO) == "locked"


def test_what_the_caller_wrote_is_there_once_it_was_looked_at(checks: Checks) -> None:
    locked_by_a_check(checks)
    checks.write("v1", image=ONE)
    checks.core.let_pass(minutes=17)
    checks.core.reconcile()
    assert (checks.core.lock(), checks.core.record().digest) == ("locked one", digest_of(ONE))


def test_a_stray_that_is_over_and_in_the_way_is_ended_first(checks: Checks) -> None:
    stray_from_before_the_protection(checks)
    checks.core.let_pass(minutes=16)
    assert checks.push("v1", image=TWO) == "locked_now"


def test_a_stray_stays_while_the_registry_gives_no_answer(checks: Checks) -> None:
    stray_from_before_the_protection(checks)
    checks.core.let_pass(minutes=16)
    checks.core.registry.is_down = True
    assert checks.push("v1", image=TWO) == "claim_pending"


def test_28_of_two_strays_the_later_end_counts_and_different_images_are_none(
    checks: Checks,
) -> None:
    uncovered(checks)
    checks.push("v1", image=ONE)
    checks.core.let_pass(minutes=5)
    checks.push("v1", image=ONE)
    assert checks.core.stray() == "one"
    checks.push("v1", image=TWO)
    assert checks.core.stray() == "delete or several"
    checks.core.protect()
    checks.core.let_pass(minutes=15)
    assert checks.push("v1", image=ONE) == "claim_pending"
    checks.core.let_pass(minutes=2)
    assert checks.push("v1", image=ONE) == "locked_now"


# ---- traces that break weaker protocols --------------------------------------------------------


def test_18_a_reserved_image_that_comes_back_unprotected_is_locked(checks: Checks) -> None:
    reserved(checks)
    uncovered(checks)
    assert checks.push("v1", image=ONE) == "unprotected"
    checks.write("v1", image=ONE)
    checks.core.protect()
    checks.core.let_pass(minutes=17)
    checks.core.reconcile()
    assert (checks.core.lock(), checks.core.shown()) == ("locked one", "one")


def test_21_after_an_unchanged_answer_another_image_waits_for_the_late_write(
    checks: Checks,
) -> None:
    released(checks)
    assert checks.push("v1", image=ONE) == "unchanged"
    assert checks.push("v1", image=TWO) == "claim_pending"
    assert checks.core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    checks.core.let_pass(minutes=17)
    assert checks.push("v1", image=TWO) == "locked_now"


def test_22_a_lock_by_which_others_were_refused_does_not_end_since_nothing_was_written(
    checks: Checks,
) -> None:
    locked_by_a_check(checks)
    assert checks.push("v1", image=TWO) == "locked"
    checks.core.let_pass(minutes=17)
    checks.core.reconcile()
    assert checks.push("v1", image=TWO) == "locked"


def test_23_the_gate_writes_what_a_check_locked_and_nobody_wrote(checks: Checks) -> None:
    locked_by_a_check(checks)
    assert checks.core.push("v1", image=ONE) == "201"
    assert (checks.core.shown(), checks.core.registry.sent_by_tag) == ("one", ["v1"])


def test_24_what_a_caller_read_before_the_tag_changed_claims_nothing(checks: Checks) -> None:
    uncovered(checks)
    checks.core.push("v1", image=ONE)
    assert checks.core.delete("v1") == "202"
    checks.core.protect()
    assert checks.push("v1", image=TWO, current=None) == "503"
    assert checks.core.lock() == "none"
    checks.core.let_pass(minutes=1)
    assert checks.push("v1", image=TWO, current=None) == "locked_now"
