"""Give prefixes of repositories to workspaces, and read what is under them."""

from django.db import transaction

from containers.connection import find_registry
from containers.names import RepositoryName
from containers.owners import find_owner
from containers.prefixes import add_prefix, remove_prefix
from containers.sql import keep_repositories
from immutability.reconcile.jobs import ask_for_inventory
from workspaces.access import Actor
from workspaces.authorization import require_site_admin
from workspaces.models import Workspace


@transaction.atomic
def map_repositories(workspace: Workspace, prefix: str, *, actor: Actor) -> bool:
    """Give new repositories under a prefix to a workspace; return whether that changed anything.

    What the registry has there already is read in the background. Raises ValidationError if it is
    not a prefix, or if it is, or what is under it, another's; and PermissionDenied if the actor is
    no site administrator.
    """
    keep_repositories()
    require_site_admin(actor)
    has_changed = add_prefix(workspace, prefix, actor=actor)
    if has_changed:
        _read_again(workspace)
    return has_changed


@transaction.atomic
def unmap_repositories(prefix: str, *, actor: Actor) -> Workspace | None:
    """Take a prefix from its workspace, which is returned; None if there is no such prefix.

    The repositories under it that are known stay in the workspace. Raises PermissionDenied if the
    actor is no site administrator.
    """
    keep_repositories()
    require_site_admin(actor)
    workspace = remove_prefix(prefix, actor=actor)
    if workspace is not None:
        heir = find_owner(RepositoryName(prefix))
        _read_again(*{workspace, heir or workspace})
    return workspace


def _read_again(*workspaces: Workspace) -> None:
    """Read what these workspaces have in their registries, if there are any."""
    for workspace in workspaces:
        if find_registry(workspace) is not None:
            ask_for_inventory(workspace)
