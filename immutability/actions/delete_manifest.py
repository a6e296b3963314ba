"""Carry a delete to the registry, where no lock forbids it and nothing locked would be hollowed."""

from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Now

from containers.connection import release_database
from containers.inventory import find_ancestors, find_unknown, forget_manifest
from containers.known_tags import forget_digest, forget_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from immutability.actions.adopt import adopt_in_registry, adopt_known
from immutability.actions.attempts import (
    ATTEMPT_LEASE,
    find_under_way,
    leave_open,
    mark_sent,
    record_seen,
)
from immutability.actions.claims import abandon_claim
from immutability.actions.read import (
    UndecidedError,
    decide_until_settled,
    read_locks,
    read_policy,
)
from immutability.actions.refuse import (
    record_hollowing,
    record_refused_delete,
    relay_hollowing,
    relay_pending_claim,
    relay_refused_delete,
)
from immutability.answers import Refusal
from immutability.models import Attempt, AttemptTag, LockedTag
from immutability.protection import (
    DeleteOutcome,
    LockState,
    Policy,
    Protection,
    cover,
    decide_delete,
)
from workspaces.access import Actor
from workspaces.log.append import append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


@dataclass(frozen=True)
class ManifestDelete:
    """A delete on its way in: of a tag, or of a manifest and with it every tag on it."""

    workspace: Workspace
    repository: Repository
    target: Tag | Digest


def delete_manifest(
    delete: ManifestDelete, registry: RegistryClient, *, actor: Actor
) -> RegistryAnswer | Refusal:
    """Decide a delete and carry it out; return the registry's answer, or the refusal.

    A tag that a lock in force holds is not deleted this way: an admin deletes it on the page.
    Raises UndecidedError, PatternError or PatternEvaluationError where nothing could be decided.
    """
    return decide_until_settled(lambda: _delete_once(delete, registry, actor))


def _delete_once(
    delete: ManifestDelete, registry: RegistryClient, actor: Actor
) -> RegistryAnswer | Refusal:
    policy = read_policy(delete.workspace)
    if policy.protection is not Protection.NONE:
        adopt_known(delete.workspace, delete.repository, policy, delete.target, actor=actor)
        adopt_in_registry(
            delete.workspace, delete.repository, policy, delete.target, registry, actor=actor
        )
    refusal = _find_refusal(delete, policy, registry, None, actor)
    if refusal is not None:
        return refusal
    attempt = _announce(delete, policy, actor)
    try:
        # Committed first, looked at second: of a delete and a claim that meet, one sees the other.
        refusal = _find_refusal(delete, policy, registry, attempt, actor)
        if refusal is not None:
            abandon_claim(attempt)
            return refusal
        mark_sent(attempt)
    except Exception:
        abandon_claim(attempt)
        raise
    return send_delete(attempt, delete.target, registry, actor)


def send_delete(
    attempt: Attempt, target: Tag | Digest, registry: RegistryClient, actor: Actor
) -> RegistryAnswer:
    """Send a delete that is marked as sent, settle it by the answer, and return the answer.

    Raises UndecidedError where the registry gave no definite answer: the attempt stays open.
    """
    repository = Repository(attempt.repository)
    release_database()
    try:
        answer = registry.delete_manifest(repository, target)
    except RegistryUnavailableError as error:
        leave_open(attempt)
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if answer.is_success or answer.is_absent:
        _succeed(attempt, target, actor)
    elif answer.is_refusal:
        abandon_claim(attempt)
    else:
        leave_open(attempt)
        raise UndecidedError(f"the registry answered {answer.status}")
    return answer


def _find_refusal(
    delete: ManifestDelete,
    policy: Policy,
    registry: RegistryClient,
    mine: Attempt | None,
    actor: Actor,
) -> Refusal | None:
    """Return what stands in the way, recorded, or None. `mine` is this delete's own attempt."""
    rows = _read_rows(delete)
    for tag, row in sorted(rows.items()):
        outcome = decide_delete(policy, tag, row.to_lock(), is_admin=False)
        facts = row.to_facts(delete.workspace.slug)
        if outcome is DeleteOutcome.CLAIM_PENDING:
            return relay_pending_claim(facts)
        if outcome is DeleteOutcome.LOCKED:
            with transaction.atomic():
                ref = record_refused_delete(row, delete.workspace, actor=actor)
            return relay_refused_delete(facts, ref)
    if isinstance(delete.target, Digest):
        return _find_hollowing(delete, delete.target, policy, registry, actor)
    others = find_under_way(delete.workspace, delete.repository, [delete.target])
    if others.exclude(attempt=mine).exists():
        raise UndecidedError("a push of the same tag is under way")
    return None


