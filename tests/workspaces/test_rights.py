"""What a caller needs, read beside what is decided: it agrees with what the ORM knows."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from workspaces.access import REPOSITORY_PERMISSIONS, SYSTEM, Permission, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import AccessToken, Membership, User, Workspace
from workspaces.rights import NeededRights
from workspaces.sql import has_slug

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

PUSH = frozenset({Permission.PULL, Permission.PUSH})
MANAGE = PUSH | {Permission.MANAGE_LOCKED_TAGS}


def of_person(user: User, workspace: Workspace, permissions: frozenset[Permission] = PUSH) -> bool:
    return needed(permissions, workspace, person_id=user.pk).are_there()


def of_token(
    token: AccessToken, workspace: Workspace, permissions: frozenset[Permission] = PUSH
) -> bool:
    return needed(permissions, workspace, token_id=token.pk).are_there()


def needed(permissions: frozenset[Permission], workspace: Workspace, **caller: int) -> NeededRights:
    owner = has_slug(workspace.slug)
    return NeededRights(permissions, workspace, f"{workspace.slug}/api", owner, **caller)


def make_token(workspace: Workspace | None, *scopes: Scope, **options: Any) -> AccessToken:
    create_access_token(workspace, "ci", list(scopes), actor=SYSTEM, **options)
    return AccessToken.objects.get(name="ci")


def test_a_person_has_what_the_role_gives(
    acme: Workspace, alice: User, bob: User, olga: User
) -> None:
    assert [of_person(user, acme) for user in (alice, bob, olga)] == [True, True, False]
    assert [of_person(user, acme, MANAGE) for user in (alice, bob)] == [True, False]


def test_a_person_has_nothing_elsewhere(globex: Workspace, alice: User) -> None:
    assert not of_person(alice, globex, frozenset())


def test_a_role_that_is_taken_away_is_gone_at_once(acme: Workspace, bob: User) -> None:
    Membership.objects.filter(user=bob).update(role="auditor")
    assert not of_person(bob, acme)
    Membership.objects.filter(user=bob).delete()
    assert not of_person(bob, acme, frozenset())


def test_a_person_who_was_deactivated_has_nothing(acme: Workspace, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert not of_person(bob, acme, frozenset())


def test_a_token_has_what_its_scopes_give(acme: Workspace, globex: Workspace) -> None:
    token = make_token(acme, Scope.PUSH)
    assert of_token(token, acme)
    assert not of_token(token, acme, MANAGE)
    assert not of_token(token, globex, frozenset())


def test_a_token_of_every_workspace(acme: Workspace) -> None:
    token = make_token(None, Scope.REGISTRY)
    assert of_token(token, acme, frozenset({Permission.CHECK}))
    assert not of_token(token, acme)


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_a_token_that_is_over_has_nothing(acme: Workspace, column: str) -> None:
    token = make_token(acme, Scope.PUSH)
    AccessToken.objects.update(**{column: timezone.now() + timedelta(minutes=5)})
    assert of_token(token, acme, frozenset()) is (column == "expires_at")
    AccessToken.objects.update(**{column: timezone.now() - timedelta(seconds=5)})
    assert not of_token(token, acme, frozenset())


def test_a_token_is_limited_to_its_repositories(acme: Workspace) -> None:
    token = make_token(acme, Scope.PUSH, repositories=["web-*"])
    assert not of_token(token, acme)
    AccessToken.objects.update(repositories=["a*"])
    assert of_token(token, acme)
    assert not of_token(token, acme, frozenset(Permission) - REPOSITORY_PERMISSIONS)


def test_a_repository_that_belongs_to_another_workspace_now(
    acme: Workspace, globex: Workspace, alice: User
) -> None:
    token, pull = make_token(acme, Scope.PUSH), frozenset({Permission.PULL})
    callers: list[dict[str, int]] = [{"person_id": alice.pk}, {"token_id": token.pk}]
    for caller in callers:
        for owner, is_allowed in ((acme, True), (globex, False)):
            rights = NeededRights(pull, acme, "team/api", has_slug(owner.slug), **caller)
            assert rights.are_there() is is_allowed
