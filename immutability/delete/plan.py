"""What a delete has to do, tag by tag, decided while the records are held.

Gate, check-delete and the admins' pages make the same plan.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from containers import writes
from containers.inventory import find_ancestors
from containers.models import Manifest
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from immutability import locks, sql
from immutability.answers import Refusal
from immutability.look import TakenLook
from immutability.models import LockedTag
from immutability.patience import NotYet
from immutability.policy.decisions import (
    DeleteDecision,
    DeleteStep,
    DigestDecision,
    DigestStep,
    Stray,
    decide_delete,
    decide_delete_by_digest,
)
from immutability.policy.protection import LockState, Policy, cover
from immutability.push.plan import ends_at
from immutability.reading import record_facts, require_rights, require_unarchived, rights_column
from immutability.refuse import (
    record_in_use,
    record_refused_delete,
    relay_in_use,
    relay_refused_delete,
    relay_wait,
)
from workspaces.access import Actor
from workspaces.models import Workspace
from workspaces.rights import NeededRights

NO_LOOKS: Mapping[TagName, TakenLook] = {}


@dataclass(frozen=True)
class DeleteQuestion:
    """A delete of a tag, or of a manifest and with it every tag that points at it.

    `rights` are what its caller must still be allowed where it is decided; None if they do not
    change.
    """

    workspace: Workspace
    repository: RepositoryName
    target: TagName | Digest
    is_admin: bool = False
    rights: NeededRights | None = None


@dataclass
class DeletePlan:
    """The decision on each tag that a delete concerns, and the held rows that it was made by."""

    question: DeleteQuestion
    policy: Policy
    now: datetime
    records: dict[TagName, TagRecord]
    locks: dict[TagName, LockedTag]
    decisions: Mapping[TagName, DeleteDecision | DigestDecision]
    # Of a delete by digest: the manifest's row, which is held.
    manifest: Manifest | None = None

    def tags_with(self, *steps: str) -> list[TagName]:
        """Return the tags whose next step is one of these, in order."""
        return [tag for tag, each in sorted(self.decisions.items()) if each.step in steps]

    @property
    def refused(self) -> list[TagName]:
        """The tags that refuse the delete for good."""
        return self.tags_with(DeleteStep.LOCKED, DigestStep.IN_USE)

    @property
    def waiting(self) -> list[TagName]:
        """The tags on which something else has to end first."""
        return self.tags_with(DeleteStep.WAIT)

    @property
    def taken(self) -> list[TagName]:
        """The tags that go."""
        return self.tags_with(DeleteStep.SEND, DigestStep.TAKE, DeleteStep.RESERVE)

    @property
    def must_wait(self) -> bool:
        """Whether something else has to end first."""
        return bool(self.waiting) or self.open_delete_ends is not None

    @property
    def open_delete_ends(self) -> datetime | None:
        """When another delete of the same manifest can land no more; None if none is open."""
        return writes.open_delete_ends(self.manifest, self.now) if self.manifest else None

    def not_yet(self) -> NotYet:
        """Return what the delete waits for, and the answer if it waits in vain."""
        place, now = self.question.repository, self.now
        if not self.waiting:
            return NotYet(relay_wait(place, None, None, None, now, until=self.open_delete_ends))
        tag = max(self.waiting, key=lambda tag: ends_at(self.decisions[tag].stray, now))
        refusal = relay_wait(place, tag, self.locks.get(tag), self.decisions[tag].stray, now)
        return NotYet(refusal, [self.records[tag].id for tag in self.waiting])

    # ---- what follows, within the hold --------------------------------------------------------

    def adopt_present(self) -> None:
        """Lock what is there already under the covered tags: they count as locked."""
        for tag, decision in self.decisions.items():
            if decision.adopt is None:
                continue
            record = self.records[tag]
            writes.set_shown(record, decision.adopt.value, self.now)
            writes.save_record(record, self.now)
            self.locks[tag] = locks.adopt(
                record, decision.adopt, decision.coverage, self.policy, self.now
            )

    def refuse(self, *, actor: Actor) -> Refusal:
        """Record every refusal, and return the first of them."""
        refusals = []
        workspace, target = self.question.workspace, self.question.target
        for tag in self.refused:
            row = self.locks[tag]
            facts = row.to_facts(workspace.slug, self.decisions[tag].coverage)
            if self.decisions[tag].step == DigestStep.IN_USE and isinstance(target, Digest):
                ref = record_in_use(row, target, workspace, actor=actor)
                refusals.append(relay_in_use(facts, target, ref))
            else:
                ref = record_refused_delete(row, workspace, actor=actor)
                refusals.append(relay_refused_delete(facts, ref))
        return refusals[0]

    def begin(self, *, actor: Actor, reason: str) -> None:
        """Say of each lock what the delete that is about to leave means for it.

        An admin's delete makes a covered tag `deleting`; any other ends the lock that it has. A
        delete by digest leaves a reserved name.
        """
        is_by_digest = isinstance(self.question.target, Digest)
        for tag in self.taken:
            row = self.locks.get(tag)
            if row is None:
                continue
            if self.decisions[tag].step == DeleteStep.RESERVE:
                locks.begin_deleting(row, reason, self.now, actor=actor)
            elif not (is_by_digest and row.state == LockState.RESERVED):
                locks.end(row, locks.DELETED_UNPROTECTED, self.policy.version, actor=actor)
                del self.locks[tag]


@contextmanager
def hold_delete(
    question: DeleteQuestion, looks: Mapping[TagName, TakenLook] = NO_LOOKS
) -> Iterator[DeletePlan]:
    """Hold what a delete concerns, and decide; commit what the caller writes.

    `looks` has what the registry showed under the tag to be deleted. Raises PatternError and
    PatternEvaluationError, and RecordMovedError if a row is made, or a tag that is to be adopted
    changes, at the same moment; and PermissionRevokedError.
    """
    with transaction.atomic():
        if isinstance(question.target, TagName):
            yield _hold_tag(question, question.target, looks)
        else:
            yield _hold_digest(question, question.target)


def _hold_tag(
    question: DeleteQuestion, tag: TagName, looks: Mapping[TagName, TakenLook]
) -> DeletePlan:
    place = (question.workspace, question.repository)
    look = looks.get(tag)
    shown = look.look.digest if look else None
    shown_digests = [shown] if shown else []
    inserted = writes.insert_missing(*place, [tag], shown_digests)
    manifests = writes.lock_manifests(*place, shown_digests, inserted)
    records = writes.lock_records(*place, [tag], inserted)
    policy, now, rows = _read_held(question, records)
    record, row = records[tag], rows.get(tag)
    decision = decide_delete(
        cover(policy, tag),
        record_facts(record),
        row.to_lock() if row else None,
        look.look if look and look.revision == record.revision else None,
        is_admin=question.is_admin,
    )
    if decision.adopt is not None and not record.digest:
        until = writes.shown_waits_until(decision.adopt, manifests, now)
        if until is not None:
            stray = Stray(None, until)
            decision = replace(decision, step=DeleteStep.WAIT, adopt=None, stray=stray)
    return DeletePlan(question, policy, now, records, rows, {tag: decision})


def _hold_digest(question: DeleteQuestion, digest: Digest) -> DeletePlan:
    """Hold the manifest first: from then on no record comes to name it."""
    place = (question.workspace, question.repository)
    writes.make_known(*place)
    inserted = writes.insert_missing(*place, (), [digest])
    manifest = writes.lock_manifests(*place, [digest], inserted)[digest]
    parents = frozenset(find_ancestors(*place, digest))
    tags = find_concerned(question, digest, parents)
    records = writes.lock_records(*place, tags)
    policy, now, rows = _read_held(question, records)
    decisions = {
        tag: decide_delete_by_digest(
            cover(policy, tag),
            record_facts(record),
            rows[tag].to_lock() if tag in rows else None,
            digest,
            parents,
            is_admin=question.is_admin,
        )
        for tag, record in records.items()
    }
    return DeletePlan(question, policy, now, records, rows, decisions, manifest)


def find_concerned(
    question: DeleteQuestion, digest: Digest, parents: frozenset[Digest]
) -> list[TagName]:
    """Return the tags whose digest, write, stray or lock names the manifest, or what lists it."""
    named = [digest.value, *(parent.value for parent in parents)]
    place = {"workspace": question.workspace, "repository": question.repository.name}
    records = TagRecord.objects.filter(**place).values_list("name", flat=True)
    locks_here = {f"lock__{name}": value for name, value in place.items()}
    # One statement, so that nothing moves from one part to another between them; of several parts,
    # since each has an index of its own.
    names = records.filter(digest__in=named).union(
        records.filter(write_id__isnull=False, write_digest__in=["", *named]),
        records.filter(stray_until__isnull=False, stray_digest__in=["", *named]),
        records.filter(**locks_here, lock__digest__in=named),
    )
    return [TagName(name) for name in sorted(names)]


def _read_held(
    question: DeleteQuestion, records: dict[TagName, TagRecord]
) -> tuple[Policy, datetime, dict[TagName, LockedTag]]:
    ids = [record.id for record in records.values()]
    rows = sql.read_held(question.workspace.pk, ids, rights_column(question.rights))
    require_rights(question.rights, rows.right)
    require_unarchived(question.workspace, is_archived=rows.is_archived)
    for tag, record in records.items():
        is_protected = cover(rows.policy, tag).is_covered
        writes.expire_write(record, rows.now, is_protected=is_protected)
    held = {TagName(row.tag): row for row in rows.locks}
    for row in held.values():
        row.workspace = question.workspace
    return rows.policy, rows.now, held
