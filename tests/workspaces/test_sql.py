"""The statements that find a caller give what the ORM gives, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.utils import timezone

from tests.conftest import make_member
from workspaces import sql
from workspaces.access import Role
from workspaces.models import AccessToken, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def values_of(row: models.Model | None) -> dict[str, Any]:
    """Return every column's value."""
    assert row is not None
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_an_active_member_is_found_with_workspace_and_role(
    acme: Workspace, globex: Workspace
) -> None:
    person = make_member(acme, "zoe", Role.AUDITOR)
    found = sql.find_membership(person.pk, sql.has_slug("acme"))
    assert found is not None
    workspace, role, username = found
    assert values_of(workspace) == values_of(Workspace.objects.get(slug="acme"))
    assert (role, username) == ("auditor", "zoe")
    assert sql.find_membership(person.pk, sql.has_slug("globex")) is None
    assert sql.find_membership(AnonymousUser().pk or 0, sql.has_slug("acme")) is None
    person.is_active = False
    person.save()
    assert sql.find_membership(person.pk, sql.has_slug("acme")) is None


@pytest.mark.parametrize("is_of_all", [False, True])
def test_a_valid_token_is_found_by_id_and_by_hash(acme: Workspace, *, is_of_all: bool) -> None:
    token = AccessToken.objects.create(
        workspace=None if is_of_all else acme,
        name="ci",
        token_hash="a" * 64,
        scopes=["push"],
        expires_at=timezone.now() + timedelta(hours=1),
        last_used_at=timezone.now(),
    )
    found = sql.find_token_by_id(token.pk), sql.find_token_by_hash("a" * 64)
    for each in found:
        assert values_of(each) == values_of(AccessToken.objects.get())
        assert each is not None
        assert each.workspace == (None if is_of_all else acme)
    assert sql.find_token_by_hash("b" * 64) is None


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_a_token_is_worth_nothing_from_that_moment_on(acme: Workspace, column: str) -> None:
    at = timezone.now() - timedelta(seconds=1)
    token = AccessToken.objects.create(
        workspace=acme, name="ci", token_hash="a" * 64, scopes=[], **{column: at}
    )
    assert sql.find_token_by_id(token.pk) is None
    assert sql.find_token_by_hash("a" * 64) is None
