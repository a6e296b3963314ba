"""Carry a delete through the gate, or for an admin from a page: decide, begin, send, settle.

`delete_manifest` reads from top to bottom. No transaction is open while the registry is called or
while a delete waits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from containers import writes
from containers.models import Tag as TagRecord
from containers.models import WriteKind
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.writes import RecordMovedError, Result, Sent, Write
from immutability import locks
from immutability.answers import Refusal
from immutability.delete.plan import DeletePlan, DeleteQuestion, hold_delete
from immutability.errors import TryAgainError
from immutability.look import TakenLook, learn_lists, look_at_tag
from immutability.models import LockedTag
from immutability.patience import NotYet, WaitSlots, always_allowed, wait_for
from immutability.policy.decisions import DeleteStep
from immutability.policy.protection import LockState, Protection, cover
from immutability.reading import read_policy
from immutability.reconcile.inventory import find_unread_digests, require_listed
from immutability.refuse import (
    relay_absent_tag,
    relay_changed_tag,
    relay_shared_tag,
    relay_unreadable_list,
)
from immutability.settle import settle_delete
from workspaces.access import Actor
from workspaces.models import Workspace

# The reason in the lock log where an admin gives none.
DELETED_AT_REGISTRY = "deleted through the registry"
# By these a registry says that it cannot delete a single tag.
_UNSUPPORTED = (400, 405)
_TAG_CHANGED = "the tag changed while Taglock looked at it"


@dataclass(frozen=True)
class ManifestDelete:
    """A delete on its way in: of a tag, or of a manifest and with it every tag on it.

    `confirm` asks, within the hold, whether its actor may still do this. It raises
    PermissionRevokedError. With `only` a delete by digest takes this one tag or nothing.
    `as_caller` is the registry for the caller's own credentials, where it keeps accounts: the
    delete is sent by it.
    """

    workspace: Workspace
    repository: RepositoryName
    target: TagName | Digest
    is_admin: bool = False
    reason: str = DELETED_AT_REGISTRY
    confirm: Callable[[], None] = always_allowed
    only: TagName | None = None
    as_caller: RegistryClient | None = None

    @property
    def question(self) -> DeleteQuestion:
        return DeleteQuestion(self.workspace, self.repository, self.target, self.is_admin)


def delete_manifest(
    delete: ManifestDelete, registry: RegistryClient, slots: WaitSlots, *, actor: Actor
) -> RegistryAnswer | Refusal:
    """Decide a delete and carry it out; return the registry's answer, or the refusal.

    Only admins delete what a lock in force holds, and its name stays reserved. A tag that
    the registry cannot delete alone is deleted by digest where no other tag shares its image.
    Raises TryAgainError, PatternError or PatternEvaluationError if nothing could be decided, and
    PermissionRevokedError.
    """
    looks: dict[TagName, TakenLook] = {}
    answer: RegistryAnswer | Refusal | _Unsupported = wait_for(
        lambda: _delete(delete, looks, registry, actor), registry, slots
    )
    if isinstance(answer, _Unsupported):
        return _delete_by_image(delete, answer.tag, registry, slots, actor)
    return answer


@dataclass(frozen=True)
class _Unsupported:
    """The registry cannot delete a single tag."""

    tag: TagName


def _delete(
    delete: ManifestDelete, looks: dict[TagName, TakenLook], registry: RegistryClient, actor: Actor
) -> RegistryAnswer | Refusal | NotYet | _Unsupported:
    # 1. Look, where nothing is known; learn what lists the manifest, and what the tags list.
    if isinstance(delete.target, TagName):
        looks |= _look(delete, delete.target, registry)
    else:
        unreadable = _read_lists(delete, delete.target, registry)
        if unreadable is not None:
            return relay_unreadable_list(delete.repository, delete.target, unreadable)
    # 2. Decide, while what it concerns is held, and begin the write.
    write = _begin(delete, looks, actor)
    if not isinstance(write, Write):
        return write
    # 3. Send.
    sender = delete.as_caller or registry
    sent = writes.send(write, lambda: sender.delete_manifest(delete.repository, delete.target))
    # 4. Settle by the answer.
    settle_delete(write, delete.workspace, delete.repository, sent, actor=actor)
    if isinstance(delete.target, TagName) and _is_unsupported(sent):
        return _Unsupported(delete.target)
    return _answer(sent)


def _look(
    delete: ManifestDelete, tag: TagName, registry: RegistryClient
) -> dict[TagName, TakenLook]:
    """Look at an unknown tag, if it is protected."""
    policy = read_policy(delete.workspace)
    if not cover(policy, tag).is_covered:
        return {}
    record = _read_record(delete, tag)
    if record is not None and record.digest:
        return {}
    return {tag: _take_look(delete, tag, record, registry)}


def _read_record(delete: ManifestDelete, tag: TagName) -> TagRecord | None:
    return TagRecord.objects.filter(
        workspace=delete.workspace, repository=delete.repository.name, name=tag.name
    ).first()


def _take_look(
    delete: ManifestDelete, tag: TagName, record: TagRecord | None, registry: RegistryClient
) -> TakenLook:
    """Look at the tag, whose record was read before: the look counts while it does not change."""
    look = look_at_tag(delete.workspace, delete.repository, tag, registry)
    return TakenLook(look, record.revision if record else 0)


def _begin(
    delete: ManifestDelete, looks: Mapping[TagName, TakenLook], actor: Actor
) -> Write | Refusal | NotYet:
    """Hold, decide, and write what follows: a refusal, or the write that is about to leave."""
    by_digest = delete.target if isinstance(delete.target, Digest) else None
    write = writes.new_write(WriteKind.DELETE, by_digest)
    try:
        with hold_delete(delete.question, looks) as plan:
            delete.confirm()
            if delete.only and (others := [tag for tag in _on_it(plan) if tag != delete.only]):
                return _relay_shared(plan, delete.only, others)
            if plan.refused:
                plan.adopt_present()
                return plan.refuse(actor=actor)
            if plan.must_wait or plan.tags_with(DeleteStep.LOOK):
                return plan.not_yet()
            if isinstance(delete.target, TagName) and not plan.taken:
                return relay_absent_tag(delete.repository, delete.target)
            plan.adopt_present()
            plan.begin(actor=actor, reason=delete.reason)
            if plan.manifest is not None:
                writes.begin_delete(write, plan.manifest, plan.now)
            writes.begin_write(write, [plan.records[tag] for tag in plan.taken], plan.now)
    except RecordMovedError:
        return NotYet()
    return write


def _relay_shared(plan: DeletePlan, tag: TagName, others: list[TagName]) -> Refusal:
    """Say which tags share the image of one that was to be deleted alone, and what helps."""
    image = None if plan.refused else Digest(str(plan.question.target))
    row = plan.locks.get(tag)
    is_held = row is not None and row.state != LockState.RELEASED
    is_locked = is_held and cover(plan.policy, tag).is_covered
    return relay_shared_tag(plan.question.repository, tag, others, image, is_locked=is_locked)


def _on_it(plan: DeletePlan) -> list[TagName]:
    """Return the tags that point at the manifest, or may."""
    return [tag for tag, each in sorted(plan.decisions.items()) if each.step != DeleteStep.PASS]


def _read_lists(delete: ManifestDelete, digest: Digest, registry: RegistryClient) -> Digest | None:
    """Learn all that decides a delete by digest: the repository's tags, and what they list.

    Returns a protected manifest that cannot be read: it may list this one. Raises TryAgainError.
    """
    is_protected = read_policy(delete.workspace).protection is not Protection.NONE
    if not (is_protected or delete.only):
        return None
    require_listed(delete.workspace, delete.repository, registry)
    if not is_protected:
        return None
    unread = find_unread_digests(delete.workspace, delete.repository)
    unreadable = learn_lists(delete.workspace, delete.repository, unread, registry)
    return min(unreadable - {digest}, default=None)


def _is_unsupported(sent: Sent) -> bool:
    is_refused = sent.result is Result.REFUSED and sent.answer is not None
    return is_refused and sent.answer is not None and sent.answer.status in _UNSUPPORTED


def _delete_by_image(
    delete: ManifestDelete, tag: TagName, registry: RegistryClient, slots: WaitSlots, actor: Actor
) -> RegistryAnswer | Refusal:
    """Delete a tag on a registry that deletes no single tags: by digest, if it is alone on it."""
    taken = _take_look(delete, tag, _read_record(delete, tag), registry)
    shown = taken.look.digest
    if shown is None:
        return _reserve_absent(delete, tag, taken.revision, actor)
    row = LockedTag.objects.filter(
        workspace=delete.workspace, repository=delete.repository.name, tag=tag.name
    ).first()
    if row is not None and row.digest != shown.value and row.state != LockState.RESERVED:
        return relay_changed_tag(delete.repository, tag, Digest(row.digest), shown)
    return delete_manifest(replace(delete, target=shown, only=tag), registry, slots, actor=actor)


def _reserve_absent(
    delete: ManifestDelete, tag: TagName, revision: int, actor: Actor
) -> RegistryAnswer | Refusal:
    """The registry does not have the tag, so nothing has to be sent: reserve an admin's name.

    `revision` is the record's from before the look that showed this.
    """
    try:
        return _hold_absent(delete, tag, revision, actor)
    except RecordMovedError as error:
        raise TryAgainError(_TAG_CHANGED) from error


def _hold_absent(
    delete: ManifestDelete, tag: TagName, revision: int, actor: Actor
) -> RegistryAnswer | Refusal:
    with hold_delete(delete.question) as plan:
        delete.confirm()
        if plan.must_wait and (refusal := plan.not_yet().refusal) is not None:
            return refusal
        if plan.records[tag].revision != revision:
            raise TryAgainError(_TAG_CHANGED)
        row = plan.locks.get(tag)
        if plan.tags_with(DeleteStep.RESERVE) and row is not None:
            locks.begin_deleting(row, delete.reason, plan.now, actor=actor)
            locks.reserve(row, origin=actor.origin)
            record = plan.records[tag]
            writes.set_shown(record, "", plan.now)
            writes.save_record(record, plan.now)
            return RegistryAnswer(202)
    return relay_absent_tag(delete.repository, tag)


def _answer(sent: Sent) -> RegistryAnswer:
    """Return what the client is told. Raises TryAgainError if the registry did not say."""
    if sent.answer is not None and sent.result in (Result.LANDED, Result.REFUSED):
        return sent.answer
    raise TryAgainError(sent.why)
