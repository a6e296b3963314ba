"""The core on a registry in memory; nothing waits."""

from collections.abc import Callable

import pytest

from immutability import patience
from immutability.policy.protection import Policy, Protection
from immutability.reading import read_policy
from tests.conftest import make_member, protect_workspace
from tests.immutability.checks import Checks
from tests.immutability.core import Core
from tests.immutability.registry_double import RegistryDouble
from tests.people import write_workspace
from workspaces.access import Role
from workspaces.models import User, Workspace


@pytest.fixture(scope="module")
def kept_acme(kept_rows: None) -> Workspace:
    """Acme, made once for a file, all of whose tests depend on this."""
    return write_workspace("acme", "Acme")


@pytest.fixture(scope="module")
def kept_core(kept_acme: Workspace) -> Workspace:
    """Acme with all tags protected and Alice its admin, made once for a file.

    A file whose tests are about the core says that it uses this, so that each of them finds it.
    """
    make_member(kept_acme, "alice", Role.ADMIN)
    protect_workspace(kept_acme, Protection.ALL)
    return kept_acme


@pytest.fixture
def acme(db: None) -> Workspace:
    """Acme, as the file keeps it, or made for this test."""
    return Workspace.objects.filter(slug="acme").first() or write_workspace("acme", "Acme")


@pytest.fixture
def alice(acme: Workspace) -> User:
    """Alice, as the file keeps her, or made for this test."""
    return User.objects.filter(username="alice").first() or make_member(acme, "alice", Role.ADMIN)


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
    if read_policy(acme).protection is not Protection.ALL:
        core.protect()
    return core


@pytest.fixture
def checks(core: Core) -> Checks:
    """A registry that asks, and that Taglock can look at."""
    return Checks(core)


@pytest.fixture
def alone(core: Core) -> Checks:
    """A registry that asks, and that Taglock can't look at."""
    return Checks(core, is_connected=False)
