"""What an admin does to a lock, on a registry in memory or without one."""

from collections.abc import Callable
from typing import Any

import pytest

from immutability.actions.delete_tag import NameAfter, delete_locked_tag
from immutability.actions.free import free_name
from immutability.actions.hold import LockChange
from immutability.actions.release import release_locked_tag
from immutability.models import LockedTag
from tests.immutability.core import ALICE
from tests.immutability.registry_double import RegistryDouble
from workspaces.models import User, Workspace

# The change that each action makes, with a registry or with None.
ACTIONS: dict[str, Callable[[LockChange, Any], Any]] = {
    "release": release_locked_tag,
    "free": free_name,
    "reserve": lambda change, registry: delete_locked_tag(change, NameAfter.RESERVE, registry),
    "delete and free": lambda change, registry: delete_locked_tag(change, NameAfter.FREE, registry),
}
Act = Callable[..., LockedTag | None]


@pytest.fixture
def act(acme: Workspace, alice: User) -> Act:
    """Return a function that does this to a lock as Alice, who is an admin of acme."""

    def act(
        what: str,
        row: LockedTag,
        registry: RegistryDouble | None = None,
        *,
        reason: str = "because",
        expected_state: str = "",
    ) -> LockedTag | None:
        change = LockChange(acme, row.id, reason, ALICE, expected_state)
        left: LockedTag | None = ACTIONS[what](change, registry)
        return left

    return act
