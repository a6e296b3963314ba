"""Check a push for a registry that writes by itself, in one call or in two phases.

Taglock doesn't see what such a registry writes. So what a one-call check allows leaves a stray of
its image. A two-phase check leaves a write in flight, which its caller ends (`push/claims.py`).
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from containers import writes
from containers.models import Tag as TagRecord
from containers.models import WriteKind
from containers.names import Digest, TagName
from containers.registry.client import RegistryClient
from containers.writes import RecordMovedError
from immutability import locks
from immutability.answers import ClaimAnswer, PushAnswer, Refusal, TagAnswer
from immutability.errors import ConflictError, TryAgainError
from immutability.look import TakenLook, look_at_each, look_at_tag
from immutability.models import Claim
from immutability.patience import MAX_WAIT_SECONDS
from immutability.policy.decisions import Look, PushDecision, Step
from immutability.policy.messages import LockFacts
from immutability.policy.protection import Outcome
from immutability.push.plan import PushPlan, PushQuestion, hold_plan, read_plan
from immutability.push.strays import SENT_WITHIN, is_written_down, leave_strays
from immutability.reconcile.tag import reconcile_record
from immutability.refuse import relay_refused_push
from workspaces.access import Actor
from workspaces.database import together

# What a caller read of its own registry is no older than this when it asks.
MAX_CURRENT_AGE = timedelta(minutes=1)
# A caller of two phases must not begin to write later than this.
CLAIM_LIFE = timedelta(minutes=15)
_MAX_TRIES = 5

# Stands for any image that no tag has, in a dry run that names none.
NEW_IMAGE = Digest("sha256:" + "0" * 64)


class NotTold(Enum):
    """The caller did not say what its registry has under the tag."""

    NOT_TOLD = "not told"


NOT_TOLD = NotTold.NOT_TOLD


@dataclass(frozen=True)
class PushCheck:
    """A registry's question about a push.

    `current` is what the registry has under the tags: a digest, None for nothing, or NOT_TOLD.
    `idempotency_key` is the caller's own name for a two-phase push; empty without one.
    """

    push: PushQuestion
    current: Digest | NotTold | None = NOT_TOLD
    is_two_phase: bool = False
    idempotency_key: str = ""


def check_push(
    check: PushCheck, *, actor: Actor, registry: RegistryClient | None, caller: Actor | None = None
) -> PushAnswer:
    """Decide a push and write what follows from it. A push that would have to wait is told so.

    `actor` pushes, and `caller` asks: its idempotency keys are its own. Raises TryAgainError,
    PatternError or PatternEvaluationError if nothing could be decided, and ConflictError if
    an idempotency key was used for another push or its claim has ended.
    """
    for _ in range(_MAX_TRIES):
        plan = _read(check, registry)
        if plan.is_refused and not plan.has_news and not check.idempotency_key:
            # That changes nothing: what was read in one statement is enough for it.
            return _answer(plan, refusal=plan.refuse(actor=actor))
        if is_written_down(plan, registry) and not check.idempotency_key:
            plan.record_unchanged(actor=actor)
            return _answer(plan)
        known = [plan.question.digest] if plan.manifest is not None else ()
        hold = hold_plan(plan, plan.looks, known_manifests=known, to_refuse=plan.is_refused)
        try:
            with hold as read:
                held = _prefer_told(check, read, registry)
                if plan.is_refused and not (held.is_refused or held.must_wait):
                    # It may go on now, and what it needs is not held.
                    continue
                answer = _decide(check, held, registry, actor, caller or actor)
        except RecordMovedError:
            continue
        if answer is not None:
            return answer
        if check.current is not NOT_TOLD:
            raise _stale()
    raise TryAgainError("too many changes of this tag at once")


def ask_push(check: PushCheck, *, registry: RegistryClient | None) -> PushAnswer:
    """Say what check_push would answer at this moment, and change nothing.

    Deletes of manifests that the push needs are left out. The digest may be NEW_IMAGE. Raises
    TryAgainError, PatternError or PatternEvaluationError.
    """
    plan = _prefer_told(check, read_plan(check.push, {}), registry)
    plan = plan.decide_again(_look(check, plan, registry, is_dry_run=True))
    if plan.is_refused:
        return _answer(plan, refusal=_foresee_refusal(plan))
    if plan.must_wait:
        return _answer(plan, refusal=plan.not_yet().refusal)
    if plan.tags_with(Step.LOOK):
        raise _stale()
    return _answer(plan)


# ---- read and look -----------------------------------------------------------------------------


def _read(check: PushCheck, registry: RegistryClient | None) -> PushPlan:
    """Read, end strays that are in the way and over, and look where nothing is known."""
    plan = read_plan(check.push, {})
    in_the_way = [tag for tag in plan.tags_with(Step.WAIT, Step.LOOK) if tag in plan.records]
    if end_strays([plan.records[tag] for tag in in_the_way], plan.now, registry):
        plan = read_plan(check.push, {})
    plan = _prefer_told(check, plan, registry)
    return plan.decide_again(_look(check, plan, registry))


def end_strays(
    records: Iterable[TagRecord], now: datetime, registry: RegistryClient | None
) -> bool:
    """End the strays that can no longer land; return whether that has changed anything.

    A registry that hangs takes half a minute for each: after a few seconds, no further one is
    started.
    """
    over = [each.id for each in records if each.stray_until and each.stray_until <= now]
    ends_at = time.monotonic() + MAX_WAIT_SECONDS
    has_changed = False
    for record_id in over:
        has_changed = reconcile_record(record_id, registry) or has_changed
        if time.monotonic() >= ends_at:
            break
    return has_changed


def _prefer_told(check: PushCheck, plan: PushPlan, registry: RegistryClient | None) -> PushPlan:
    """Without a registry to look at, use what the caller says about a tag that has no lock.

    A record then only says what was allowed last. None of this is saved.
    """
    if registry is not None or check.current is NOT_TOLD:
        return plan
    for tag, record in plan.records.items():
        if tag not in plan.locks:
            record.digest = ""
    return plan.decide_again(plan.looks)


def _look(
    check: PushCheck, plan: PushPlan, registry: RegistryClient | None, *, is_dry_run: bool = False
) -> dict[TagName, TakenLook]:
    """Return what the registry has under the unknown tags.

    Raises TryAgainError if it does not say.
    """

    def look(tag: TagName) -> Look | None:
        record = plan.records.get(tag)
        return _look_at(check, tag, record, plan.now, registry, is_dry_run=is_dry_run)

    looks = look_at_each(plan.tags_with(Step.LOOK), look)
    return {tag: TakenLook(each, plan.read_revision(tag)) for tag, each in looks.items()}


def _look_at(
    check: PushCheck,
    tag: TagName,
    record: TagRecord | None,
    now: datetime,
    registry: RegistryClient | None,
    *,
    is_dry_run: bool,
) -> Look | None:
    """Return what is under the tag: as told, as the registry shows it, or else as recorded.

    None where what was told may be older than the record's last change.
    """
    if check.current is not NOT_TOLD:
        changed_at = record.changed_at if record else None
        is_fresh = changed_at is None or changed_at + MAX_CURRENT_AGE <= now
        return Look(check.current) if is_fresh else None
    if registry is not None:
        place = check.push.workspace, check.push.repository
        return look_at_tag(*place, tag, registry, is_dry_run=is_dry_run)
    return Look(Digest(record.digest) if record and record.digest else None)


def _stale() -> TryAgainError:
    seconds = int(MAX_CURRENT_AGE.total_seconds())
    return TryAgainError(
        "the tag has just changed, so current_digest may be out of date: read it again, and ask "
        f"again in {seconds} seconds",
        seconds,
    )


# ---- decide, within the hold -------------------------------------------------------------------


def _decide(
    check: PushCheck,
    held: PushPlan,
    registry: RegistryClient | None,
    actor: Actor,
    caller: Actor,
) -> PushAnswer | None:
    """Answer, and write what follows; None if the registry has to be looked at first."""
    if (claim := _find_claim(check, caller)) is not None:
        return _answer_again(check, held, claim)
    if held.is_refused:
        held.adopt_present()
        return _answer(held, refusal=held.refuse(actor=actor))
    if held.must_wait:
        return _answer(held, refusal=held.not_yet().refusal)
    if held.tags_with(Step.LOOK):
        return None
    held.adopt_present()
    held.record_unchanged(actor=actor)
    if check.is_two_phase and held.tags_with(Step.CLAIM, Step.POINT):
        return _begin(check, held, registry, actor, caller)
    with together():
        _lock(held, actor)
        held.end_locks(actor=actor)
        leave_strays(held, list(held.records), held.now + SENT_WITHIN, registry)
    return _answer(held, reached=Outcome.LOCKED_NOW)


def _lock(held: PushPlan, actor: Actor) -> None:
    for tag in held.tags_with(Step.CLAIM, Step.POINT):
        held.locks[tag] = locks.lock_at_once(
            held.records[tag],
            held.locks.get(tag),
            held.question.digest,
            held.decisions[tag].coverage,
            held.policy,
            held.now,
            actor=actor,
        )


def _begin(
    check: PushCheck, held: PushPlan, registry: RegistryClient | None, actor: Actor, caller: Actor
) -> PushAnswer:
    """Claim the tags, and put the caller's write in flight on them."""
    claimed = held.tags_with(Step.CLAIM, Step.POINT)
    rest = [tag for tag in held.records if tag not in claimed]
    write = writes.new_write(WriteKind.PUSH, held.question.digest)
    held.claim(actor=actor)
    writes.begin_write(
        write,
        [held.records[tag] for tag in claimed],
        held.now,
        lasts=CLAIM_LIFE,
        is_external=True,
    )
    expires_at = held.now + CLAIM_LIFE
    # The caller writes the other tags of the push together with these.
    leave_strays(held, rest, expires_at, registry)
    answer = _answer(held, reached=Outcome.CLAIMED, claim=ClaimAnswer(write.id, expires_at))
    Claim.objects.create(
        id=write.id,
        workspace=held.question.workspace,
        repository=held.question.repository.name,
        tags={each.tag.name: each.outcome for each in answer.tags},
        digest=held.question.digest.value,
        actor=caller.name,
        actor_kind=caller.kind,
        idempotency_key=check.idempotency_key,
        expires_at=expires_at,
    )
    return answer


