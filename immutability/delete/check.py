"""Check a delete for a registry that deletes by itself.

Taglock doesn't see the delete. So what a check allows is written at once, as if it had landed, and
leaves a stray delete.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from containers import writes
from containers.models import Tag as TagRecord
from containers.names import Digest, TagName
from containers.registry.client import RegistryClient
from containers.writes import RecordMovedError
from immutability import locks
from immutability.answers import DeleteAnswer, DeleteTagAnswer, Refusal
from immutability.delete.gate import DELETED_AT_REGISTRY
from immutability.delete.plan import DeletePlan, DeleteQuestion, hold_delete
from immutability.errors import TryAgainError
from immutability.look import TakenLook, learn_lists, look_at_tag
from immutability.models import LockedTag
from immutability.patience import always_allowed
from immutability.policy.decisions import (
    DeleteDecision,
    DeleteStep,
    DigestDecision,
    DigestStep,
    Look,
)
from immutability.policy.protection import DeleteOutcome, LockState, Protection, cover
from immutability.push.check import end_strays
from immutability.push.strays import SENT_WITHIN
from immutability.reading import read_policy
from immutability.reconcile.inventory import find_unread_digests, require_listed
from immutability.refuse import relay_in_use, relay_refused_delete, relay_unreadable_list
from workspaces.access import Actor

_MAX_TRIES = 5


@dataclass(frozen=True)
class _Decided:
    """The answer, and the records of the tags that it waits for."""

    answer: DeleteAnswer
    waiting: list[TagRecord]
    now: datetime


def check_delete(
    question: DeleteQuestion,
    *,
    actor: Actor,
    registry: RegistryClient | None,
    is_dry_run: bool = False,
    confirm: Callable[[], None] = always_allowed,
) -> DeleteAnswer:
    """Decide a delete as the gate does, and write what follows from it; a dry run writes nothing.

    A dry run of a delete by digest goes by what is known: it doesn't read the registry's tags. An
    admin's delete of a covered tag leaves its name reserved; any other ends the lock. `confirm`
    asks within the hold whether `actor` may still do this. Raises TryAgainError, PatternError or
    PatternEvaluationError where nothing could be decided, and PermissionRevokedError.
    """
    for _ in range(_MAX_TRIES):
        looks = _prepare(question, registry, is_dry_run=is_dry_run)
        if isinstance(looks, Refusal):
            return DeleteAnswer((), looks)
        try:
            with hold_delete(question, looks) as plan:
                confirm()
                decided = _decide(plan, registry, actor, is_dry_run=is_dry_run)
                transaction.set_rollback(is_dry_run)
        except RecordMovedError:
            continue
        if decided is None:
            continue
        if is_dry_run or not end_strays(decided.waiting, decided.now, registry):
            return decided.answer
    raise TryAgainError("too many changes at once")


# ---- read and look -----------------------------------------------------------------------------


def _prepare(
    question: DeleteQuestion, registry: RegistryClient | None, *, is_dry_run: bool
) -> dict[TagName, TakenLook] | Refusal:
    """Learn all that decides the delete, as far as there is a registry to look at.

    Returns the refusal where a protected manifest cannot be read: it may list the deleted one.
    Raises TryAgainError.
    """
    policy = read_policy(question.workspace)
    place = (question.workspace, question.repository)
    if isinstance(question.target, TagName):
        if not cover(policy, question.target).is_covered:
            return {}
        return _look(question, question.target, registry, is_dry_run=is_dry_run)
    is_protected = policy.protection is not Protection.NONE
    if registry is not None and is_protected and not is_dry_run:
        require_listed(*place, registry)
        unreadable = learn_lists(*place, find_unread_digests(*place), registry)
        if others := unreadable - {question.target}:
            return relay_unreadable_list(question.repository, question.target, min(others))
    return {}


def _look(
    question: DeleteQuestion, tag: TagName, registry: RegistryClient | None, *, is_dry_run: bool
) -> dict[TagName, TakenLook]:
    """Look at an unknown tag; without a registry, it doesn't exist."""
    record = TagRecord.objects.filter(
        workspace=question.workspace, repository=question.repository.name, name=tag.name
    ).first()
    if record is not None and record.digest:
        return {}
    look = Look(None)
    if registry is not None:
        place = question.workspace, question.repository
        look = look_at_tag(*place, tag, registry, is_dry_run=is_dry_run)
    return {tag: TakenLook(look, record.revision if record else 0)}


# ---- decide, within the hold -------------------------------------------------------------------


def _decide(
    plan: DeletePlan, registry: RegistryClient | None, actor: Actor, *, is_dry_run: bool
) -> _Decided | None:
    """Answer, and write what follows; None if the registry has to be looked at first."""
    plan.decisions = {
        tag: _pass_deleted(each, plan.locks.get(tag)) for tag, each in plan.decisions.items()
    }
    outcomes = _outcomes(plan)
    held = plan.locks
    refusal, waiting = None, []
    if plan.refused:
        plan.adopt_present()
        refusal = _foresee_refusal(plan) if is_dry_run else plan.refuse(actor=actor)
    elif plan.must_wait:
        refusal = plan.not_yet().refusal
        waiting = [plan.records[tag] for tag in plan.waiting]
    elif plan.tags_with(DeleteStep.LOOK):
        return None
    else:
        plan.adopt_present()
        held = dict(plan.locks)
        _carry_out(plan, registry, actor)
    return _Decided(_answer(outcomes, held, refusal), waiting, plan.now)


