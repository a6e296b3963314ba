"""Carry a delete through the gate, or for an admin from a page: decide, begin, send, settle.

`delete_manifest` reads from top to bottom. No transaction is open while the registry is called or
while a delete waits.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace


from containers import writes
from containers.models import WriteKind
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.writes import RecordMovedError, Result, Sent, Write
from immutability import locks
from immutability.answers import Refusal
from immutability.delete.plan import DeletePlan, DeleteQuestion, hold_delete
from immutability.delete.settle import settle_delete
from immutability.errors import TryAgainError
from immutability.look import learn_lists, look_at_tag
from immutability.models import LockedTag
from immutability.patience import RECONCILE_AGAIN_SECONDS, Patience, WaitSlots
from immutability.policy.decisions import DeleteStep
from immutability.protection import LockState, Protection
from immutability.push.plan import TakenLook
from immutability.reading import read_policy
from immutability.reconcile.inventory import find_unread_digests, require_listed
from immutability.reconcile.tag import reconcile_record
from immutability.refuse import relay_absent_tag, relay_changed_tag, relay_shared_tag
from workspaces.access import Actor
from workspaces.models import Workspace

# The reason in the lock log where an admin gives none.
DELETED_AT_REGISTRY = "deleted through the registry"
# By these a registry says that it cannot delete a single tag.
_UNSUPPORTED = (400, 405)


def _always_allowed() -> None:
    """Confirm for those whose rights do not change while they act."""


@dataclass(frozen=True)
class ManifestDelete:
    """A delete on its way in: of a tag, or of a manifest and with it every tag on it.

    `confirm` asks, within the hold, whether its actor may still do this. It raises
    PermissionRevokedError. With `only` a delete by digest takes this one tag or nothing.
    """

    workspace: Workspace
    repository: Repository
    target: Tag | Digest
    is_admin: bool = False
    reason: str = DELETED_AT_REGISTRY
    confirm: Callable[[], None] = _always_allowed
    only: Tag | None = None

    @property
    def question(self) -> DeleteQuestion:
        return DeleteQuestion(self.workspace, self.repository, self.target, self.is_admin)


def delete_manifest(
    delete: ManifestDelete, registry: RegistryClient, slots: WaitSlots, *, actor: Actor
) -> RegistryAnswer | Refusal:
    """Decide a delete and carry it out; return the registry's answer, or the refusal.

    What a lock in force holds is deleted for admins alone, and its name stays reserved. A tag that
    the registry cannot delete alone is deleted by digest where no other tag shares its image.
    Raises TryAgainError, PatternError or PatternEvaluationError where nothing could be decided, and
    PermissionRevokedError.
    """
    if isinstance(delete.target, Digest):
        _read_lists(delete, registry)
    patience = Patience(slots)
    look: TakenLook | None = None
    try:
        while True:
            # 1. Decide, while what it concerns is held, and begin the write.
            begun = _begin(delete, look, actor)
            if isinstance(begun, _MustLook) and isinstance(delete.target, Tag):
                shown = look_at_tag(delete.repository, delete.target, registry)
                look = TakenLook(shown, begun.revision)
                continue
            if isinstance(begun, _MustWait):
                if _reconcile(begun, registry, patience) or patience.is_left():
                    continue
                return begun.refusal
            if not isinstance(begun, Write):
                return begun
            # 2. Send. 3. Settle by the answer.
            sent = writes.send(
                begun, lambda: registry.delete_manifest(delete.repository, delete.target)
            )
            settle_delete(begun, delete.workspace, delete.repository, sent, actor=actor)
            if _is_unsupported(sent) and isinstance(delete.target, Tag):
                return _delete_by_image(delete, delete.target, registry, slots, actor)
            return _answer(sent)
    finally:
        patience.end()


@dataclass(frozen=True)
class _MustLook:
    """Nothing is known of the tag: look, and decide again if the record keeps this revision."""

    revision: int


@dataclass(frozen=True)
class _MustWait:
    """Other writes have to end first; `records` are those that they are on."""

    refusal: Refusal
    records: list[int]


def _begin(
    delete: ManifestDelete, look: TakenLook | None, actor: Actor
) -> Write | Refusal | _MustLook | _MustWait:
    """Hold, decide, and write what follows: a refusal, or the write that is about to leave."""
    by_digest = delete.target if isinstance(delete.target, Digest) else None
    write = writes.new_write(WriteKind.DELETE, by_digest)
    try:
        with hold_delete(delete.question, look) as plan:
            delete.confirm()
            if plan.tags_with(DeleteStep.LOOK):
                return _MustLook(max(record.revision for record in plan.records.values()))
            if delete.only and (others := [tag for tag in _on_it(plan) if tag != delete.only]):
                return relay_shared_tag(delete.repository, delete.only, others)
            if plan.refused:
                plan.adopt_present()
                return plan.refuse(actor=actor)
            if plan.must_wait:
                return _MustWait(plan.relay_wait(), [plan.records[tag].id for tag in plan.waiting])
            if isinstance(delete.target, Tag) and not plan.taken:
                return relay_absent_tag(delete.repository, delete.target)
            plan.adopt_present()
            plan.begin(actor=actor, reason=delete.reason)
            if plan.manifest is not None:
                writes.begin_delete(write, plan.manifest, plan.now)
            writes.begin_write(write, [plan.records[tag] for tag in plan.taken], plan.now)
    except RecordMovedError as error:
        raise TryAgainError("too many changes at once") from error
    return write


def _on_it(plan: DeletePlan) -> list[Tag]:
    """Return the tags that point at the manifest, or may."""
    return [tag for tag, each in sorted(plan.decisions.items()) if each.step != DeleteStep.PASS]


def _reconcile(wait: _MustWait, registry: RegistryClient, patience: Patience) -> bool:
    """Finish what others left behind on the tags that the delete waits for, if that is possible."""
    if time.monotonic() < patience.reconcile_at:
        return False
    patience.reconcile_at = time.monotonic() + RECONCILE_AGAIN_SECONDS
    return any([reconcile_record(record_id, registry) for record_id in wait.records])


def _read_lists(delete: ManifestDelete, registry: RegistryClient) -> None:
    """Learn all that decides a delete by digest: the repository's tags, and what they list.

    What references are not known completely is not deleted. Raises TryAgainError.
    """
    is_protected = read_policy(delete.workspace).protection is not Protection.NONE
    if not (is_protected or delete.only):
        return
    require_listed(delete.workspace, delete.repository, registry)
    if is_protected:
        unread = find_unread_digests(delete.workspace, delete.repository)
        learn_lists(delete.workspace, delete.repository, unread, registry)


def _is_unsupported(sent: Sent) -> bool:
    is_refused = sent.result is Result.REFUSED and sent.answer is not None
    return is_refused and sent.answer is not None and sent.answer.status in _UNSUPPORTED


def _delete_by_image(
    delete: ManifestDelete, tag: Tag, registry: RegistryClient, slots: WaitSlots, actor: Actor
) -> RegistryAnswer | Refusal:
    """Delete a tag on a registry that deletes no single tags: by digest, if it is alone on it."""
    shown = look_at_tag(delete.repository, tag, registry).digest
    if shown is None:
        return _reserve_absent(delete, tag, actor)
    row = LockedTag.objects.filter(
        workspace=delete.workspace, repository=delete.repository.name, tag=tag.name
    ).first()
    if row is not None and row.digest != shown.value and row.state != LockState.RESERVED:
        return relay_changed_tag(delete.repository, tag, Digest(row.digest), shown)
    return delete_manifest(replace(delete, target=shown, only=tag), registry, slots, actor=actor)


def _reserve_absent(delete: ManifestDelete, tag: Tag, actor: Actor) -> RegistryAnswer | Refusal:
    """The registry does not have the tag, so nothing has to be sent: reserve an admin's name."""
    with hold_delete(delete.question) as plan:
        delete.confirm()
        if plan.must_wait:
            return plan.relay_wait()
        row = plan.locks.get(tag)
        if plan.tags_with(DeleteStep.RESERVE) and row is not None:
            locks.begin_deleting(row, delete.reason, plan.now, actor=actor)
            locks.reserve(row, origin=actor.origin)
            record = plan.records[tag]
            record.digest, record.shown_at = "", plan.now
            writes.save_record(record, plan.now)
            return RegistryAnswer(202)
    return relay_absent_tag(delete.repository, tag)


def _answer(sent: Sent) -> RegistryAnswer:
    """Return what the client is told. Raises TryAgainError where the registry did not say."""
    if sent.answer is not None and sent.result in (Result.LANDED, Result.REFUSED):
        return sent.answer
    reason = sent.answer.reason if sent.answer else ""
    raise TryAgainError(f"{sent.why}: {reason}" if reason else sent.why)