def _find_claim(check: PushCheck, caller: Actor) -> Claim | None:
    """Return the claim that this caller began under the same idempotency key."""
    if not (check.is_two_phase and check.idempotency_key):
        return None
    return Claim.objects.filter(
        workspace=check.push.workspace,
        actor=caller.name,
        actor_kind=caller.kind,
        idempotency_key=check.idempotency_key,
    ).first()


def _answer_again(check: PushCheck, held: PushPlan, claim: Claim) -> PushAnswer:
    """Return the answer that the claim's begin got. Raises ConflictError if it can't be."""
    push = check.push
    asked = (push.repository.name, sorted(tag.name for tag in push.tags), push.digest.value)
    if asked != (claim.repository, sorted(claim.tags), claim.digest):
        raise ConflictError("This idempotency_key was used for another push. Use a new one.")
    if claim.outcome != Claim.Outcome.OPEN:
        raise ConflictError(
            f"The claim of this idempotency_key has ended: it was {claim.outcome}. Use a new key."
        )
    tags = tuple(
        _answer_tag(tag, Outcome(claim.tags[tag.name]), held.decisions[tag], push.digest)
        for tag in push.tags
    )
    return PushAnswer(tags, claim=ClaimAnswer(claim.id, claim.expires_at))


# ---- answer ------------------------------------------------------------------------------------


