"""Look what the registry has."""

from django.db import transaction

from containers.connection import release_database
from containers.inventory import find_unknown, record_seen
from containers.known_tags import read_known_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from immutability.actions.read import UndecidedError
from workspaces.models import Workspace


def look(
    workspace: Workspace, repository: Repository, tag: Tag, registry: RegistryClient
) -> RegistryAnswer | None:
    """Return the manifest that the registry has under `tag`, or None where it has none.

    Raises UndecidedError where it does not say: an outage, an answer without a digest, or "absent"
    for a tag that was seen there, as a registry says that has lost its storage.
    """
    release_database()
    try:
        answer = registry.get_manifest(repository, tag)
    except RegistryUnavailableError as error:
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if answer.is_success and answer.digest:
        return answer
    if not answer.is_absent:
        raise UndecidedError(f"{answer.reason} when asked for the tag")
    if read_known_tags(workspace, repository, [tag]):
        raise UndecidedError(f'the registry says that it has no tag "{tag}", but it was seen there')
    return None


def ask(repository: Repository, target: Tag | Digest, registry: RegistryClient) -> RegistryAnswer:
    """Ask what the registry has there, by HEAD: a success, or any 404.

    Raises UndecidedError where it does not say.
    """
    release_database()
    try:
        answer = registry.ask_manifest(repository, target)
    except RegistryUnavailableError as error:
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if answer.is_success or answer.status == 404:
        return answer
    raise UndecidedError(answer.reason)


def learn_lists(
    workspace: Workspace, repository: Repository, digests: set[Digest], registry: RegistryClient
) -> None:
    """Fetch the manifests whose lists are not known. Raises UndecidedError where one stays so."""
    unknown = find_unknown(workspace, repository, digests)
    while unknown:
        for digest in sorted(unknown):
            release_database()
            try:
                answer = registry.get_manifest(repository, digest)
            except RegistryUnavailableError as error:
                raise UndecidedError(f"the registry gave no answer ({error})") from error
            if answer.is_success:
                media_type = answer.headers.get("Content-Type", "")
                with transaction.atomic():
                    record_seen(workspace, repository, digest, answer.body, media_type)
        still = find_unknown(workspace, repository, digests)
        if still & unknown:
            missing = ", ".join(each.short for each in sorted(still & unknown))
            raise UndecidedError(f"it is not known what {missing} lists")
        unknown = still
