"""Look what the registry has. No look happens in a transaction."""

from collections.abc import Callable, Collection

from django.db import transaction

from containers.connection import release_database
from containers.inventory import find_unknown, record_manifest
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from containers.registry.manifest import UnreadableManifestError, read_manifest
from immutability.errors import TryAgainError
from immutability.policy.decisions import Look
from workspaces.models import Workspace

# More lists than this are not read within one request.
MAX_LISTS_READ = 200


def look_at_tag(repository: Repository, tag: Tag, registry: RegistryClient) -> Look:
    """Return what the registry has under a tag. Raises TryAgainError where it does not say."""
    answer = head_manifest(repository, tag, registry)
    return Look(Digest(answer.digest) if answer.is_success else None)


def head_manifest(
    repository: Repository, reference: Tag | Digest, registry: RegistryClient
) -> RegistryAnswer:
    """Ask for a manifest: a success with its digest, or a 404 that is the registry's own word.

    Raises TryAgainError where it does not say.
    """
    answer = _ask(lambda: registry.head_manifest(repository, reference))
    if answer.status == 404 and "Docker-Distribution-Api-Version" not in answer.headers:
        # An answer to HEAD has no body: ask once more, so that it can say that it is a registry.
        answer = _ask(lambda: registry.get_manifest(repository, reference))
        if answer.status == 404 and not answer.is_absent:
            raise TryAgainError("the registry answered 404 and did not say what is missing")
    if answer.status == 404 or (answer.is_success and answer.digest):
        return answer
    raise TryAgainError(f"the registry answered {answer.status} when asked for {reference}")


def fetch_manifest(
    repository: Repository, digest: Digest, registry: RegistryClient
) -> RegistryAnswer | None:
    """Fetch a manifest by its digest; None where the registry says that it has none.

    Raises TryAgainError where it does not say.
    """
    answer = _ask(lambda: registry.get_manifest(repository, digest))
    if answer.is_success:
        return answer
    if answer.is_absent:
        return None
    raise TryAgainError(f"the registry answered {answer.status} when asked for {digest.short}")


def learn_lists(
    workspace: Workspace,
    repository: Repository,
    digests: Collection[Digest],
    registry: RegistryClient,
) -> set[Digest]:
    """Fetch the manifests whose lists are not known, to any depth; return those that stay unknown.

    Raises TryAgainError where the registry does not say, or where there are too many.
    """
    unread: set[Digest] = set()
    read = 0
    while unknown := find_unknown(workspace, repository, digests) - unread:
        for digest in sorted(unknown):
            read += 1
            if read > MAX_LISTS_READ:
                raise TryAgainError("Taglock is still reading what the images of this list")
            answer = fetch_manifest(repository, digest, registry)
            if answer is None or not learn(workspace, repository, digest, answer):
                unread.add(digest)
    return unread


def learn(
    workspace: Workspace, repository: Repository, digest: Digest, answer: RegistryAnswer
) -> bool:
    """Keep what a fetched manifest lists; return whether it could be read."""
    try:
        facts = read_manifest(answer.body, answer.headers.get("Content-Type", ""))
    except UnreadableManifestError:
        return False
    with transaction.atomic():
        record_manifest(workspace, repository, digest, facts)
    return True


def _ask(call: Callable[[], RegistryAnswer]) -> RegistryAnswer:
    release_database()
    try:
        return call()
    except RegistryUnavailableError as error:
        raise TryAgainError(f"the registry gave no answer ({error})") from error