def _answer(
    plan: PushPlan,
    *,
    reached: Outcome = Outcome.FREE,
    refusal: Refusal | None = None,
    claim: ClaimAnswer | None = None,
) -> PushAnswer:
    """Return the answer on each tag; `reached` is what happened to those that are claimed."""
    tags = []
    for tag, decision in plan.decisions.items():
        row = plan.locks.get(tag)
        outcome = plan.outcome(tag)
        if outcome is Outcome.FREE:
            outcome = reached
        if outcome.is_allowed and not plan.is_refused and plan.must_wait and not _waits(plan):
            # For the delete of a manifest that all of them need.
            outcome = Outcome.CLAIM_PENDING
        tags.append(
            _answer_tag(tag, outcome, decision, Digest(row.digest) if row else decision.adopt)
        )
    return PushAnswer(tuple(tags), refusal, claim)


def _waits(plan: PushPlan) -> bool:
    return bool(plan.tags_with(Step.WAIT))


def _answer_tag(
    tag: TagName, outcome: Outcome, decision: PushDecision, holding: Digest | None
) -> TagAnswer:
    is_held = outcome not in (Outcome.UNPROTECTED, Outcome.FREE)
    coverage = decision.coverage
    return TagAnswer(tag, outcome, coverage.rule, coverage.exception, holding if is_held else None)


def _foresee_refusal(plan: PushPlan) -> Refusal:
    """Return the refusal as it would be worded, without an event to link to."""
    tag = plan.tags_with(Step.LOCKED, Step.RESERVED)[0]
    row, decision = plan.locks.get(tag), plan.decisions[tag]
    pushed = plan.question.digest
    slug = plan.question.workspace.slug
    facts = row.to_facts(slug, decision.coverage) if row else _facts(plan, tag, decision)
    return relay_refused_push(plan.outcome(tag), facts, None if pushed == NEW_IMAGE else pushed)


def _facts(plan: PushPlan, tag: TagName, decision: PushDecision) -> LockFacts:
    """Return what would be told of the lock that adopting the tag makes."""
    if decision.adopt is None:
        raise AssertionError(f"{tag} is refused without a lock")
    return LockFacts(
        workspace=plan.question.workspace.slug,
        repository=plan.question.repository.name,
        tag=tag.name,
        digest=decision.adopt,
        locked_at=None,
        coverage=decision.coverage,
        pushed_by="",
    )