def _find_hollowing(
    delete: ManifestDelete,
    digest: Digest,
    policy: Policy,
    registry: RegistryClient,
    actor: Actor,
) -> Refusal | None:
    """Refuse the delete of what a locked index lists, to any depth.

    Raises UndecidedError where it is not known what some locked image of the repository lists.
    """
    held = {
        Digest(row.digest): row
        for row in LockedTag.objects.filter(
            workspace=delete.workspace, repository=delete.repository.name
        ).exclude(state=LockState.RESERVED)
        if cover(policy, Tag(row.tag)).is_covered
    }
    learn_lists(delete.workspace, delete.repository, set(held), registry)
    for ancestor in sorted(find_ancestors(delete.workspace, delete.repository, digest)):
        row = held.get(ancestor)
        if row is not None:
            with transaction.atomic():
                ref = record_hollowing(row, digest, delete.workspace, actor=actor)
            return relay_hollowing(row.to_facts(delete.workspace.slug), digest, ref)
    return None


def learn_lists(
    workspace: Workspace, repository: Repository, digests: set[Digest], registry: RegistryClient
) -> None:
    """Fetch the manifests whose lists are not known. Raises UndecidedError where one stays so."""
    unknown = find_unknown(workspace, repository, digests)
    while unknown:
        for digest in sorted(unknown):
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


def _read_rows(delete: ManifestDelete) -> dict[Tag, LockedTag]:
    if isinstance(delete.target, Tag):
        return read_locks(delete.workspace, delete.repository, [delete.target])
    rows = LockedTag.objects.filter(
        workspace=delete.workspace,
        repository=delete.repository.name,
        digest=delete.target.value,
    )
    return {Tag(row.tag): row for row in rows}


def _announce(delete: ManifestDelete, policy: Policy, actor: Actor) -> Attempt:
    with transaction.atomic():
        attempt = Attempt.objects.create(
            workspace=delete.workspace,
            kind=Attempt.Kind.DELETE,
            repository=delete.repository.name,
            digest=delete.target.value if isinstance(delete.target, Digest) else "",
            is_by_digest=isinstance(delete.target, Digest),
            settings_version=policy.version,
            actor=actor.name,
            actor_kind=actor.kind,
            expires_at=Now() + ATTEMPT_LEASE,
        )
        if isinstance(delete.target, Tag):
            AttemptTag.objects.create(
                workspace=delete.workspace,
                attempt=attempt,
                repository=delete.repository.name,
                tag=delete.target.name,
                is_covered=False,
            )
    return attempt


@transaction.atomic
def _succeed(attempt: Attempt, target: Tag | Digest, actor: Actor) -> None:
    """Forget what is gone, and end the suspended locks that went with it."""
    Attempt.objects.filter(id=attempt.id).update(outcome=Attempt.Outcome.SUCCEEDED, ended_at=Now())
    repository = Repository(attempt.repository)
    place = {"workspace": attempt.workspace, "repository": repository.name}
    if isinstance(target, Digest):
        forget_digest(attempt.workspace, repository, target)
        forget_manifest(attempt.workspace, repository, target)
        rows = LockedTag.objects.filter(**place, digest=target.value)
    else:
        forget_tags(attempt.workspace, repository, [target])
        rows = LockedTag.objects.filter(**place, tag=target.name)
    policy = read_policy(attempt.workspace)
    for row in rows.filter(state__in=[LockState.LOCKED, LockState.RELEASED]):
        if cover(policy, Tag(row.tag)).is_covered:
            continue  # A lock in force outlives whatever happens to its tag.
        reason = "the tag was deleted while it was not protected"
        _record(EventKind.LOCK_ENDED, attempt, row, reason, actor)
        row.delete()
    # What an admin deletes stays reserved.
    for row in rows.filter(state=LockState.DELETING, tag__in=attempt.tags.values("tag")):
        row.state, row.replaced_state = LockState.RESERVED, ""
        row.save(update_fields=["state", "replaced_state"])
        _record(EventKind.TAG_DELETED, attempt, row, attempt.reason, actor)


def _record(kind: EventKind, attempt: Attempt, row: LockedTag, reason: str, actor: Actor) -> None:
    append_event(
        row.to_event(kind, attempt.workspace.slug, reason=reason),
        actor=actor,
    )
