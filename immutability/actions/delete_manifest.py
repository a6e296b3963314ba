"""Carry a delete to the registry, where no lock forbids it and nothing locked would be hollowed."""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from containers.inventory import find_ancestors
from containers.known_tags import find_known_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient
from immutability.actions.adopt import adopt_in_registry
from immutability.actions.attempts import ATTEMPT_LEASE, find_under_way, mark_sent
from immutability.actions.claims import abandon_claim, add_attempt_tags
from immutability.actions.look import learn_lists
from immutability.actions.read import (
    MovedError,
    UnderWayError,
    always_allowed,
    decide_until_settled,
    read_locks,
    read_policy,
)
from immutability.actions.refuse import (
    record_hollowing,
    record_refused_delete,
    relay_hollowing,
    relay_impossible_delete,
    relay_pending_claim,
    relay_refused_delete,
)
from immutability.actions.remove import CannotRemoveError, remove_from_registry
from immutability.actions.resolve import REQUEST_SECONDS, resolve_attempts
from immutability.actions.send import send_delete
from immutability.answers import Refusal
from immutability.models import Attempt, LockedTag
from immutability.protection import (
    DeleteOutcome,
    LockState,
    Policy,
    Protection,
    cover,
    decide_delete,
)
from workspaces.access import Actor
from workspaces.models import Workspace

# The reason in the lock log where an admin gives none.
DELETED_AT_REGISTRY = "deleted through the registry"


@dataclass(frozen=True)
class ManifestDelete:
    """A delete on its way in: of a tag, or of a manifest and with it every tag on it.

    `confirm` looks, just before it is sent, whether its actor may do this still. It raises
    NoLongerAllowedError.
    """

    workspace: Workspace
    repository: Repository
    target: Tag | Digest
    is_admin: bool = False
    confirm: Callable[[], None] = always_allowed


def delete_manifest(
    delete: ManifestDelete, registry: RegistryClient, *, actor: Actor
) -> RegistryAnswer | Refusal:
    """Decide a delete and carry it out; return the registry's answer, or the refusal.

    A tag that a lock in force holds is deleted for admins alone, and its name stays reserved.
    Writes in the way whose end is unknown are resolved first, once. Raises UndecidedError,
    PatternError or PatternEvaluationError where nothing could be decided, and
    NoLongerAllowedError.
    """
    try:
        return decide_until_settled(lambda: _delete_once(delete, registry, actor))
    except UnderWayError:
        if not resolve_attempts(registry, _find_in_the_way(delete), REQUEST_SECONDS):
            raise
    return decide_until_settled(lambda: _delete_once(delete, registry, actor))


def _find_in_the_way(delete: ManifestDelete) -> QuerySet[Attempt]:
    """Return the attempts that may keep the delete from being decided."""
    attempts = Attempt.objects.filter(workspace=delete.workspace, repository=delete.repository.name)
    if isinstance(delete.target, Tag):
        return attempts.filter(tags__tag=delete.target.name)
    # By digest, every covered tag of the repository is adopted first.
    return attempts


def _delete_once(
    delete: ManifestDelete, registry: RegistryClient, actor: Actor
) -> RegistryAnswer | Refusal:
    policy = read_policy(delete.workspace)
    if policy.protection is not Protection.NONE:
        adopt_in_registry(
            delete.workspace, delete.repository, policy, delete.target, registry, actor=actor
        )
    refusal = _find_refusal(delete, policy, registry, None, actor)
    if refusal is not None:
        return refusal
    if isinstance(delete.target, Tag):
        for row in _find_by_outcome(delete, policy, DeleteOutcome.DELETED).values():
            return _remove(row, delete, registry, actor)
    attempt = _announce(delete, policy, actor)
    try:
        # Committed first, looked at second: of a delete and a claim that meet, one sees the other.
        refusal = _find_refusal(delete, policy, registry, attempt, actor)
        if refusal is not None:
            abandon_claim(attempt)
            return refusal
        delete.confirm()
        mark_sent(attempt)
    except Exception:
        abandon_claim(attempt)
        raise
    return send_delete(attempt, delete.target, registry, actor)


