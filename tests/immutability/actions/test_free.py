"""Free: a reserved name is given up, unless the registry has the tag."""

import pytest

from containers.registry.client import RegistryAnswer
from immutability.errors import ConflictError, TryAgainError
from immutability.models import LockedTag
from tests.immutability.actions.conftest import Act
from tests.immutability.core import Core
from tests.immutability.making import make_lock, set_record, tag_events
from tests.immutability.registry_double import (
    NO_ANSWER,
    Carry,
    RegistryDouble,
    image,
)
from tests.problems import nothing_written
from workspaces.models import Workspace

ONE, TWO = image("one"), image("two")


def test_the_next_push_may_bring_any_image(core: Core, act: Act) -> None:
    core.push("v1", image=ONE)
    core.delete("v1", is_admin=True)
    act("free", LockedTag.objects.get(), core.registry, reason="never used")
    event = tag_events(core.workspace)[-1]
    assert (event.kind, event.actor, event.reason) == ("lock.freed", "alice", "never used")
    assert core.push("v1", image=TWO) == "201"


@pytest.mark.parametrize("body", [ONE, TWO])
def test_a_tag_that_the_registry_has_is_not_freed(acme: Workspace, act: Act, body: bytes) -> None:
    registry = RegistryDouble()
    digest = registry.store(body, "v1")
    row = make_lock(acme, "v1", "reserved", registry.store(ONE))
    with nothing_written(), pytest.raises(ConflictError, match="The registry still has") as caught:
        act("free", row, registry)
    assert digest[:19] in str(caught.value)


def test_a_registry_that_does_not_say_frees_nothing(acme: Workspace, act: Act) -> None:
    registry = RegistryDouble()
    registry.script("HEAD", NO_ANSWER)
    row = make_lock(acme, "v1", "reserved")
    with nothing_written(), pytest.raises(TryAgainError):
        act("free", row, registry)


@pytest.mark.parametrize(("times", "is_freed"), [(2, True), (3, False)])
def test_a_look_counts_only_while_the_record_stays_as_it_was(
    acme: Workspace, act: Act, times: int, *, is_freed: bool
) -> None:
    registry = RegistryDouble()
    row = make_lock(acme, "v1", "reserved")
    revisions = iter(range(7, 99))

    def change_meanwhile(carry: Carry) -> RegistryAnswer:
        set_record(row, revision=next(revisions))
        return carry()

    # Each call looks once; what has changed helps no second one.
    registry.script("HEAD", *[change_meanwhile] * times)
    if is_freed:
        act("free", row, registry)
    else:
        with pytest.raises(TryAgainError, match="changed while Taglock looked at it"):
            act("free", row, registry)
    assert LockedTag.objects.exists() is not is_freed
