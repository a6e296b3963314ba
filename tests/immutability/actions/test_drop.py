"""An admin drops the claim of a caller that never says how its write ended."""

from collections.abc import Callable
from typing import Any

import pytest

from immutability.actions.drop import drop_claim
from immutability.errors import ConflictError
from immutability.models import Claim, LockedTag
from tests.immutability.checks import Checks
from tests.immutability.core import ALICE, Core, named
from tests.immutability.registry_double import NO_ANSWER, image
from workspaces.log.models import LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = (named(name, image(name)) for name in ("one", "two"))


def drop(core: Core, tag: str = "v1") -> None:
    row = LockedTag.objects.get(tag=tag)
    drop_claim(core.workspace, row.id, "gone", actor=ALICE)


@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize("is_released", [True, False])
def test_a_dropped_claim_goes_back_once_its_write_can_land_no_more(
    core: Core, *, is_connected: bool, is_released: bool
) -> None:
    if is_released:
        core.push("v1", image=TWO)
        core.release()
    checks = Checks(core, is_connected)
    claim = checks.begin("v1", image=ONE)
    core.let_pass(minutes=15)
    drop(core)
    assert (core.lock(), core.stray()) == ("claimed one", "one")
    assert core.events()[-1] == "claim.dropped"
    assert checks.push("v1", image=TWO) == "claim_pending"
    assert [checks.confirm(claim), checks.abandon(claim)] == ["409", "409"]
    core.let_pass(minutes=15)
    while core.record().stray_until or core.lock() == "claimed one":
        assert checks.reconcile()
    assert core.lock() == ("released two" if is_released else "none")
    assert checks.push("v1", image=ONE) == "locked_now"


def test_25_what_the_caller_of_a_dropped_claim_wrote_is_locked(core: Core) -> None:
    checks = Checks(core)
    checks.begin("v1", image=ONE)
    core.let_pass(minutes=15)
    drop(core)
    checks.write("v1", image=ONE)
    assert checks.push("v1", image=TWO) == "claim_pending"
    core.let_pass(minutes=15)
    assert checks.push("v1", image=TWO) == "locked"
    assert core.lock() == "locked one"


def test_an_image_that_the_registry_has_is_pointed_again(core: Core) -> None:
    checks = Checks(core)
    checks.write(image=ONE)
    checks.begin("v1", image=ONE)
    core.let_pass(minutes=15)
    drop(core)
    assert core.reconcile()
    assert (core.lock(), core.shown()) == ("locked one", "one")


def test_all_tags_of_a_claim_are_dropped_together(core: Core) -> None:
    Checks(core).begin("v1", "v2", image=ONE)
    core.let_pass(minutes=15)
    drop(core, "v2")
    dropped = LockEvent.objects.filter(kind="claim.dropped").order_by("id")
    assert list(dropped.values_list("tag", "reason", "actor")) == [
        ("v1", "gone", "alice"),
        ("v2", "gone", "alice"),
    ]
    assert [core.stray("v1"), core.stray("v2")] == ["one", "one"]
    assert Claim.objects.get().outcome == "dropped"


def test_a_claim_is_not_dropped_while_its_caller_may_begin_to_write(core: Core) -> None:
    Checks(core).begin("v1", image=ONE)
    core.let_pass(minutes=14)
    with pytest.raises(ConflictError, match=r"Drop its claim after \d\d:\d\d:\d\d UTC"):
        drop(core)
    assert (core.lock(), core.stray(), core.events()) == ("claimed one", "none", [])


def locked(core: Core) -> None:
    core.push("v1", image=ONE)


def claimed_by_the_gate(core: Core) -> None:
    core.registry.script("PUT v1", NO_ANSWER)
    core.push("v1", image=ONE)


def confirmed(core: Core) -> None:
    checks = Checks(core)
    checks.confirm(checks.begin("v1", image=ONE))


@pytest.mark.parametrize("before", [locked, claimed_by_the_gate, confirmed])
def test_there_is_nothing_else_to_drop(core: Core, before: Callable[[Any], None]) -> None:
    before(core)
    lock = core.lock()
    with pytest.raises(ConflictError, match="no claim"):
        drop(core)
    assert core.lock() == lock


def test_the_claim_of_another_workspace_is_not_there(core: Core, globex: Any) -> None:
    Checks(core).begin("v1", image=ONE)
    with pytest.raises(LockedTag.DoesNotExist):
        drop_claim(globex, LockedTag.objects.get().id, "gone", actor=ALICE)
