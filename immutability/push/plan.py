"""What a push has to do, tag by tag: read without a lock to choose the way, held to decide.

Gate and check-push make the same plan. Every answer and every write is decided in a hold.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db import transaction

from containers import writes
from containers.inventory import find_descendants
from containers.models import Manifest
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from immutability import locks, sql
from immutability.answers import Refusal
from immutability.look import TakenLook
from immutability.models import LockedTag
from immutability.patience import NotYet
from immutability.policy.decisions import PushDecision, Step, Stray, decide_push, ends_lock
from immutability.policy.protection import LockState, Outcome, Policy, cover
from immutability.reading import record_facts, require_rights, require_unarchived, rights_column
from immutability.refuse import record_refused_push, relay_refused_push, relay_wait
from workspaces.access import Actor
from workspaces.log.append import Event, append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace
from workspaces.rights import NeededRights


@dataclass(frozen=True)
class PushQuestion:
    """A push of one image under some tags, which are distinct and sorted.

    `children` are the manifests that the pushed one lists; None if only the database may know.
    With `is_check` it is a registry that asks before it writes.
    """

    workspace: Workspace
    repository: RepositoryName
    tags: tuple[TagName, ...]
    digest: Digest
    children: tuple[Digest, ...] | None = None
    is_check: bool = False
    # A client is about to delete the tag, by way of this image.
    is_placeholder: bool = False
    # What the caller must still be allowed where the push is decided.
    rights: NeededRights | None = None

    def find_needed(self) -> list[Digest]:
        """Return the manifest and all that it lists, to any depth, as far as that is known."""
        if self.children == ():
            return [self.digest]
        top = {self.digest, *(self.children or ())}
        return sorted(find_descendants(self.workspace, self.repository, top))


@dataclass
class PushPlan:
    """The decision on each tag of a push, and the rows that it was made by."""

    question: PushQuestion
    policy: Policy
    now: datetime
    records: dict[TagName, TagRecord]
    locks: dict[TagName, LockedTag]
    looks: Mapping[TagName, TakenLook]
    # As it was read: what is known of the pushed manifest, and whether the repository has a row.
    manifest: Manifest | None = None
    is_repository_known: bool = False
    # In a hold: of what the push needs, and of what it adopts; they are locked.
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    is_held: bool = False
    decisions: dict[TagName, PushDecision] = field(init=False)

    def __post_init__(self) -> None:
        """Decide. Raises PatternError, PatternEvaluationError and, held, RecordMovedError."""
        self.decisions = {tag: self._decide(tag) for tag in self.question.tags}

    def _decide(self, tag: TagName) -> PushDecision:
        record, row = self.records.get(tag), self.locks.get(tag)
        taken = self.looks.get(tag)
        revision = self.read_revision(tag)
        decision = decide_push(
            cover(self.policy, tag),
            record_facts(record),
            row.to_lock() if row else None,
            self.question.digest,
            taken.look if taken and taken.revision == revision else None,
            is_check=self.question.is_check,
        )
        adopt = decision.adopt
        if self.is_held and adopt is not None and self._is_news(tag, adopt):
            until = writes.shown_waits_until(adopt, self.manifests, self.now)
            if until is not None:
                return replace(decision, step=Step.WAIT, adopt=None, stray=Stray(None, until))
        is_released = row is not None and row.state == LockState.RELEASED
        if (
            decision.step is Step.UNCHANGED
            and self.policy.refuse_identical_pushes
            and not is_released
        ):
            return replace(decision, step=Step.LOCKED)
        if decision.step is Step.CLAIM and is_released and self.question.is_placeholder:
            # A release is for a new image. Only an admin's delete ends it.
            return replace(decision, step=Step.LOCKED)
        return decision

    def read_revision(self, tag: TagName) -> int:
        """Return the revision that the tag's record had when it was read; 0 without one."""
        record = self.records.get(tag)
        return record.revision if record else 0

    def find_needed(self) -> list[Digest]:
        """Return the manifest and all that it lists, to any depth, as far as that is known."""
        return [self.question.digest] if self.needs_no_other else self.question.find_needed()

    @property
    def needs_no_other(self) -> bool:
        """Whether the manifest lists no other, as far as that is known."""
        is_image = self.manifest is not None and self.manifest.lists_nothing
        return is_image or self.lists_nothing_known

    @property
    def lists_nothing_known(self) -> bool:
        """Whether nothing was known of what the manifest lists, when it was read."""
        is_described = self.manifest is not None and self.manifest.is_read
        return self.question.children is None and not is_described

    def decide_again(self, looks: Mapping[TagName, TakenLook]) -> "PushPlan":
        """Return the plan by the same rows and these looks."""
        return replace(self, looks=looks)

    def tags_with(self, *steps: Step) -> list[TagName]:
        """Return the tags whose next step is one of these, in order."""
        return [tag for tag, each in self.decisions.items() if each.step in steps]

    @property
    def is_refused(self) -> bool:
        """Whether some tag refuses the push for good: then nothing else is done."""
        return bool(self.tags_with(Step.LOCKED, Step.RESERVED))

    @property
    def has_news(self) -> bool:
        """Whether a look has shown of a tag what its record or lock does not say yet."""
        return any(each.adopt is not None or each.shown for each in self.decisions.values())

    @property
    def has_unreadable(self) -> bool:
        """Whether the registry could not read one of the tags."""
        return any(taken.look.unreadable_since is not None for taken in self.looks.values())

    @property
    def changes_nothing(self) -> bool:
        """Whether every tag is at this image already, which is there and lists nothing."""
        row = self.manifest
        return (
            len(self.tags_with(Step.UNCHANGED)) == len(self.decisions)
            and not self.has_news
            and row is not None
            and (row.is_there and row.is_read and row.lists_nothing)
            and writes.open_delete_ends(row, self.now) is None
        )

    @property
    def adopted(self) -> set[Digest]:
        """What looks have shown under tags that nothing holds, and that are to be locked to it."""
        return {
            each.adopt
            for tag, each in self.decisions.items()
            if each.adopt is not None and self._is_news(tag, each.adopt)
        }

    def _is_news(self, tag: TagName, shown: Digest) -> bool:
        """Whether the tag's record does not name this image: deletes of it pass by the tag."""
        record = self.records.get(tag)
        return record is None or record.digest != shown.value

    @property
    def must_wait(self) -> bool:
        """Whether something else has to end first."""
        return bool(self.tags_with(Step.WAIT)) or (
            not self.is_refused and self.open_delete_ends is not None
        )

    @property
    def open_delete_ends(self) -> datetime | None:
        """When a delete of what the push needs can land no more; None if none is open."""
        ends = [writes.open_delete_ends(each, self.now) for each in self.manifests.values()]
        return max((each for each in ends if each), default=None)

    def not_yet(self) -> NotYet:
        """Return what the push waits for, and the answer if it waits in vain."""
        waiting = self.tags_with(Step.WAIT)
        return NotYet(
            self._relay_wait(waiting),
            [self.records[tag].id for tag in waiting if tag in self.records],
        )

    def _relay_wait(self, waiting: list[TagName]) -> Refusal:
        place, now = self.question.repository, self.now
        if not waiting:
            return relay_wait(place, None, None, None, now, until=self.open_delete_ends)
        # The one that takes longest.
        tag = max(waiting, key=lambda tag: ends_at(self.decisions[tag].stray, now))
        return relay_wait(place, tag, self.locks.get(tag), self.decisions[tag].stray, now)

    # ---- what follows, within the hold --------------------------------------------------------

    def adopt_present(self) -> None:
        """Lock what the registry has already under the covered tags; note what a look showed."""
        for tag, decision in self.decisions.items():
            record = self.records[tag]
            if decision.adopt is not None:
                writes.set_shown(record, decision.adopt.value, self.now)
                writes.save_record(record, self.now)
                self.locks[tag] = locks.adopt(
                    record, decision.adopt, decision.coverage, self.policy, self.now
                )
            elif decision.shown:
                writes.set_shown(record, self.question.digest.value, self.now)
                writes.save_record(record, self.now)

    def refuse(self, *, actor: Actor) -> Refusal:
        """Record every refusal, and return the first of them."""
        refusals = []
        for tag in self.tags_with(Step.LOCKED, Step.RESERVED):
            row = self.locks[tag]
            outcome = self.outcome(tag)
            ref = record_refused_push(
                row, outcome, self.question.digest, self.question.workspace, actor=actor
            )
            facts = row.to_facts(self.question.workspace.slug, self.decisions[tag].coverage)
            refusals.append(relay_refused_push(outcome, facts, self.question.digest, ref))
        return refusals[0]

    def record_unchanged(self, *, actor: Actor) -> None:
        """Record the tags that are at this image already."""
        for tag in self.tags_with(Step.UNCHANGED):
            append_repeatable_event(self.event(EventKind.PUSH_IDENTICAL, tag), actor=actor)

    def claim(self, *, actor: Actor) -> None:
        """Write the claims, and end the locks that an unprotected push of another image ends."""
        for tag, decision in self.decisions.items():
            record, row = self.records[tag], self.locks.get(tag)
            if decision.step is Step.CLAIM:
                self.locks[tag] = locks.claim(
                    record,
                    row,
                    self.question.digest,
                    decision.coverage,
                    self.policy,
                    self.now,
                    actor=actor,
                )
        self.end_locks(actor=actor)

    def end_locks(self, *, actor: Actor) -> None:
        """End the locks under which an unprotected push of another image is about to leave."""
        for tag in self.tags_with(Step.SEND):
            row = self.locks.get(tag)
            if row is not None and ends_lock(row.to_lock(), self.question.digest):
                locks.end(
                    row,
                    locks.ANOTHER_IMAGE,
                    self.policy.version,
                    actor=actor,
                    other=self.question.digest,
                )
                del self.locks[tag]

    def outcome(self, tag: TagName) -> Outcome:
        """Return what is told of a tag that is not claimed or locked by this push."""
        return _OUTCOMES[self.decisions[tag].step]

    def event(self, kind: EventKind, tag: TagName) -> Event:
        """Return an event of this push on one of its tags."""
        rule = self.decisions[tag].coverage.rule
        return Event(
            kind,
            self.question.workspace.slug,
            self.question.repository.name,
            tag.name,
            digest=self.question.digest.value,
            rule_name=rule.name if rule else "",
            rule_pattern=rule.pattern if rule else "",
            settings_version=self.policy.version,
        )


