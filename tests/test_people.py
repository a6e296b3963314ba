"""That `tests/people.py` writes what the actions write."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction

from containers.prefixes import create_workspace
from immutability.actions.save_settings import save_container_settings
from immutability.policy.drafts import Draft
from immutability.policy.protection import Protection
from tests.conftest import CACHES, LATEST, SEMVER
from tests.people import (
    write_access_token,
    write_first_settings,
    write_member,
    write_workspace,
)
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.models import User, Workspace

Rows = list[dict[str, Any]]

# What differs each time, as times do.
NEVER_THE_SAME = {"id", "ref", "origin_hash", "token_hash"}
DRAFTS = (
    Draft(Protection.ALL, exceptions=(LATEST, CACHES), protect_signature_tags=True),
    Draft(Protection.SOME, (SEMVER,), refuse_identical_pushes=True),
    Draft(Protection.ALL, repair_drift=True),
    Draft(Protection.NONE, (SEMVER,)),
)


@pytest.fixture
def dana(db: None) -> User:
    return User.objects.create_user("dana")


def test_a_workspace(db: None) -> None:
    assert find_rows(lambda: write_workspace("acme", "Acme")) == find_rows(
        lambda: create_workspace("acme", "Acme", actor=SYSTEM)
    )


@pytest.mark.parametrize("role", Role)
def test_a_member(acme: Workspace, dana: User, role: Role) -> None:
    assert find_rows(lambda: write_member(acme, dana, role)) == find_rows(
        lambda: add_member(acme, dana, role, actor=SYSTEM)
    )


@pytest.mark.parametrize("scopes", [[Scope.REGISTRY], [Scope.REGISTRY, Scope.AUDIT]], ids=str)
def test_an_access_token(acme: Workspace, scopes: list[Scope]) -> None:
    assert find_rows(lambda: write_access_token(acme, "ci", scopes)) == find_rows(
        lambda: create_access_token(acme, "ci", scopes, actor=SYSTEM)
    )


@pytest.mark.parametrize("registry", ["", "http://registry.internal:5000"])
@pytest.mark.parametrize("draft", DRAFTS, ids=range(len(DRAFTS)))
def test_first_settings(acme: Workspace, settings: Any, draft: Draft, registry: str) -> None:
    settings.REGISTRY_URL = registry

    def save() -> None:
        save_container_settings(
            acme, draft, expected_version=0, may_suspend_locks=True, actor=SYSTEM
        )

    assert find_rows(lambda: write_first_settings(acme, draft)) == find_rows(save)


def find_rows(write: Callable[[], object]) -> dict[str, Rows]:
    """Return what a call leaves in all tables, without what is never the same; undo it."""
    with transaction.atomic():
        write()
        rows = {model.__name__: _read(model) for model in apps.get_models()}
        transaction.set_rollback(True)
    return rows


def _read(model: Any) -> Rows:
    rows: Rows = list(model.objects.order_by("pk").values())
    return [
        {name: _leave_out(value) for name, value in row.items() if name not in NEVER_THE_SAME}
        for row in rows
    ]


def _leave_out(value: Any) -> Any:
    """Leave out which time it is, and the number of a token in the details of an event."""
    if isinstance(value, datetime):
        return datetime
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if key != "token_id"}
    return value
