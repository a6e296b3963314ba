"""The gate's views before a registry in memory; nothing waits."""

from typing import Any

import pytest

from immutability.gate import views
from tests.immutability.core import Core
from tests.immutability.gate.client import GateClient
from tests.services.accounts import make_pusher
from workspaces.models import User, Workspace


@pytest.fixture(scope="module")
def kept_core(kept_core: Workspace) -> Workspace:
    """Acme with Dana, who pushes, made once for a file."""
    make_pusher(kept_core)
    return kept_core


@pytest.fixture
def core(core: Core, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Core:
    """Acme with all tags protected; the gate's registry is the one in memory."""
    settings.REGISTRY_URL = "http://registry.internal:5000"
    monkeypatch.setattr(views, "connect", lambda to: core.registry if to.url else None)
    return core


@pytest.fixture
def gate(core: Core) -> GateClient:
    """Dana, a member of acme, before the gate."""
    return GateClient(make_pusher(core.workspace))


@pytest.fixture
def admin_gate(core: Core, alice: User) -> GateClient:
    """Alice, an admin of acme, before the gate."""
    return GateClient(alice)