def ends_at(stray: Stray | None, now: datetime) -> datetime:
    """Return when a wait is over, as far as that is known."""
    return stray.until if stray else now


_OUTCOMES = {
    Step.SEND: Outcome.UNPROTECTED,
    Step.LOOK: Outcome.CLAIM_PENDING,
    Step.WAIT: Outcome.CLAIM_PENDING,
    Step.CLAIM: Outcome.FREE,
    Step.POINT: Outcome.FREE,
    Step.UNCHANGED: Outcome.UNCHANGED,
    Step.LOCKED: Outcome.LOCKED,
    Step.RESERVED: Outcome.RESERVED,
}


def read_plan(question: PushQuestion, looks: Mapping[TagName, TakenLook]) -> PushPlan:
    """Read in one statement, and decide, to choose the way.

    Answered is only what changes nothing: a refusal, and a push of what is there already.

    Raises PermissionRevokedError, of which ArchivedError is one, PatternError or
    PatternEvaluationError.
    """
    names = [tag.name for tag in question.tags]
    place = (question.workspace.pk, question.repository.name)
    rows = sql.read_push(*place, names, question.digest.value, rights_column(question.rights))
    require_rights(question.rights, rows.right)
    require_unarchived(question.workspace, is_archived=rows.is_archived)
    policy, now = rows.policy, rows.now
    records = {TagName(record.name): record for record, _ in rows.tags}
    for tag, row in records.items():
        is_protected = cover(policy, tag).is_covered
        if writes.is_late(row, now, same_image=question.digest, is_protected=is_protected):
            writes.make_stray(row)  # As the hold will.
    return PushPlan(
        question,
        policy,
        now,
        records,
        {TagName(row.tag): row for _, row in rows.tags if row is not None},
        looks,
        manifest=rows.manifest,
        is_repository_known=rows.is_repository_known,
    )


