"""Accounts that the registry keeps, linked to people: an admin's deletes with such a one count."""

from django.db import transaction

from workspaces.access import Actor, Role
from workspaces.actions.passwords import record_of_person
from workspaces.log.kinds import EventKind
from workspaces.models import Membership, Registry, RegistryAccount, User, Workspace


@transaction.atomic
def link_registry_account(
    name: str, user: User, registry: Registry | None = None, *, actor: Actor
) -> None:
    """Link an account of a registry to a person, and take it from the one that it was linked to.

    Recorded in every workspace that they are in. Raises ValidationError for a bad name.
    """
    row = _find(name, registry)
    if row is not None and row.user_id == user.pk:
        return
    if row is not None:
        _unlink(row, actor=actor)
    row = RegistryAccount(name=name, user=user, registry=registry)
    row.full_clean(exclude=["created_at"])
    row.save(force_insert=True)
    record_of_person(user, EventKind.ACCOUNT_LINKED, actor=actor, account=name)


@transaction.atomic
def unlink_registry_account(name: str, registry: Registry | None = None, *, actor: Actor) -> bool:
    """Take a link back; return whether there was one."""
    row = _find(name, registry)
    if row is not None:
        _unlink(row, actor=actor)
    return row is not None


@transaction.atomic
def unlink_accounts_of(registry: Registry, *, actor: Actor) -> None:
    """Take back the links of a registry's accounts, which is about to be removed."""
    rows = RegistryAccount.objects.select_for_update().filter(registry=registry)
    for row in rows.order_by("id"):
        _unlink(row, actor=actor)


def is_admins_account(name: str, workspace: Workspace) -> bool:
    """Whether an account is linked to someone who is an admin of the workspace at this moment.

    It is an account of the workspace's registry.
    """
    return Membership.objects.filter(
        workspace=workspace,
        role=Role.ADMIN,
        user__is_active=True,
        user__registry_accounts__name=name,
        user__registry_accounts__registry=workspace.registry_id,
    ).exists()


def _find(name: str, registry: Registry | None) -> RegistryAccount | None:
    rows = RegistryAccount.objects.select_for_update()
    return rows.filter(name=name, registry=registry).first()


def _unlink(row: RegistryAccount, *, actor: Actor) -> None:
    row.delete()
    record_of_person(row.user, EventKind.ACCOUNT_UNLINKED, actor=actor, account=row.name)
