"""Writes on their way to the registry: announced before they are sent, settled by its answer.

While the end of an attempt is unknown, nothing frees, adopts or claims its tag. An unknown end is
settled by repeating the same write until the registry answers definitely: a write that timed out
can land long after, so neither time nor an absent tag proves anything.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from containers.connection import release_database
from containers.inventory import record_manifest, record_pushes
from containers.reference import Digest, Repository, Tag
from containers.registry.client import (
    UPSTREAM_DEADLINE_SECONDS,
    RegistryAnswer,
    RegistryClient,
    RegistryUnavailableError,
)
from containers.registry.manifest import UnreadableManifestError, read_manifest
from immutability.actions.claims import abandon_claim, add_attempt_tags, confirm_claim
from immutability.actions.read import MovedError, UndecidedError
from immutability.models import Attempt, AttemptTag, ContainerSettings
from immutability.protection import PolicyRule
from workspaces.access import Actor, ActorKind, Origin
from workspaces.models import Workspace

# Longer than a sender can be at work on an attempt; after it, anybody may send it again.
ATTEMPT_LEASE = timedelta(seconds=2 * UPSTREAM_DEADLINE_SECONDS)
# Longer than a write can linger between gate and registry. An unprotected push is not repeated,
# since a newer one may have followed it; so long it holds up claims of its tag.
QUARANTINE = timedelta(minutes=15)


def mark_sent(attempt: Attempt) -> None:
    """Commit that the write is about to leave, if the settings are still those it was decided by.

    Raises MovedError where they are not: then nothing may be sent.
    """
    settings = ContainerSettings.objects.filter(workspace=OuterRef("workspace"))
    unmoved = Q(Exists(settings.filter(version=attempt.settings_version)))
    if not attempt.settings_version:
        unmoved = ~Q(Exists(settings))
    is_marked = Attempt.objects.filter(unmoved, id=attempt.id, outcome=Attempt.Outcome.OPEN).update(
        is_sent=True, expires_at=Now() + ATTEMPT_LEASE
    )
    if not is_marked:
        raise MovedError


def settle_as_landed(attempt: Attempt, landed: frozenset[Tag]) -> None:
    """Settle an unprotected push of which these tags are seen to have landed."""
    _succeed(attempt, landed, Origin())


def find_under_way(
    workspace: Workspace, repository: Repository, tags: Collection[Tag]
) -> QuerySet[AttemptTag]:
    """Return the gate's open attempts on these tags."""
    return AttemptTag.objects.filter(
        workspace=workspace,
        repository=repository.name,
        tag__in=[tag.name for tag in tags],
        attempt__outcome=Attempt.Outcome.OPEN,
    ).exclude(attempt__kind=Attempt.Kind.ANNOUNCED)


def find_deletes(
    workspace: Workspace, repository: Repository, digests: Collection[Digest]
) -> QuerySet[Attempt]:
    """Return the open deletes of these manifests."""
    return Attempt.objects.filter(
        workspace=workspace,
        repository=repository.name,
        kind=Attempt.Kind.DELETE,
        outcome=Attempt.Outcome.OPEN,
        digest__in=[digest.value for digest in digests],
    )


def leave_open(attempt: Attempt) -> None:
    """Say that nobody is at work on the attempt any more, so that anybody may send it again."""
    Attempt.objects.filter(id=attempt.id).update(expires_at=Now())


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
    raise UndecidedError(f"the registry answered {answer.status}")


def _put(attempt: Attempt, tags: tuple[Tag, ...], registry: RegistryClient) -> RegistryAnswer:
    digest = Digest(attempt.digest)
    by_digest = _is_by_digest(attempt, tags)
    release_database()
    try:
        return registry.put_manifest(
            Repository(attempt.repository),
            digest if by_digest else tags[0],
            bytes(attempt.manifest),
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
    confirm_claim(attempt, actor=actor, written=written)
    repository = Repository(attempt.repository)
    digest = Digest(attempt.digest)
    record_seen(attempt.workspace, repository, digest, bytes(attempt.manifest), attempt.media_type)
    record_pushes(attempt.workspace, repository, written, digest, attempt.actor)


def record_seen(
    workspace: Workspace, repository: Repository, digest: Digest, body: bytes, media_type: str
) -> None:
    """Keep what a manifest lists. One that cannot be read stays unknown, which deletes heed."""
    try:
        facts = read_manifest(body, media_type)
    except UnreadableManifestError:
        return
    record_manifest(workspace, repository, digest, facts)


def open_push(
    workspace: Workspace,
    repository: Repository,
    rules: Mapping[Tag, PolicyRule | None],
    digest: Digest,
    body: bytes,
    media_type: str,
    settings_version: int,
    *,
    covered: Collection[Tag],
    is_by_digest: bool,
    actor: Actor,
) -> Attempt:
    """Announce a push of `digest` under these tags, within the transaction that claims them.

    `rules` has the tags, each with its rule; `covered` are those that the settings cover.
    """
    attempt = Attempt.objects.create(
        workspace=workspace,
        kind=Attempt.Kind.PUSH,
        repository=repository.name,
        digest=digest.value,
        is_by_digest=is_by_digest,
        manifest=body,
        media_type=media_type,
        settings_version=settings_version,
        actor=actor.name,
        actor_kind=actor.kind,
        expires_at=Now() + ATTEMPT_LEASE,
    )
    add_attempt_tags(attempt, rules, covered=covered)
    return attempt


def blocks(mine: Attempt | None, covered: dict[Tag, bool], digest: Digest) -> Q:
    """Return the condition on an open attempt's tag that keeps a push of `digest` waiting.

    A claim waits for unprotected writes, and for other images; an unprotected push waits for claims
    of other images.
    """
    claims = [tag.name for tag, is_covered in covered.items() if is_covered]
    others = [tag.name for tag, is_covered in covered.items() if not is_covered]
    other_image = ~Q(attempt__digest=digest.value)
    condition = Q(tag__in=claims) & (Q(is_covered=False) | other_image)
    condition |= Q(tag__in=others, is_covered=True) & other_image
    condition |= Q(attempt__kind=Attempt.Kind.DELETE)
    return condition & ~Q(attempt=mine) if mine else condition
