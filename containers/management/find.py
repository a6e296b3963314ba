"""Find what a command was asked to work on."""

from django.core.management.base import CommandError

from containers.connection import find_registry
from containers.registry.client import RegistryClient
from workspaces.management.find import find_workspaces
from workspaces.models import Workspace


def find_connected(slugs: list[str]) -> list[tuple[Workspace, RegistryClient]]:
    """Return the named workspaces, or else all, each with its registry.

    Those without one are left out. Raises CommandError if none has one, or there is no such
    workspace.
    """
    workspaces = find_workspaces(slugs)
    found = [(each, find_registry(each)) for each in workspaces]
    connected = [(each, registry) for each, registry in found if registry is not None]
    if found and not connected:
        raise CommandError("No registry is connected: set REGISTRY_URL.")
    return connected
