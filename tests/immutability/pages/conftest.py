"""People at their browsers."""

from collections.abc import Callable

import pytest
from django.test import Client

from tests.conftest import make_member
from tests.page import Browser
from workspaces.access import Role
from workspaces.models import User, Workspace


@pytest.fixture(scope="module", autouse=True)
def kept_alice(kept_acme: Workspace) -> User:
    """The admin of acme, made once for each file about pages."""
    return make_member(kept_acme, "alice", Role.ADMIN)


@pytest.fixture
def admin(alice: User, sign_in: Callable[[User], Client]) -> Browser:
    """Alice's browser."""
    return Browser(sign_in(alice))


@pytest.fixture
def member(bob: User, sign_in: Callable[[User], Client]) -> Browser:
    """Bob's browser."""
    return Browser(sign_in(bob))


@pytest.fixture
def auditor(olga: User, sign_in: Callable[[User], Client]) -> Browser:
    """Olga's browser."""
    return Browser(sign_in(olga))
