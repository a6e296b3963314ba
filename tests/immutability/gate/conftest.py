"""The gate in front of a registry in memory, and pushes that do not wait for each other."""

from collections.abc import Callable
from typing import Any

import pytest

from immutability.actions import push_manifest
from immutability.gate import views
from immutability.protection import Policy, Protection
from tests.immutability.gate.upstream import GateClient, Upstream
from tests.services.accounts import make_pusher
from workspaces.models import User, Workspace


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Upstream:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    upstream = Upstream()
    monkeypatch.setattr(views, "_registry", lambda: upstream)
    monkeypatch.setattr(push_manifest, "HOLD_SECONDS", 0.0)
    return upstream


@pytest.fixture
def gate(upstream: Upstream, acme: Workspace) -> GateClient:
    """Dana, a member of acme, before the gate."""
    return GateClient(make_pusher(acme))


@pytest.fixture
def admin_gate(upstream: Upstream, alice: User) -> GateClient:
    """Alice, an admin of acme, before the gate."""
    return GateClient(alice)


@pytest.fixture
def protected(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """Acme, with all tags protected."""
    protect(acme, Protection.ALL)
    return acme
