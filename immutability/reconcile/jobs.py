"""Placeholder until the inventory is merged."""

from workspaces.models import Workspace


def ask_for_inventory(workspace: Workspace) -> None:
    """Do nothing yet."""
