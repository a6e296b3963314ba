"""Make workspaces."""

from django.db import transaction

from workspaces.access import Actor
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


@transaction.atomic
def create_workspace(slug: str, name: str, *, actor: Actor) -> Workspace:
    """Create a workspace. Raises ValidationError if the slug or name is not valid."""
    workspace = Workspace(slug=slug, name=name)
    workspace.full_clean(exclude=["created_at"])
    workspace.save()
    append_event(Event(EventKind.WORKSPACE_CREATED, slug, details={"name": name}), actor=actor)
    return workspace
