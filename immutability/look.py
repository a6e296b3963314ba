"""Look what the registry has. No look happens in a transaction."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import transaction

from containers.inventory import find_unknown, record_manifest
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import (
    Descriptor,
    FetchedManifest,
    RegistryClient,
    RegistryUnavailableError,
)
from containers.registry.manifest import UnreadableManifestError, read_manifest
from immutability.errors import TryAgainError
from immutability.policy.decisions import Look
from workspaces.current_request import current_request
from workspaces.models import Workspace
from workspaces.pool import release_database

# More lists than this are not read within one request.
MAX_LISTS_READ = 200


@dataclass(frozen=True)
class TakenLook:
    """A look at the registry, and the revision that the tag's record had before it."""

    look: Look
    revision: int


def look_at_tag(repository: RepositoryName, tag: TagName, registry: RegistryClient) -> Look:
    """Return what the registry has under a tag. Raises TryAgainError if it does not say."""
    found = head_manifest(repository, tag, registry)
    return Look(found.digest if found else None)


def head_manifest(
    repository: RepositoryName, reference: TagName | Digest, registry: RegistryClient
) -> Descriptor | None:
    """Return what the registry has under a tag or digest; None if it says that it has nothing.

    Raises TryAgainError if it does not say.
    """
    with asking_registry():
        return registry.head_manifest(repository, reference)


def fetch_manifest(
    repository: RepositoryName, digest: Digest, registry: RegistryClient
) -> FetchedManifest | None:
    """Fetch a manifest by its digest; None if the registry says that it has none.

    Raises TryAgainError if it does not say.
    """
    with asking_registry():
        return registry.fetch_manifest(repository, digest)


def learn_lists(
    workspace: Workspace,
    repository: RepositoryName,
    digests: Collection[Digest],
    registry: RegistryClient,
) -> set[Digest]:
    """Fetch the manifests whose lists are not known, to any depth; return those it cannot read.

    What the registry does not have lists nothing. Raises TryAgainError if the registry does not
    say, or if there are too many.
    """
    absent: set[Digest] = set()
    unreadable: set[Digest] = set()
    read = 0
    while unknown := find_unknown(workspace, repository, digests) - absent - unreadable:
        for digest in sorted(unknown):
            read += 1
            if read > MAX_LISTS_READ:
                raise TryAgainError("Taglock is still reading what the images of this list")
            manifest = fetch_manifest(repository, digest, registry)
            if manifest is None:
                absent.add(digest)
            elif not learn(workspace, repository, manifest):
                unreadable.add(digest)
    return unreadable


def learn(workspace: Workspace, repository: RepositoryName, manifest: FetchedManifest) -> bool:
    """Keep what a fetched manifest lists; return whether it could be read."""
    descriptor = manifest.descriptor
    try:
        facts = read_manifest(manifest.body, descriptor.media_type)
    except UnreadableManifestError:
        return False
    with transaction.atomic():
        record_manifest(workspace, repository, descriptor.digest, facts)
    return True


@contextmanager
def asking_registry() -> Iterator[None]:
    """Ask the registry in this context, without the database; no answer becomes a TryAgainError.

    Its message is for everyone; what operators alone may know is noted of the request.
    """
    release_database()
    try:
        yield
    except RegistryUnavailableError as error:
        current_request().detail = str(error)
        raise TryAgainError(error.cause) from error