def _find_refusal(
    delete: ManifestDelete,
    policy: Policy,
    registry: RegistryClient,
    mine: Attempt | None,
    actor: Actor,
) -> Refusal | None:
    """Return what stands in the way, recorded, or None. `mine` is this delete's own attempt."""
    rows = _read_rows(delete)
    own = set(mine.tags.values_list("tag", flat=True)) if mine else set()
    for tag, row in sorted(rows.items()):
        if row.state == LockState.DELETING and tag.name in own:
            continue
        outcome = decide_delete(policy, tag, row.to_lock(), is_admin=delete.is_admin)
        is_put_aside = outcome in (DeleteOutcome.SUSPENDED, DeleteOutcome.DELETED)
        if is_put_aside and mine is not None:
            # Locked, or released from a claim, since the delete was announced.
            raise MovedError
        facts = row.to_facts(delete.workspace.slug, cover(policy, tag))
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
        raise UnderWayError("a push of the same tag is under way")
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
        Digest(digest): row
        for row in LockedTag.objects.filter(
            workspace=delete.workspace, repository=delete.repository.name
        ).exclude(state=LockState.RESERVED)
        if cover(policy, Tag(row.tag)).is_covered
        # A lock that was put aside may hold again.
        for digest in (row.replaced_digest, row.digest)
        if digest
    }
    learn_lists(delete.workspace, delete.repository, set(held), registry)
    for ancestor in sorted(find_ancestors(delete.workspace, delete.repository, digest)):
        row = held.get(ancestor)
        if row is not None:
            with transaction.atomic():
                ref = record_hollowing(row, digest, delete.workspace, actor=actor)
            return relay_hollowing(
                row.to_facts(delete.workspace.slug, cover(policy, Tag(row.tag))), digest, ref
            )
    return None


def _read_rows(delete: ManifestDelete) -> dict[Tag, LockedTag]:
    if isinstance(delete.target, Tag):
        return read_locks(delete.workspace, delete.repository, [delete.target])
    # A lock that was put aside may hold again: its image is asked for as well.
    rows = LockedTag.objects.filter(
        Q(digest=delete.target.value) | Q(replaced_digest=delete.target.value),
        workspace=delete.workspace,
        repository=delete.repository.name,
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
            reason=DELETED_AT_REGISTRY if delete.is_admin else "",
            actor=actor.name,
            actor_kind=actor.kind,
            expires_at=Now() + ATTEMPT_LEASE,
        )
        tags = _set_aside(delete, policy, actor)
        if isinstance(delete.target, Tag):
            tags.add(delete.target)
        else:
            tags |= set(find_known_tags(delete.workspace, delete.repository, delete.target))
        add_attempt_tags(attempt, dict.fromkeys(tags), covered=())
    return attempt


def _set_aside(delete: ManifestDelete, policy: Policy, actor: Actor) -> set[Tag]:
    """Say of the locks that the delete ends or reserves that it is under way; return their tags.

    Until it is known to have landed, nobody knows whether such a lock holds. Raises MovedError
    where one has changed since the delete was decided.
    """
    suspended = _find_by_outcome(delete, policy, DeleteOutcome.SUSPENDED)
    deleted = _find_by_outcome(delete, policy, DeleteOutcome.DELETED)
    by_admin = {"deleted_by": actor.shown_name, "deleted_at": Now()}
    for tag, row in sorted((suspended | deleted).items(), key=lambda item: item[0]):
        who = by_admin if tag in deleted else {"deleted_by": "", "deleted_at": None}
        is_unchanged = LockedTag.objects.filter(
            id=row.id, state=row.state, digest=row.digest
        ).update(state=LockState.DELETING, replaced_state=row.state, **who)
        if not is_unchanged:
            raise MovedError
    return set(suspended | deleted)


def _find_by_outcome(
    delete: ManifestDelete, policy: Policy, outcome: DeleteOutcome
) -> dict[Tag, LockedTag]:
    return {
        tag: row
        for tag, row in _read_rows(delete).items()
        if decide_delete(policy, tag, row.to_lock(), is_admin=delete.is_admin) is outcome
    }


def _remove(
    row: LockedTag, delete: ManifestDelete, registry: RegistryClient, actor: Actor
) -> RegistryAnswer | Refusal:
    """Delete one locked tag as an admin; also where the registry deletes no single tags."""
    try:
        return remove_from_registry(
            row,
            delete.workspace,
            DELETED_AT_REGISTRY,
            registry,
            actor=actor,
            confirm=delete.confirm,
        )
    except CannotRemoveError as error:
        return relay_impossible_delete(row.to_facts(delete.workspace.slug), str(error))
