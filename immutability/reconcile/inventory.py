"""Placeholder until the inventory is merged."""

from containers.reference import Digest, Repository
from containers.registry.client import RegistryClient
from workspaces.models import Workspace


def require_listed(workspace: Workspace, repository: Repository, registry: RegistryClient) -> None:
    """Do nothing yet."""


def find_unread_digests(workspace: Workspace, repository: Repository) -> set[Digest]:
    """Return nothing yet."""
    return set()
