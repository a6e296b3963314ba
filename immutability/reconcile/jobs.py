"""Placeholder until the inventory is merged."""

from workspaces.models import Workspace


def ask_for_inventory(workspace: Workspace) -> None:
    """Do nothing yet."""


def call_off_inventory(workspace: Workspace) -> None:
    """Do nothing yet."""
