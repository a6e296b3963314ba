"""Say which registry a workspace is at, and read what is there."""

from django.db import transaction

from containers.connection import find_registry
from containers.registry_changes import choose_registry
from immutability.reconcile.jobs import ask_for_inventory
from workspaces.access import Actor
from workspaces.models import Registry, Workspace


@transaction.atomic
def move_workspace(workspace: Workspace, registry: Registry | None, *, actor: Actor) -> bool:
    """Move a workspace that is empty to a registry; return whether that changed anything.

    None is the one of REGISTRY_URL. What the registry has is read in the background. Raises
    ValidationError if the workspace is not empty, and PermissionDenied if the actor is no site
    administrator.
    """
    has_changed = choose_registry(workspace, registry, actor=actor)
    if has_changed and find_registry(workspace) is not None:
        ask_for_inventory(workspace)
    return has_changed
