"""Say what a check of a delete would answer, and change nothing."""

from django.db.models import Q

from containers.known_tags import find_known_tags
from containers.reference import Digest, Tag
from containers.registry.client import RegistryClient
from immutability.actions.check_delete import DeleteCheck
from immutability.actions.look import look
from immutability.actions.read import read_policy
from immutability.actions.refuse import relay_pending_claim, relay_refused_delete
from immutability.answers import DeleteAnswer, DeleteTagAnswer, Refusal
from immutability.models import LockedTag
from immutability.protection import (
    DeleteOutcome,
    Lock,
    LockState,
    Policy,
    cover,
    decide_delete,
)
from immutability.refusals import LockFacts

Held = dict[Tag, tuple[Lock, LockFacts]]


def ask_delete(check: DeleteCheck, registry: RegistryClient | None = None) -> DeleteAnswer:
    """Say what check_delete would answer, and change and record nothing.

    A covered tag without a lock counts as locked to what it is known to be, or to what `registry`
    has under it; of a delete by digest, no registry is asked. Raises UndecidedError, PatternError
    or PatternEvaluationError.
    """
    policy = read_policy(check.workspace)
    held = _read_held(check, policy)
    held |= {
        tag: (Lock(LockState.LOCKED, digest), _facts_of_unlocked(check, policy, tag, digest))
        for tag, digest in _find_unlocked(check, policy, held, registry).items()
    }
    outcomes = {
        tag: decide_delete(policy, tag, lock, is_admin=check.is_admin)
        for tag, (lock, _) in sorted(held.items())
    }
    if isinstance(check.target, Tag):
        outcomes.setdefault(check.target, DeleteOutcome.NOT_LOCKED)
    answers = (
        DeleteTagAnswer(
            tag, outcome, held[tag][0].digest if outcome is not DeleteOutcome.NOT_LOCKED else None
        )
        for tag, outcome in outcomes.items()
    )
    return DeleteAnswer(tuple(answers), _find_refusal(held, outcomes))


def _read_held(check: DeleteCheck, policy: Policy) -> Held:
    rows = LockedTag.objects.filter(workspace=check.workspace, repository=check.repository.name)
    if isinstance(check.target, Tag):
        rows = rows.filter(tag=check.target.name)
    else:
        rows = rows.filter(Q(digest=check.target.value) | Q(replaced_digest=check.target.value))
    slug = check.workspace.slug
    return {
        Tag(row.tag): (row.to_lock(), row.to_facts(slug, cover(policy, Tag(row.tag))))
        for row in rows
    }


def _find_unlocked(
    check: DeleteCheck, policy: Policy, held: Held, registry: RegistryClient | None
) -> dict[Tag, Digest]:
    """Return the covered tags that nothing has locked yet: check_delete would lock them first."""
    target = check.target
    if isinstance(target, Digest) or registry is None:
        known = find_known_tags(check.workspace, check.repository, target)
        return {
            tag: digest
            for tag, digest in known.items()
            if tag not in held and cover(policy, tag).is_covered
        }
    if target in held or not cover(policy, target).is_covered:
        return {}
    answer = look(check.workspace, check.repository, target, registry)
    return {target: Digest(answer.digest)} if answer else {}


def _facts_of_unlocked(check: DeleteCheck, policy: Policy, tag: Tag, digest: Digest) -> LockFacts:
    return LockFacts(
        workspace=check.workspace.slug,
        repository=check.repository.name,
        tag=tag.name,
        digest=digest,
        locked_at=None,
        coverage=cover(policy, tag),
        pushed_by="",
    )


def _find_refusal(held: Held, outcomes: dict[Tag, DeleteOutcome]) -> Refusal | None:
    """Return what would be relayed: the first final refusal, else "try again"."""
    for tag, outcome in outcomes.items():
        if outcome is DeleteOutcome.LOCKED:
            return relay_refused_delete(held[tag][1], "")
    for tag, outcome in outcomes.items():
        if outcome is DeleteOutcome.CLAIM_PENDING:
            return relay_pending_claim(held[tag][1])
    return None
