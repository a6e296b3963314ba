"""Writes to repositories that belong to no workspace, where the operator lets them pass.

The registry decides by the caller's own credentials. Nothing is recorded, and nothing is locked.
"""

from django.conf import settings

from containers.connection import release_database
from containers.names import Digest, RepositoryName, TagName
from containers.owners import find_owner
from containers.registry.account import Unassigned
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from immutability.errors import TryAgainError
from immutability.gate.route import ManifestRoute


def may_pass(repository: RepositoryName) -> bool:
    """Whether a write goes to the registry as it is."""
    return settings.UNASSIGNED_REPOSITORIES == Unassigned.ALLOW and find_owner(repository) is None


def pass_push(
    route: ManifestRoute,
    body: bytes,
    media_type: str,
    tags: tuple[TagName, ...],
    as_caller: RegistryClient,
) -> RegistryAnswer:
    """Push a manifest as it came. Raises TryAgainError."""
    more_tags = tags if isinstance(route.reference, Digest) else ()
    release_database()
    try:
        return as_caller.put_manifest(
            route.repository, route.reference, body, media_type, more_tags
        )
    except RegistryUnavailableError as error:
        raise TryAgainError(f"the registry gave no answer ({error})") from error


def pass_delete(route: ManifestRoute, as_caller: RegistryClient) -> RegistryAnswer:
    """Delete a tag or a manifest as it came. Raises TryAgainError."""
    release_database()
    try:
        return as_caller.delete_manifest(route.repository, route.reference)
    except RegistryUnavailableError as error:
        raise TryAgainError(f"the registry gave no answer ({error})") from error
