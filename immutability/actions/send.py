"""Send a write that is announced and marked, and settle it by the registry's answer."""

from django.db import transaction

from containers.connection import release_database
from containers.inventory import forget_manifest, record_pushes, record_seen
from containers.known_tags import forget_digest, forget_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from immutability.actions.attempts import leave_open, require_in_time
from immutability.actions.claims import abandon_claim, confirm_claim, confirm_delete
from immutability.actions.read import UndecidedError
from immutability.models import Attempt
from workspaces.access import Actor, ActorKind, Origin


def send_push(
    attempt: Attempt, tags: tuple[Tag, ...], registry: RegistryClient, origin: Origin
) -> RegistryAnswer:
    """Send a push that is marked as sent, settle it by the answer, and return the answer.

    `tags` are those of the attempt to be written. Raises UndecidedError where the registry gave no
    definite answer: the attempt stays open.
    """
    answer = _put(attempt, tags, registry)
    if answer.is_success and answer.digest == attempt.digest:
        written = _read_written(answer) if _is_by_digest(attempt, tags) else frozenset(tags)
        _succeed(attempt, written & frozenset(tags), origin)
        return answer
    if answer.is_refusal:
        abandon_claim(attempt)
        return answer
    leave_open(attempt)
    raise UndecidedError(answer.reason)


def _put(attempt: Attempt, tags: tuple[Tag, ...], registry: RegistryClient) -> RegistryAnswer:
    digest = Digest(attempt.digest)
    by_digest = _is_by_digest(attempt, tags)
    # Read first: what is not loaded yet needs the database.
    body = bytes(attempt.manifest)
    release_database()
    require_in_time(attempt)
    try:
        return registry.put_manifest(
            Repository(attempt.repository),
            digest if by_digest else tags[0],
            body,
            attempt.media_type,
            tags if by_digest else (),
        )
    except RegistryUnavailableError as error:
        leave_open(attempt)
        raise UndecidedError(f"the registry gave no answer ({error})") from error


def _is_by_digest(attempt: Attempt, tags: tuple[Tag, ...]) -> bool:
    return attempt.is_by_digest or len(tags) != 1


def _read_written(answer: RegistryAnswer) -> frozenset[Tag]:
    """Return the tags that the registry says it wrote (OCI-Tag, once a tag or in one line)."""
    names = (name.strip() for name in answer.headers.get("OCI-Tag", "").split(","))
    return frozenset(Tag(name) for name in names if name)


@transaction.atomic
def _succeed(attempt: Attempt, written: frozenset[Tag], origin: Origin) -> None:
    actor = Actor(attempt.actor, ActorKind(attempt.actor_kind), origin)
    # Read first: an attempt that has ended keeps no bytes.
    body = bytes(attempt.manifest)
    confirm_claim(attempt, actor=actor, written=written)
    repository = Repository(attempt.repository)
    digest = Digest(attempt.digest)
    record_seen(attempt.workspace, repository, digest, body, attempt.media_type)
    record_pushes(attempt.workspace, repository, written, digest, actor.shown_name)


def settle_as_landed(attempt: Attempt, landed: frozenset[Tag]) -> None:
    """Settle an unprotected push of which these tags are seen to have landed."""
    _succeed(attempt, landed, Origin())


def send_delete(
    attempt: Attempt, target: Tag | Digest, registry: RegistryClient, actor: Actor
) -> RegistryAnswer:
    """Send a delete that is marked as sent, settle it by the answer, and return the answer.

    Raises UndecidedError where the registry gave no definite answer: the attempt stays open.
    """
    answer = ask_delete(attempt, target, registry)
    settle_delete(attempt, target, answer, actor)
    return answer


def ask_delete(attempt: Attempt, target: Tag | Digest, registry: RegistryClient) -> RegistryAnswer:
    """Send a delete that is marked as sent, and return the definite answer.

    Raises UndecidedError where there was none: the attempt stays open.
    """
    release_database()
    require_in_time(attempt)
    try:
        answer = registry.delete_manifest(Repository(attempt.repository), target)
    except RegistryUnavailableError as error:
        leave_open(attempt)
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if not (answer.is_success or answer.is_refusal):
        leave_open(attempt)
        raise UndecidedError(answer.reason)
    return answer


def settle_delete(
    attempt: Attempt, target: Tag | Digest, answer: RegistryAnswer, actor: Actor
) -> None:
    """Settle a delete by its definite answer: what is gone is forgotten, or all is as it was."""
    if answer.is_success or answer.is_absent:
        settle_as_deleted(attempt, target, actor)
    else:
        abandon_claim(attempt)


@transaction.atomic
def settle_as_deleted(attempt: Attempt, target: Tag | Digest, actor: Actor) -> None:
    """Forget what is gone; reserve the name that an admin deleted, end suspended locks."""
    confirm_delete(attempt, actor=actor)
    repository = Repository(attempt.repository)
    if isinstance(target, Digest):
        forget_digest(attempt.workspace, repository, target)
        forget_manifest(attempt.workspace, repository, target)
    else:
        forget_tags(attempt.workspace, repository, [target])
