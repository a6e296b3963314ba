"""Check a push: the first one locks its tag, by a unique constraint and never by a read."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum

from django.db import transaction
from django.utils import timezone

from containers.known_tags import forget_tags, read_known_tags, remember_tags
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryClient
from immutability.actions.adopt import adopt_present
from immutability.actions.attempts import is_in_the_way, open_brief
from immutability.actions.claims import abandon_claim, confirm_claim, open_attempt
from immutability.actions.look import look
from immutability.actions.read import (
    MovedError,
    UndecidedError,
    decide_until_settled,
    read_locks,
    read_policy,
    require_version,
)
from immutability.actions.round import PushRound, answer_tag, relay_first
from immutability.answers import ClaimAnswer, PushAnswer, TagAnswer
from immutability.models import Attempt, LockedTag
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
    under the tag: a digest, None for nothing, or NOT_TOLD. With `is_brief`, the claim is a step of
    this check alone: nobody else hears of it, so what a crash leaves of it is given up.
    """

    workspace: Workspace
    repository: Repository
    tags: tuple[Tag, ...]
    digest: Digest | None
    current: Digest | NotTold | None = NOT_TOLD
    is_two_phase: bool = False
    is_brief: bool = False


def check_push(
    check: PushCheck, *, actor: Actor, registry: RegistryClient | None = None
) -> PushAnswer:
    """Decide a push and put down what follows from it.

    Where the caller does not say what its registry has, `registry` is asked, if there is one; else
    it is what the last allowed check put there. Raises UndecidedError, PatternError or
    PatternEvaluationError where it could not decide, and database errors as they come: all of them
    mean that the push is refused.
    """
    digest = check.digest
    if digest is None:
        raise ValueError("a push has a digest")
    if registry is not None and check.current is NOT_TOLD:
        return decide_until_settled(lambda: _check_and_look(check, digest, registry, actor))
    return decide_until_settled(lambda: _check_once(check, digest, actor))


def ask_push(check: PushCheck, registry: RegistryClient | None = None) -> PushAnswer:
    """Say what check_push would answer, and change nothing. A new, covered tag is "free".

    Raises UndecidedError, PatternError or PatternEvaluationError.
    """
    policy = read_policy(check.workspace)
    locks = read_locks(check.workspace, check.repository, check.tags)
    decisions = {
        tag: decide_push(policy, tag, check.digest, locks[tag].to_lock() if tag in locks else None)
        for tag in sorted(check.tags)
    }
    new = [tag for tag, decision in decisions.items() if decision.step is Step.CLAIM]
    present = _ask_present(check, new, registry)
    answers: list[TagAnswer] = []
    in_the_way: list[tuple[Outcome, LockFacts]] = []
    for tag, decision in decisions.items():
        row = locks.get(tag)
        outcome, held = decision.outcome, Digest(row.digest) if row else None
        facts = row.to_facts(check.workspace.slug, decision.coverage) if row else None
        if tag in present:
            held = present[tag]
            outcome = decide_adoption(policy, check.digest, held)
            facts = _facts_of_adoption(check, tag, held, decision.coverage)
        answers.append(answer_tag(tag, outcome, decision.coverage, held))
        if facts is not None and not outcome.is_allowed:
            in_the_way.append((outcome, facts))
    return PushAnswer(tuple(answers), relay_first(in_the_way, check.digest))


def _check_and_look(
    check: PushCheck, digest: Digest, registry: RegistryClient, actor: Actor
) -> PushAnswer:
    """Claim, look what the registry has, and lock or adopt: the look is in no transaction."""
    push = PushRound(check.workspace, check.repository, check.tags, digest, actor)
    if push.in_the_way or not push.tags_with(Step.CLAIM, Step.JOIN, Step.RECLAIM):
        return _check_once(check, digest, actor, has_registry=True)
    claiming = replace(check, is_two_phase=True, is_brief=not check.is_two_phase)
    answer = _check_once(claiming, digest, actor, has_registry=True)
    if answer.claim is None:
        return answer
    attempt = Attempt.objects.select_related("workspace").get(id=answer.claim.id)
    held = {each.tag: True for each in answer.tags if each.outcome is Outcome.CLAIMED}
    try:
        if is_in_the_way(check.workspace, check.repository, held, digest, attempt):
            raise UndecidedError("another push of the same tag is under way")
        if adopt_present(push, registry, attempt):
            raise MovedError
        if check.is_two_phase:
            return answer
        with transaction.atomic():
            if len(confirm_claim(attempt, actor=actor)) != len(held):
                raise MovedError
            require_version(check.workspace, attempt.settings_version)
    except Exception:
        abandon_claim(attempt)
        raise
    return replace(
        answer,
        claim=None,
        tags=tuple(
            replace(each, outcome=Outcome.LOCKED_NOW) if each.outcome is Outcome.CLAIMED else each
            for each in answer.tags
        ),
    )


def _check_once(
    check: PushCheck, digest: Digest, actor: Actor, *, has_registry: bool = False
) -> PushAnswer:
    """Decide and put down, in one transaction. With a registry, the caller looks afterwards."""
    push = PushRound(check.workspace, check.repository, check.tags, digest, actor)
    to_remember = [] if has_registry else _find_to_remember(push)
    if not to_remember and _is_quiet(push):
        require_version(push.workspace, push.policy.version)
        return PushAnswer(push.answers())
    with transaction.atomic():
        if push.in_the_way:
            return push.refuse(push.in_the_way)
        # Claim first, look second.
        claimed = push.claim(LockState.CLAIMED if check.is_two_phase else LockState.LOCKED)
        adopted = {} if has_registry else _adopt(check, push, claimed)
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
        each.outcome is Outcome.UNPROTECTED and each.step not in (Step.END_LOCK, Step.RESTORE)
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
    push.restore()
    push.reclaim(is_two_phase=check.is_two_phase)
    push.join(is_two_phase=check.is_two_phase)
    held = [
        tag for tag in push.tags_with(Step.CLAIM, Step.RECLAIM, Step.JOIN) if tag not in adopted
    ]
    claim = None
    if check.is_two_phase and held:
        claim = _open(check, push, held)
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


def _open(check: PushCheck, push: PushRound, held: list[Tag]) -> ClaimAnswer:
    rules, version = push.rules_of(held), push.policy.version
    place = (check.workspace, check.repository, rules)
    if not check.is_brief:
        return open_attempt(*place, push.digest, version, actor=push.actor)
    attempt = open_brief(Attempt.Kind.CHECK, *place, version, actor=push.actor, digest=push.digest)
    return ClaimAnswer(attempt.id, timezone.now())


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
        coverage=coverage,
        pushed_by="",
    )


def _ask_present(
    check: PushCheck, tags: Collection[Tag], registry: RegistryClient | None
) -> dict[Tag, Digest]:
    """Return what the registry has under these tags, asking it where nobody told."""
    if registry is None or check.current is not NOT_TOLD:
        return _read_present(check, tags)
    found = {tag: look(check.workspace, check.repository, tag, registry) for tag in tags}
    return {tag: Digest(answer.digest) for tag, answer in found.items() if answer}


def _read_present(check: PushCheck, tags: Collection[Tag]) -> dict[Tag, Digest]:
    """Return what the registry has under these tags: as told, else as the last check left it."""
    if isinstance(check.current, Digest):
        return dict.fromkeys(tags, check.current)
    if check.current is None:
        return {}
    return read_known_tags(check.workspace, check.repository, tags)
