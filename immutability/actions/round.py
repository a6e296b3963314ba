"""One try at a push: what was read, what was decided of it, and how each step is put down.

Check-push and the gate take the same steps in different transactions. Every change of a lock is
bound to what was read: where somebody was faster, MovedError or IntegrityError ends the round, its
transaction is undone, and another round begins.
"""

from collections.abc import Collection, Mapping

from django.db.models import QuerySet
from django.db.models.functions import Now

from containers.reference import Digest, Repository, Tag
from immutability.actions.claims import ANOTHER_IMAGE, CAME_BACK
from immutability.actions.read import MovedError, hold_version, read_locks, read_policy
from immutability.actions.refuse import record_refused_push, relay_pending_claim, relay_refused_push
from immutability.answers import PushAnswer, Refusal, TagAnswer
from immutability.models import LockedTag
from immutability.protection import (
    Coverage,
    Decision,
    LockState,
    Outcome,
    Policy,
    PolicyRule,
    Step,
    decide_push,
)
from immutability.refusals import LockFacts
from workspaces.access import Actor, ActorKind
from workspaces.log.append import Event, append_events, append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


class PushRound:
    """The decisions on the tags of one push, by the policy and the locks of this moment."""

    def __init__(
        self,
        workspace: Workspace,
        repository: Repository,
        tags: Collection[Tag],
        digest: Digest,
        actor: Actor,
    ) -> None:
        """Read and decide. Raises PatternError or PatternEvaluationError."""
        self.workspace = workspace
        self.repository = repository
        self.digest = digest
        self.actor = actor
        self.policy: Policy = read_policy(workspace)
        self.locks = read_locks(workspace, repository, tags)
        self.decisions: dict[Tag, Decision] = {
            tag: decide_push(
                self.policy,
                tag,
                digest,
                self.locks[tag].to_lock() if tag in self.locks else None,
            )
            for tag in sorted(tags)
        }

    def tags_with(self, *steps: Step) -> list[Tag]:
        """Return the tags that need one of these steps, in order."""
        return [tag for tag, each in self.decisions.items() if each.step in steps]

    @property
    def in_the_way(self) -> dict[Tag, LockedTag]:
        """The locks that the push may not pass."""
        return {
            tag: self.locks[tag]
            for tag, each in self.decisions.items()
            if not each.outcome.is_allowed
        }

    @property
    def final_refusals(self) -> dict[Tag, LockedTag]:
        """Those of them that no waiting helps against."""
        return {
            tag: row
            for tag, row in self.in_the_way.items()
            if self.decisions[tag].outcome is not Outcome.CLAIM_PENDING
        }

    def own_claim(self, tag: Tag) -> LockedTag:
        """Return, and hold, the claim that this push has made. Raises MovedError if it is gone."""
        row = (
            LockedTag.objects.select_for_update()
            .filter(
                workspace=self.workspace,
                repository=self.repository.name,
                tag=tag.name,
                state=LockState.CLAIMED,
                digest=self.digest.value,
            )
            .first()
        )
        if row is None:
            raise MovedError
        return row

    def claim(self, state: LockState) -> dict[Tag, LockedTag]:
        """Insert the new locks, sorted and in one statement: all of them, or IntegrityError."""
        rows = [self._new_lock(tag, state) for tag in self.tags_with(Step.CLAIM)]
        LockedTag.objects.bulk_create(rows)
        return {Tag(row.tag): row for row in rows}

    def adopt(self, row: LockedTag, present: Digest) -> None:
        """Turn a claim into the lock of what the registry has already, and record it."""
        row.state, row.digest = LockState.LOCKED, present.value
        # Who pushed it, nobody wrote down: it was there before it was protected.
        row.pushed_by, row.pushed_by_kind = "", ActorKind.SYSTEM
        row.save(update_fields=["state", "digest", "pushed_by", "pushed_by_kind"])
        append_events([self.event(EventKind.TAG_ADOPTED, Tag(row.tag), present)], actor=self.actor)

    def reclaim(self, *, is_two_phase: bool) -> None:
        """Claim, or lock, the reserved and released tags in place.

        A claim that comes to nothing must leave no trace, so it only says what it is for; who
        pushed, and by which rule, is written when it is confirmed.
        """
        for tag in self.tags_with(Step.RECLAIM):
            row = self.locks[tag]
            if is_two_phase:
                self._change_lock(
                    row,
                    state=LockState.CLAIMED,
                    digest=self.digest.value,
                    replaced_state=row.state,
                    replaced_digest=row.digest,
                )
                continue
            fresh = self._new_lock(tag, LockState.LOCKED)
            self._change_lock(
                row,
                state=LockState.LOCKED,
                digest=fresh.digest,
                rule_name=fresh.rule_name,
                rule_pattern=fresh.rule_pattern,
                settings_version=fresh.settings_version,
                pushed_by=fresh.pushed_by,
                pushed_by_kind=fresh.pushed_by_kind,
                locked_at=Now(),
                deleted_by="",
                deleted_at=None,
            )

    def rules_of(self, tags: Collection[Tag]) -> dict[Tag, PolicyRule | None]:
        """Return the rule that covers each of these tags; None for all tags, or for no cover."""
        return {tag: self.decisions[tag].coverage.rule for tag in tags}

    def join(self, *, is_two_phase: bool) -> None:
        """Join the claims of the same image, or lock them outright.

        A claim that is joined is touched too, so that nobody gives it up before this attempt is on
        record.
        """
        for tag in self.tags_with(Step.JOIN):
            if is_two_phase:
                self._change_lock(self.locks[tag], state=LockState.CLAIMED)
            else:
                self._change_lock(
                    self.locks[tag],
                    state=LockState.LOCKED,
                    locked_at=Now(),
                    replaced_state="",
                    replaced_digest="",
                    deleted_by="",
                    deleted_at=None,
                )

    def displace(self) -> None:
        """Put a claim in place of the suspended locks that another image is about to end.

        Until it is known to have landed, nobody knows whether such a lock holds again; if it has
        not, the claim goes back to the lock. Whoever pushes meanwhile touches the claim, so that it
        does not go back while that push is under way.
        """
        for tag in self.tags_with(Step.END_LOCK):
            row = self.locks[tag]
            self._change_lock(
                row,
                state=LockState.CLAIMED,
                digest=self.digest.value,
                replaced_state=row.state,
                replaced_digest=row.digest,
            )
        for tag in self.tags_with(Step.NOTHING):
            row = self.locks[tag]
            is_uncovered = not self.decisions[tag].coverage.is_covered
            if is_uncovered and row.state == LockState.CLAIMED:
                self._change_lock(row, state=LockState.CLAIMED)

    def restore(self) -> None:
        """Lock the reserved tags whose image comes back while they are not protected."""
        for tag in self.tags_with(Step.RESTORE):
            self._change_lock(
                self.locks[tag], state=LockState.LOCKED, deleted_by="", deleted_at=None
            )
            append_events(
                [
                    self.locks[tag].to_event(
                        EventKind.TAG_LOCKED, self.workspace.slug, reason=CAME_BACK
                    )
                ],
                actor=self.actor,
            )

    def end_locks(self) -> None:
        """End the suspended locks that another image ends, unless the settings have moved."""
        for tag in self.tags_with(Step.END_LOCK):
            hold_version(self.workspace, self.policy.version)
            row = self.locks[tag]
            if not _same(row).delete()[0]:
                raise MovedError
            append_events(
                [
                    row.to_event(
                        EventKind.LOCK_ENDED,
                        self.workspace.slug,
                        other_digest=self.digest.value,
                        settings_version=self.policy.version,
                        reason=ANOTHER_IMAGE,
                    )
                ],
                actor=self.actor,
            )

    def record_locked(self, tags: Collection[Tag]) -> None:
        """Record that these tags are locked now."""
        append_events(
            [self.event(EventKind.TAG_LOCKED, tag) for tag in sorted(tags)], actor=self.actor
        )

    def record_identical_pushes(self) -> None:
        """Record the tags that point at this image already."""
        for tag, decision in self.decisions.items():
            if decision.outcome is Outcome.UNCHANGED:
                append_repeatable_event(self.event(EventKind.PUSH_IDENTICAL, tag), actor=self.actor)

    def refuse(
        self,
        blocking: Mapping[Tag, LockedTag],
        adopted: Mapping[Tag, LockedTag] | None = None,
    ) -> PushAnswer:
        """Record that these locks stand in the way, and return the refusal."""
        reached: dict[Tag, Outcome] = dict.fromkeys(adopted or (), Outcome.UNCHANGED)
        refs: list[str] = []
        for tag, row in sorted(blocking.items()):
            decided = self.decisions[tag].outcome
            reached[tag] = Outcome.LOCKED if decided is Outcome.FREE else decided
            if reached[tag] is not Outcome.CLAIM_PENDING:
                refs.append(
                    record_refused_push(
                        row, reached[tag], self.digest, self.workspace, actor=self.actor
                    )
                )
        facts = [
            (reached[tag], row.to_facts(self.workspace.slug, self.decisions[tag].coverage))
            for tag, row in sorted(blocking.items())
        ]
        refusal = relay_first(facts, self.digest, refs[0] if refs else "")
        return PushAnswer(self.answers(reached, {**blocking, **(adopted or {})}), refusal)

    def answers(
        self,
        reached: Mapping[Tag, Outcome] | None = None,
        rows: Mapping[Tag, LockedTag] | None = None,
    ) -> tuple[TagAnswer, ...]:
        """Return the answer for each tag: as decided, or as `reached` since."""
        locks = {**self.locks, **(rows or {})}
        return tuple(
            answer_tag(
                tag,
                (reached or {}).get(tag, each.outcome),
                each.coverage,
                Digest(locks[tag].digest) if tag in locks else None,
            )
            for tag, each in self.decisions.items()
        )

    def event(self, kind: EventKind, tag: Tag, digest: Digest | None = None) -> Event:
        """Return an event of this push on one of its tags."""
        rule = self.decisions[tag].coverage.rule
        return Event(
            kind,
            self.workspace.slug,
            self.repository.name,
            tag.name,
            digest=(digest or self.digest).value,
            rule_name=rule.name if rule else "",
            rule_pattern=rule.pattern if rule else "",
            settings_version=self.policy.version,
        )

    def _new_lock(self, tag: Tag, state: LockState) -> LockedTag:
        rule = self.decisions[tag].coverage.rule
        return LockedTag(
            workspace=self.workspace,
            repository=self.repository.name,
            tag=tag.name,
            state=state,
            digest=self.digest.value,
            rule_name=rule.name if rule else "",
            rule_pattern=rule.pattern if rule else "",
            settings_version=self.policy.version,
            pushed_by=self.actor.name,
            pushed_by_kind=self.actor.kind,
        )

    def _change_lock(self, row: LockedTag, **changes: str | int | Now | None) -> None:
        """Change a lock that is still as it was read. Raises MovedError where it is not."""
        if not _same(row).update(**changes):
            raise MovedError
        for name, value in changes.items():
            setattr(row, name, value)


def answer_tag(tag: Tag, outcome: Outcome, coverage: Coverage, held: Digest | None) -> TagAnswer:
    """Return the answer for one tag; what holds it is told only where something does."""
    is_held = outcome not in (Outcome.UNPROTECTED, Outcome.FREE)
    return TagAnswer(tag, outcome, coverage.rule, held if is_held else None)


def relay_first(
    in_the_way: list[tuple[Outcome, LockFacts]], pushed: Digest | None, ref: str = ""
) -> Refusal | None:
    """Return what is relayed of several tags: the first final refusal, else "try again"."""
    for outcome, facts in in_the_way:
        if outcome is not Outcome.CLAIM_PENDING:
            return relay_refused_push(outcome, facts, pushed, ref)
    return relay_pending_claim(in_the_way[0][1]) if in_the_way else None


def _same(row: LockedTag) -> QuerySet[LockedTag]:
    return LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest)
