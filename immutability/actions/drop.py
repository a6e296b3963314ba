"""Placeholder until the checks are merged."""

from workspaces.access import Actor
from workspaces.models import Workspace


def drop_claim(workspace: Workspace, lock_id: int, reason: str, *, actor: Actor) -> None:
    """Do nothing yet."""
    raise NotImplementedError
