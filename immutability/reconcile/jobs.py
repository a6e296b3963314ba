"""Placeholder until the inventory is merged."""

from immutability.models import Job
from workspaces.models import Workspace


def ask_for_inventory(workspace: Workspace) -> None:
    """Do nothing yet."""


def call_off_inventory(workspace: Workspace) -> None:
    """Do nothing yet."""


def find_inventory(workspace: Workspace) -> Job | None:
    """Return how far the reading of what the registry has is; None where it was never begun."""
    return Job.objects.filter(workspace=workspace, kind=Job.Kind.INVENTORY).first()