@contextmanager
def hold_plan(
    plan: PushPlan,
    looks: Mapping[TagName, TakenLook],
    *,
    known_manifests: Collection[Digest] = (),
    described: Manifest | None = None,
    to_refuse: bool = False,
) -> Iterator[PushPlan]:
    """Hold what the push of a plan that was read concerns, and decide; commit what is written.

    `known_manifests` have a row, and `described` is that of the pushed one if it has none. Only to
    refuse, the other manifests are left alone: the plan may then do nothing else. Raises
    RecordMovedError where another row is made at the same moment or something else is to be
    adopted, PermissionRevokedError, PatternError and PatternEvaluationError.
    """
    question, place = plan.question, (plan.question.workspace, plan.question.repository)
    needed = {*plan.adopted, *(() if to_refuse else plan.find_needed())}
    with transaction.atomic():
        inserted = writes.insert_missing(
            *place,
            [tag for tag in question.tags if tag not in plan.records],
            [digest for digest in needed if digest not in known_manifests],
            described=described,
            is_repository_known=plan.is_repository_known,
        )
        manifests = writes.lock_manifests(*place, needed, inserted)
        if not to_refuse and plan.lists_nothing_known:
            # Unless someone has described the manifest since it was read.
            writes.require_undescribed(plan.manifest, manifests[question.digest], inserted)
        records = writes.lock_records(*place, question.tags, inserted)
        # A record that was inserted in this hold has no lock yet.
        known_ids = [record.id for tag, record in records.items() if tag not in inserted.records]
        rows = sql.read_held(question.workspace.pk, known_ids, rights_column(question.rights))
        require_rights(question.rights, rows.right)
        require_unarchived(question.workspace, is_archived=rows.is_archived)
        policy, now = rows.policy, rows.now
        for tag, record in records.items():
            is_protected = cover(policy, tag).is_covered
            writes.expire_write(record, now, same_image=question.digest, is_protected=is_protected)
        held = {TagName(row.tag): row for row in rows.locks}
        for row in held.values():
            row.workspace = question.workspace
        yield PushPlan(
            question, policy, now, records, held, looks, manifests=manifests, is_held=True
        )
