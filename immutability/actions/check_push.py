"""Check a push: the first one locks its tag, by a unique constraint and never by a read."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from django.db import transaction
from django.utils import timezone

from containers.known_tags import forget_tags, read_known_tags, remember_tags
from containers.reference import Digest, Repository, Tag
from immutability.actions.claims import open_attempt
from immutability.actions.read import (
    MovedError,
    decide_until_settled,
    hold_version,
    read_locks,
    read_policy,
    require_version,
)
from immutability.actions.refuse import record_refused_push, relay_pending_claim, relay_refused_push
from immutability.answers import PushAnswer, Refusal, TagAnswer
from immutability.models import LockedTag
from immutability.protection import (
    Coverage,
    Decision,
    LockState,
    Outcome,
    Policy,
    Step,
    decide_adoption,
    decide_push,
)
from immutability.refusals import LockFacts
from workspaces.access import Actor, ActorKind
from workspaces.log.append import Event, append_events, append_repeatable_event
from workspaces.log.kinds import EventKind
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
    return decide_until_settled(lambda: _Round(check, actor).run())


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
        answers.append(_answer(tag, outcome, decision.coverage, held))
        if facts is not None and not outcome.is_allowed:
            in_the_way.append((outcome, facts))
    return PushAnswer(tuple(answers), _relay_first(in_the_way, check.digest))


class _Round:
    """One try at deciding; another round follows where somebody else was faster."""

    def __init__(self, check: PushCheck, actor: Actor) -> None:
        if check.digest is None:
            raise ValueError("a push has a digest")
        self.check = check
        self.digest = check.digest
        self.actor = actor
        self.policy: Policy = read_policy(check.workspace)
        self.locks = read_locks(check.workspace, check.repository, check.tags)
        self.decisions: dict[Tag, Decision] = {
            tag: decide_push(
                self.policy,
                tag,
                self.digest,
                self.locks[tag].to_lock() if tag in self.locks else None,
            )
            for tag in sorted(check.tags)
        }
        self.events: list[Event] = []
        self.to_remember = self._find_to_remember()

    def run(self) -> PushAnswer:
        if not self._needs_writing():
            require_version(self.check.workspace, self.policy.version)
            return PushAnswer(self._answers())
        with transaction.atomic():
            refused = [tag for tag, each in self.decisions.items() if not each.outcome.is_allowed]
            if refused:
                return self._refuse({tag: self.locks[tag] for tag in refused})
            claimed = self._claim()
            adopted = self._adopt(claimed)
            blocked = {
                tag: row
                for tag, row in adopted.items()
                if not decide_adoption(self.policy, self.digest, Digest(row.digest)).is_allowed
            }
            if blocked:
                LockedTag.objects.filter(
                    id__in=[row.id for tag, row in claimed.items() if tag not in adopted]
                ).delete()
                append_events(self.events, actor=self.actor)
                return self._refuse(blocked, adopted)
            return self._allow(claimed, adopted)

    def _needs_writing(self) -> bool:
        """A push that changes nothing and leaves no event needs no transaction."""
        quiet = all(
            each.outcome is Outcome.UNPROTECTED and each.step in (Step.NOTHING, Step.REMEMBER)
            for each in self.decisions.values()
        )
        return not quiet or bool(self.to_remember)

    # Claim first, look second.

    def _claim(self) -> dict[Tag, LockedTag]:
        """Insert the new locks, sorted and in one statement: all of them, or IntegrityError."""
        state = LockState.CLAIMED if self.check.is_two_phase else LockState.LOCKED
        rows = [self._new_lock(tag, state) for tag in self._tags_with(Step.CLAIM)]
        LockedTag.objects.bulk_create(rows)
        return {Tag(row.tag): row for row in rows}

    def _adopt(self, claimed: dict[Tag, LockedTag]) -> dict[Tag, LockedTag]:
        """Lock what the registry has already under a claimed tag, and return those locks."""
        present_digests = _read_present(self.check, claimed)
        adopted = {}
        for tag, present in present_digests.items():
            row = claimed[tag]
            row.state, row.digest = LockState.LOCKED, present.value
            # Who pushed it, nobody wrote down: it was there before it was protected.
            row.pushed_by, row.pushed_by_kind = "", ActorKind.SYSTEM
            row.save(update_fields=["state", "digest", "pushed_by", "pushed_by_kind"])
            adopted[tag] = row
            self.events.append(self._event(EventKind.TAG_ADOPTED, tag, present))
        was_told = self.check.current is not NOT_TOLD
        forget_tags(self.check.workspace, self.check.repository, claimed if was_told else adopted)
        return adopted

    # Nothing stands in the way: carry out each tag's step.

    def _allow(self, claimed: dict[Tag, LockedTag], adopted: dict[Tag, LockedTag]) -> PushAnswer:
        reached: dict[Tag, Outcome] = dict.fromkeys(adopted, Outcome.UNCHANGED)
        for tag in self._tags_with(Step.END_LOCK):
            self._end_lock(tag)
        for tag in self._tags_with(Step.RECLAIM):
            self._reclaim(tag)
        in_claim = [
            tag
            for step in (Step.CLAIM, Step.RECLAIM, Step.JOIN)
            for tag in self._tags_with(step)
            if tag not in adopted
        ]
        claim = None
        if self.check.is_two_phase and in_claim:
            for tag in self._tags_with(Step.JOIN):
                # Touched, so that nobody gives the claim up before this attempt is on record.
                self._change_lock(self.locks[tag], state=LockState.CLAIMED)
            claim = open_attempt(
                self.check.workspace,
                self.check.repository,
                sorted(in_claim),
                self.digest,
                self.policy.version,
                actor=self.actor,
            )
            reached |= dict.fromkeys(in_claim, Outcome.CLAIMED)
        else:
            for tag in self._tags_with(Step.JOIN):
                self._change_lock(
                    self.locks[tag],
                    state=LockState.LOCKED,
                    locked_at=timezone.now(),
                    replaced_state="",
                    replaced_digest="",
                )
            self.events += [self._event(EventKind.TAG_LOCKED, tag) for tag in sorted(in_claim)]
            reached |= dict.fromkeys(in_claim, Outcome.LOCKED_NOW)
        remember_tags(
            self.check.workspace,
            self.check.repository,
            {*self.to_remember, *self._tags_with(Step.END_LOCK)},
            self.digest,
        )
        append_events(self.events, actor=self.actor)
        self._record_identical_pushes()
        require_version(self.check.workspace, self.policy.version)
        return PushAnswer(self._answers(reached, claimed), claim=claim)

    def _end_lock(self, tag: Tag) -> None:
        """End a suspended lock, unless the settings have moved: then it may hold again."""
        hold_version(self.check.workspace, self.policy.version)
        row = self.locks[tag]
        same = LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest)
        if not same.delete()[0]:
            raise MovedError
        self.events.append(
            Event(
                EventKind.LOCK_ENDED,
                self.check.workspace.slug,
                self.check.repository.name,
                tag.name,
                digest=row.digest,
                other_digest=self.digest.value,
                rule_name=row.rule_name,
                rule_pattern=row.rule_pattern,
                settings_version=self.policy.version,
                reason="another image was pushed while the tag was not protected",
            )
        )

    def _reclaim(self, tag: Tag) -> None:
        """Claim, or lock, a reserved or released tag in place."""
        row = self.locks[tag]
        fresh = self._new_lock(
            tag, LockState.CLAIMED if self.check.is_two_phase else LockState.LOCKED
        )
        self._change_lock(
            row,
            state=fresh.state,
            digest=fresh.digest,
            rule_name=fresh.rule_name,
            rule_pattern=fresh.rule_pattern,
            settings_version=fresh.settings_version,
            pushed_by=fresh.pushed_by,
            pushed_by_kind=fresh.pushed_by_kind,
            locked_at=timezone.now(),
            replaced_state=row.state if self.check.is_two_phase else "",
            replaced_digest=row.digest if self.check.is_two_phase else "",
        )

    def _change_lock(self, row: LockedTag, **changes: str | int | datetime) -> None:
        """Change a lock that is still as it was read. Raises MovedError where it is not."""
        same = LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest)
        if not same.update(**changes):
            raise MovedError
        for name, value in changes.items():
            setattr(row, name, value)

    def _find_to_remember(self) -> list[Tag]:
        """Return the unprotected tags that are not known to point at this digest already."""
        tags = self._tags_with(Step.REMEMBER)
        known = read_known_tags(self.check.workspace, self.check.repository, tags)
        return [tag for tag in tags if known.get(tag) != self.digest]

    def _record_identical_pushes(self) -> None:
        for tag, decision in self.decisions.items():
            if decision.outcome is Outcome.UNCHANGED:
                append_repeatable_event(
                    self._event(EventKind.PUSH_IDENTICAL, tag), actor=self.actor
                )

    # Something stands in the way.

    def _refuse(
        self, blocking: dict[Tag, LockedTag], adopted: dict[Tag, LockedTag] | None = None
    ) -> PushAnswer:
        reached: dict[Tag, Outcome] = dict.fromkeys(adopted or (), Outcome.UNCHANGED)
        refs: list[str] = []
        for tag, row in sorted(blocking.items()):
            decided = self.decisions[tag].outcome
            reached[tag] = Outcome.LOCKED if decided is Outcome.FREE else decided
            if reached[tag] is not Outcome.CLAIM_PENDING:
                refs.append(
                    record_refused_push(
                        row, reached[tag], self.digest, self.check.workspace, actor=self.actor
                    )
                )
        in_the_way = [
            (reached[tag], row.to_facts(self.check.workspace.slug))
            for tag, row in sorted(blocking.items())
        ]
        ref = refs[0] if refs else ""
        return PushAnswer(
            self._answers(reached, blocking | (adopted or {})),
            _relay_first(in_the_way, self.digest, ref),
        )

    # Small parts.

    def _tags_with(self, step: Step) -> list[Tag]:
        return [tag for tag, each in self.decisions.items() if each.step is step]

    def _new_lock(self, tag: Tag, state: LockState) -> LockedTag:
        rule = self.decisions[tag].coverage.rule
        return LockedTag(
            workspace=self.check.workspace,
            repository=self.check.repository.name,
            tag=tag.name,
            state=state,
            digest=self.digest.value,
            rule_name=rule.name if rule else "",
            rule_pattern=rule.pattern if rule else "",
            settings_version=self.policy.version,
            pushed_by=self.actor.name,
            pushed_by_kind=self.actor.kind,
        )

    def _event(self, kind: EventKind, tag: Tag, digest: Digest | None = None) -> Event:
        rule = self.decisions[tag].coverage.rule
        return Event(
            kind,
            self.check.workspace.slug,
            self.check.repository.name,
            tag.name,
            digest=(digest or self.digest).value,
            rule_name=rule.name if rule else "",
            rule_pattern=rule.pattern if rule else "",
            settings_version=self.policy.version,
        )

    def _answers(
        self,
        reached: dict[Tag, Outcome] | None = None,
        rows: dict[Tag, LockedTag] | None = None,
    ) -> tuple[TagAnswer, ...]:
        locks = self.locks | (rows or {})
        return tuple(
            _answer(
                tag,
                (reached or {}).get(tag, each.outcome),
                each.coverage,
                Digest(locks[tag].digest) if tag in locks else None,
            )
            for tag, each in self.decisions.items()
        )


def _answer(tag: Tag, outcome: Outcome, coverage: Coverage, held: Digest | None) -> TagAnswer:
    is_held = outcome not in (Outcome.UNPROTECTED, Outcome.FREE)
    return TagAnswer(tag, outcome, coverage.rule, held if is_held else None)


def _relay_first(
    in_the_way: list[tuple[Outcome, LockFacts]], pushed: Digest | None, ref: str = ""
) -> Refusal | None:
    """Return what is relayed of several tags: the first final refusal, else "try again"."""
    for outcome, facts in in_the_way:
        if outcome is not Outcome.CLAIM_PENDING:
            return relay_refused_push(outcome, facts, pushed, ref)
    return relay_pending_claim(in_the_way[0][1]) if in_the_way else None


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
