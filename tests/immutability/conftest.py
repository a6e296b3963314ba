"""The core on a registry in memory; nothing waits."""

from collections.abc import Callable

import pytest

from immutability import patience
from immutability.policy.protection import Policy
from tests.immutability.core import Core
from tests.immutability.registry_double import RegistryDouble
from workspaces.models import User, Workspace


@pytest.fixture
def core(
    acme: Workspace,
    alice: User,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> Core:
    """Acme with all tags protected and Alice its admin, before an empty registry."""
    monkeypatch.setattr(patience, "MAX_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(patience, "_SHORT_TURN_SECONDS", 0.0)
    core = Core(acme, RegistryDouble(), protect)
    core.protect()
    return core
