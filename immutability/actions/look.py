"""Look what the registry has."""

from containers.connection import release_database
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
        raise UndecidedError(f"the registry answered {answer.status} when asked for the tag")
    if read_known_tags(workspace, repository, [tag]):
        raise UndecidedError(f'the registry says that it has no tag "{tag}", but it was seen there')
    return None


def ask(repository: Repository, target: Tag | Digest, registry: RegistryClient) -> RegistryAnswer:
    """Ask what the registry has there, by HEAD: a success, or any 404.

    Raises UndecidedError where it does not say.
    """
    release_database()
    try:
        answer = registry.head_manifest(repository, target)
    except RegistryUnavailableError as error:
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if answer.is_success or answer.status == 404:
        return answer
    raise UndecidedError(f"the registry answered {answer.status}")
