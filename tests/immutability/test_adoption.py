"""No tag is locked to an image while a delete of it may still land.

Such a delete began while nothing protected the tag and Taglock did not know of it.
"""

from collections.abc import Callable

import pytest

from containers.names import TagName
from immutability.errors import TryAgainError
from immutability.policy.protection import Protection
from immutability.reconcile.inventory import read_tags
from tests.immutability.checks import Checks
from tests.immutability.core import Core, named
from tests.immutability.registry_double import Late, image

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = (named(name, image(name)) for name in ("one", "two"))
WAITS = "503 CLAIM_PENDING"


def delete_late(core: Core, body: bytes) -> Late:
    """Begin to delete an image while nothing is protected, then protect all tags."""
    core.protect(Protection.NONE)
    late = Late()
    core.registry.script("DELETE", late)
    assert core.delete(body) == "503"
    core.protect()
    return late


def check(core: Core, body: bytes) -> str:
    try:
        return Checks(core).push("v1", image=body)
    except TryAgainError:
        return "503"


ASKS: dict[str, tuple[Callable[[Core], str], str]] = {
    "push": (lambda core: core.push("v1", image=TWO), WAITS),
    "the same push": (lambda core: core.push("v1", image=ONE), WAITS),
    "delete": (lambda core: core.delete("v1"), WAITS),
    "an admin's delete": (lambda core: core.delete("v1", is_admin=True), WAITS),
    "delete by digest": (lambda core: core.delete(ONE), WAITS),
    "check": (lambda core: check(core, TWO), "claim_pending"),
}


@pytest.mark.parametrize("ask", list(ASKS))
def test_a_tag_whose_image_is_being_deleted_is_not_locked(core: Core, ask: str) -> None:
    core.registry.store(ONE, "v1")
    late = delete_late(core, ONE)
    call, told = ASKS[ask]
    assert call(core) == told
    assert core.lock() == "none"
    late.land()
    core.let_pass(minutes=16)
    assert core.push("v1", image=TWO) == "201"
    assert (core.lock(), core.shown()) == ("locked two", "two")


def test_a_reserved_name_is_not_locked_again_to_an_image_that_is_being_deleted(core: Core) -> None:
    push, delete = Late(), Late()
    core.push("v1", image=ONE)
    assert core.delete("v1", is_admin=True) == "202"
    core.registry.script("PUT v1", push)
    core.protect(Protection.NONE)
    assert core.push("v1", image=ONE) == "503"
    core.protect()
    core.let_pass(minutes=14)
    core.registry.script("DELETE", delete)
    assert core.delete(ONE) == "503"
    push.land()
    core.let_pass(minutes=2)
    core.reconcile()
    assert core.lock() == "reserved one"
    assert core.push("v1", image=TWO) == WAITS
    delete.land()
    core.let_pass(minutes=16)
    core.reconcile()
    assert (core.lock(), core.shown()) == ("reserved one", "nothing")
    assert core.push("v1", image=TWO) == "403 reserved"


def test_the_inventory_leaves_such_a_tag_to_its_next_push(core: Core) -> None:
    core.registry.store(ONE, "v1")
    late = delete_late(core, ONE)
    read_tags(core.workspace, core.repository, [TagName("v1")], core.registry)  # type: ignore[arg-type]
    assert core.lock() == "none"
    assert core.stray() == "delete or several"
    late.land()
    core.let_pass(minutes=16)
    assert core.push("v1", image=TWO) == "201"
