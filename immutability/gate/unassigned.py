"""Writes to repositories that belong to no workspace, where the operator lets them pass.

The registry decides by the caller's own credentials. Nothing is recorded, and nothing is locked.
"""

from django.conf import settings

from containers.names import Digest, RepositoryName, TagName
from containers.owners import find_owner
from containers.registries import Connection
from containers.registry.account import Unassigned
from containers.registry.client import RegistryAnswer, RegistryClient
from immutability.gate.route import ManifestRoute
from immutability.look import asking_registry


def may_pass(repository: RepositoryName, registry: Connection) -> bool:
    """Whether a write goes to the registry as it is. The setting is for the first one alone."""
    is_allowed = registry.id is None and settings.UNASSIGNED_REPOSITORIES == Unassigned.ALLOW
    return is_allowed and find_owner(repository) is None


def pass_push(
    route: ManifestRoute,
    body: bytes,
    media_type: str,
    tags: tuple[TagName, ...],
    as_caller: RegistryClient,
) -> RegistryAnswer:
    """Push a manifest as it came. Raises TryAgainError."""
    more_tags = tags if isinstance(route.reference, Digest) else ()
    with asking_registry():
        return as_caller.put_manifest(
            route.repository, route.reference, body, media_type, more_tags
        )


def pass_delete(route: ManifestRoute, as_caller: RegistryClient) -> RegistryAnswer:
    """Delete a tag or a manifest as it came. Raises TryAgainError."""
    with asking_registry():
        return as_caller.delete_manifest(route.repository, route.reference)