def _pass_deleted(
    decision: DeleteDecision | DigestDecision, row: LockedTag | None
) -> DeleteDecision | DigestDecision:
    """Let a check of a name that is reserved already pass, while a delete of it may still land.

    So a repeated check is allowed again. All pushes of the name wait until the last of its strays
    is over, and what the registry shows then decides.
    """
    is_reserved = row is not None and row.state == LockState.RESERVED
    if not is_reserved or decision.stray is None or decision.stray.digest is not None:
        return decision
    if isinstance(decision, DeleteDecision):
        return replace(decision, step=DeleteStep.PASS, stray=None)
    return replace(decision, step=DigestStep.PASS, stray=None)


def _carry_out(plan: DeletePlan, registry: RegistryClient | None, actor: Actor) -> None:
    """Write an allowed delete as if it had landed: it may land from now on."""
    until = plan.now + SENT_WITHIN + writes.STRAY_LIFE
    reserved = plan.tags_with(DeleteStep.RESERVE)
    plan.begin(actor=actor, reason=DELETED_AT_REGISTRY)
    for tag in reserved:
        locks.reserve(plan.locks[tag], origin=actor.origin)
    target = plan.question.target
    if isinstance(target, TagName):
        _leave_stray(plan.records[target], "", until, plan.now, is_shown=registry is None)
        return
    for tag in plan.taken:
        record = plan.records[tag]
        digest = "" if record.digest == target.value else record.digest
        _leave_stray(record, digest, until, plan.now, is_shown=registry is None)
    if plan.manifest is not None:
        writes.add_stray_delete(plan.manifest, until)


def _leave_stray(
    record: TagRecord, digest: str, until: datetime, now: datetime, *, is_shown: bool
) -> None:
    """Note that the tag is gone, or goes until then. Without a registry it counts as gone."""
    if is_shown:
        writes.set_shown(record, digest, now)
    record.digest = digest
    writes.add_stray(record, "", until)
    writes.save_record(record, now)


# ---- answer ------------------------------------------------------------------------------------


def _outcomes(plan: DeletePlan) -> dict[TagName, DeleteOutcome]:
    """Return what happens to each tag. A delete by digest names only the tags that it concerns."""
    is_by_digest = isinstance(plan.question.target, Digest)
    waits = plan.must_wait and not plan.refused and not plan.waiting
    outcomes = {}
    for tag, decision in sorted(plan.decisions.items()):
        if is_by_digest and decision.step == DigestStep.PASS:
            continue
        outcome = _OUTCOMES[decision.step.value]
        if outcome is DeleteOutcome.SUSPENDED and tag not in plan.locks:
            outcome = DeleteOutcome.NOT_LOCKED
        # Of a delete that waits for another one of the same manifest, all tags do.
        outcomes[tag] = DeleteOutcome.CLAIM_PENDING if waits else outcome
    return outcomes


_OUTCOMES = {
    DeleteStep.SEND.value: DeleteOutcome.SUSPENDED,
    DigestStep.TAKE.value: DeleteOutcome.SUSPENDED,
    DeleteStep.PASS.value: DeleteOutcome.NOT_LOCKED,
    DeleteStep.LOOK.value: DeleteOutcome.CLAIM_PENDING,
    DeleteStep.WAIT.value: DeleteOutcome.CLAIM_PENDING,
    DeleteStep.RESERVE.value: DeleteOutcome.DELETED,
    DeleteStep.LOCKED.value: DeleteOutcome.LOCKED,
    DigestStep.IN_USE.value: DeleteOutcome.IN_USE,
}


def _answer(
    outcomes: Mapping[TagName, DeleteOutcome],
    held: Mapping[TagName, LockedTag],
    refusal: Refusal | None,
) -> DeleteAnswer:
    tags = []
    for tag, outcome in outcomes.items():
        row = held.get(tag) if outcome is not DeleteOutcome.NOT_LOCKED else None
        tags.append(DeleteTagAnswer(tag, outcome, Digest(row.digest) if row else None))
    return DeleteAnswer(tuple(tags), refusal)


def _foresee_refusal(plan: DeletePlan) -> Refusal:
    """Return the refusal as it would be worded, without an event to link to."""
    tag, target = plan.refused[0], plan.question.target
    facts = plan.locks[tag].to_facts(plan.question.workspace.slug, plan.decisions[tag].coverage)
    if plan.decisions[tag].step == DigestStep.IN_USE and isinstance(target, Digest):
        return relay_in_use(facts, target, "")
    return relay_refused_delete(facts, "")
