"""Check a delete: what a lock holds is for workspace admins alone."""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from containers.known_tags import forget_digest, forget_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryClient
from immutability.actions.adopt import adopt_in_registry, adopt_known
from immutability.actions.read import (
    MovedError,
    decide_until_settled,
    hold_version,
    read_locks,
    read_policy,
    require_version,
)
from immutability.actions.refuse import (
    record_refused_delete,
    relay_pending_claim,
    relay_refused_delete,
)
from immutability.answers import DeleteAnswer, DeleteTagAnswer, Refusal
from immutability.models import LockedTag
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
class DeleteCheck:
    """The question: a tag, or a digest and with it every tag that points at it."""

    workspace: Workspace
    repository: Repository
    target: Tag | Digest
    is_admin: bool


def check_delete(
    check: DeleteCheck, *, actor: Actor, registry: RegistryClient | None = None
) -> DeleteAnswer:
    """Decide a delete and put down what follows from it, in one transaction.

    Covered tags that no push has locked yet are locked first, as they are known and as `registry`,
    if there is one, has them. An admin's delete of a locked tag leaves its name reserved. All of
    the tags go, or none.
    Raises UndecidedError, PatternError or PatternEvaluationError where it could not decide.
    """
    return decide_until_settled(lambda: _decide(check, actor, registry))


def _decide(check: DeleteCheck, actor: Actor, registry: RegistryClient | None) -> DeleteAnswer:
    policy = read_policy(check.workspace)
    if registry is None:
        adopt_known(check.workspace, check.repository, policy, check.target, actor=actor)
    elif policy.protection is not Protection.NONE:
        adopt_in_registry(
            check.workspace, check.repository, policy, check.target, registry, actor=actor
        )
    rows = _read_rows(check)
    outcomes = {
        tag: decide_delete(policy, tag, row.to_lock() if row else None, is_admin=check.is_admin)
        for tag, row in sorted(rows.items(), key=lambda item: item[0])
    }
    answers = tuple(
        DeleteTagAnswer(tag, outcome, _held_digest(outcome, rows[tag]))
        for tag, outcome in outcomes.items()
    )
    with transaction.atomic():
        refusal = _refuse(check, policy, rows, outcomes, actor)
        if refusal is None:
            for tag, outcome in outcomes.items():
                row = rows[tag]
                if row is not None:
                    _carry_out(check, policy, row, outcome, actor)
            if isinstance(check.target, Digest):
                forget_digest(check.workspace, check.repository, check.target)
            forget_tags(check.workspace, check.repository, outcomes)
            _require_no_other_lock(check, rows)
            require_version(check.workspace, policy.version)
    return DeleteAnswer(answers, refusal)


def _read_rows(check: DeleteCheck) -> dict[Tag, LockedTag | None]:
    if isinstance(check.target, Tag):
        return {
            check.target: read_locks(check.workspace, check.repository, [check.target]).get(
                check.target
            )
        }
    rows = LockedTag.objects.filter(
        workspace=check.workspace,
        repository=check.repository.name,
    ).filter(Q(digest=check.target.value) | Q(replaced_digest=check.target.value))
    return {Tag(row.tag): row for row in rows}


def _require_no_other_lock(check: DeleteCheck, rows: dict[Tag, LockedTag | None]) -> None:
    """Raise MovedError where the delete would take a tag that was locked since it was read."""
    locked = LockedTag.objects.filter(
        workspace=check.workspace, repository=check.repository.name
    ).exclude(state=LockState.RESERVED)
    if isinstance(check.target, Tag):
        locked = locked.filter(tag=check.target.name)
    else:
        same = Q(digest=check.target.value) | Q(replaced_digest=check.target.value)
        locked = locked.filter(same)
    if locked.exclude(id__in=[row.id for row in rows.values() if row]).exists():
        raise MovedError


def _held_digest(outcome: DeleteOutcome, row: LockedTag | None) -> Digest | None:
    return Digest(row.digest) if row and outcome is not DeleteOutcome.NOT_LOCKED else None


def _refuse(
    check: DeleteCheck,
    policy: Policy,
    rows: dict[Tag, LockedTag | None],
    outcomes: dict[Tag, DeleteOutcome],
    actor: Actor,
) -> Refusal | None:
    """Record every refusal; return what is relayed: the first final one, else "try again"."""
    final: Refusal | None = None
    pending: Refusal | None = None
    for tag, outcome in outcomes.items():
        row = rows[tag]
        if row is None or outcome.is_allowed:
            continue
        facts = row.to_facts(check.workspace.slug, cover(policy, tag))
        if outcome is DeleteOutcome.CLAIM_PENDING:
            pending = pending or relay_pending_claim(facts)
        else:
            ref = record_refused_delete(row, check.workspace, actor=actor)
            final = final or relay_refused_delete(facts, ref)
    return final or pending


def _carry_out(
    check: DeleteCheck, policy: Policy, row: LockedTag, outcome: DeleteOutcome, actor: Actor
) -> None:
    same = LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest)
    if outcome is DeleteOutcome.DELETED:
        changed = same.update(
            state=LockState.RESERVED, deleted_by=actor.shown_name, deleted_at=Now()
        )
        kind, reason = EventKind.TAG_DELETED, "the name stays reserved"
    elif outcome is DeleteOutcome.SUSPENDED:
        hold_version(check.workspace, policy.version)
        changed = same.delete()[0]
        kind, reason = EventKind.LOCK_ENDED, "the tag was deleted while it was not protected"
    else:
        return
    if not changed:
        raise MovedError
    append_event(
        row.to_event(kind, check.workspace.slug, settings_version=policy.version, reason=reason),
        actor=actor,
    )
