"""Check a push: the first one locks its tag, by a unique constraint and never by a read."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from django.db import transaction

from containers.known_tags import forget_tags, read_known_tags, remember_tags
from containers.reference import Digest, Repository, Tag
from immutability.actions.claims import open_attempt
from immutability.actions.read import (
    decide_until_settled,
    read_locks,
    read_policy,
    require_version,
)
from immutability.actions.round import PushRound, answer_tag, relay_first
from immutability.answers import PushAnswer, TagAnswer
from immutability.models import LockedTag
from immutability.protection import (
    Coverage,
    LockState,
    Outcome,
    Step,
    decide_adoption,
    decide_push,
)
from immutability.refusals import LockFacts
from workspaces.access import Actor
from workspaces.models import Workspace


class NotTold(Enum):
    """The caller did not say what its registry has under the tag."""

    NOT_TOLD = "not told"


NOT_TOLD = NotTold.NOT_TOLD


@dataclass(frozen=True)
class PushCheck:
    """The question.

    `tags` are distinct. `digest` is None only in a dry run. `current` is what the registry has
    under the tag: a digest, None for nothing, or NOT_TOLD.
    """

    workspace: Workspace
    repository: Repository
    tags: tuple[Tag, ...]
    digest: Digest | None
    current: Digest | NotTold | None = NOT_TOLD
    is_two_phase: bool = False


def check_push(check: PushCheck, *, actor: Actor) -> PushAnswer:
    """Decide a push and put down what follows from it, in one transaction.

    Raises UndecidedError, PatternError or PatternEvaluationError where it could not decide, and
    database errors as they come: all of them mean that the push is refused.
    """
    digest = check.digest
    if digest is None:
        raise ValueError("a push has a digest")
    return decide_until_settled(lambda: _check_once(check, digest, actor))


def ask_push(check: PushCheck) -> PushAnswer:
    """Say what check_push would answer, and change nothing. A new, covered tag is "free".

    Raises PatternError or PatternEvaluationError.
    """
    policy = read_policy(check.workspace)
    locks = read_locks(check.workspace, check.repository, check.tags)
    known = _read_present(check, check.tags)
    answers: list[TagAnswer] = []
    in_the_way: list[tuple[Outcome, LockFacts]] = []
    for tag in sorted(check.tags):
        row = locks.get(tag)
        decision = decide_push(policy, tag, check.digest, row.to_lock() if row else None)
        outcome, held = decision.outcome, Digest(row.digest) if row else None
        facts = row.to_facts(check.workspace.slug) if row else None
        if decision.step is Step.CLAIM and tag in known:
            held = known[tag]
            outcome = decide_adoption(policy, check.digest, held)
            facts = _facts_of_adoption(check, tag, held, decision.coverage)
        answers.append(answer_tag(tag, outcome, decision.coverage, held))
        if facts is not None and not outcome.is_allowed:
            in_the_way.append((outcome, facts))
    return PushAnswer(tuple(answers), relay_first(in_the_way, check.digest))


def _check_once(check: PushCheck, digest: Digest, actor: Actor) -> PushAnswer:
    push = PushRound(check.workspace, check.repository, check.tags, digest, actor)
    to_remember = _find_to_remember(push)
    if not to_remember and _is_quiet(push):
        require_version(push.workspace, push.policy.version)
        return PushAnswer(push.answers())
    with transaction.atomic():
        if push.in_the_way:
            return push.refuse(push.in_the_way)
        # Claim first, look second.
        claimed = push.claim(LockState.CLAIMED if check.is_two_phase else LockState.LOCKED)
        adopted = _adopt(check, push, claimed)
        blocking = {
            tag: row
            for tag, row in adopted.items()
            if not decide_adoption(push.policy, digest, Digest(row.digest)).is_allowed
        }
        if blocking:
            own = [row.id for tag, row in claimed.items() if tag not in adopted]
            LockedTag.objects.filter(id__in=own).delete()
            return push.refuse(blocking, adopted)
        return _allow(check, push, claimed, adopted, to_remember)


def _is_quiet(push: PushRound) -> bool:
    """Whether the push changes no lock and leaves no event."""
    return all(
        each.outcome is Outcome.UNPROTECTED and each.step is not Step.END_LOCK
        for each in push.decisions.values()
    )


def _adopt(
    check: PushCheck, push: PushRound, claimed: dict[Tag, LockedTag]
) -> dict[Tag, LockedTag]:
    """Lock what the registry has already under the claimed tags, and return those locks."""
    present = _read_present(check, claimed)
    for tag, digest in present.items():
        push.adopt(claimed[tag], digest)
    # A lock knows them now, or the caller has just said better.
    was_told = check.current is not NOT_TOLD
    forget_tags(check.workspace, check.repository, claimed if was_told else present)
    return {tag: claimed[tag] for tag in present}


def _allow(
    check: PushCheck,
    push: PushRound,
    claimed: dict[Tag, LockedTag],
    adopted: dict[Tag, LockedTag],
    to_remember: list[Tag],
) -> PushAnswer:
    """Nothing stands in the way: put down each tag's step."""
    reached: dict[Tag, Outcome] = dict.fromkeys(adopted, Outcome.UNCHANGED)
    push.end_locks()
    push.reclaim(is_two_phase=check.is_two_phase)
    push.join(is_two_phase=check.is_two_phase)
    held = [
        tag for tag in push.tags_with(Step.CLAIM, Step.RECLAIM, Step.JOIN) if tag not in adopted
    ]
    claim = None
    if check.is_two_phase and held:
        claim = open_attempt(
            check.workspace,
            check.repository,
            held,
            push.digest,
            push.policy.version,
            actor=push.actor,
        )
        reached |= dict.fromkeys(held, Outcome.CLAIMED)
    else:
        push.record_locked(held)
        reached |= dict.fromkeys(held, Outcome.LOCKED_NOW)
    remember_tags(
        check.workspace,
        check.repository,
        {*to_remember, *push.tags_with(Step.END_LOCK)},
        push.digest,
    )
    push.record_identical_pushes()
    require_version(push.workspace, push.policy.version)
    return PushAnswer(push.answers(reached, claimed), claim=claim)


def _find_to_remember(push: PushRound) -> list[Tag]:
    """Return the unprotected tags that are not known to point at this digest already."""
    tags = push.tags_with(Step.REMEMBER)
    known = read_known_tags(push.workspace, push.repository, tags)
    return [tag for tag in tags if known.get(tag) != push.digest]


def _facts_of_adoption(
    check: PushCheck, tag: Tag, present: Digest, coverage: Coverage
) -> LockFacts:
    """Return what would be told of the lock that adopting the tag makes."""
    return LockFacts(
        workspace=check.workspace.slug,
        repository=check.repository.name,
        tag=tag.name,
        digest=present,
        locked_at=None,
        rule_name=coverage.rule.name if coverage.rule else "",
        pushed_by="",
    )


def _read_present(check: PushCheck, tags: Collection[Tag]) -> dict[Tag, Digest]:
    """Return what the registry has under these tags: as told, else as the last check left it."""
    if isinstance(check.current, Digest):
        return dict.fromkeys(tags, check.current)
    if check.current is None:
        return {}
    return read_known_tags(check.workspace, check.repository, tags)
