"""Carry a push to the registry: claim first, look second, send third, settle by the answer."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from django.db import transaction
from django.db.models import Q, QuerySet

from containers.connection import release_database
from containers.inventory import find_descendants, record_seen
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from containers.registry.manifest import UnreadableManifestError, read_manifest
from immutability.actions.adopt import adopt_present
from immutability.actions.attempts import (
    DoubtError,
    find_deletes,
    find_under_way,
    is_in_the_way,
    mark_sent,
    open_push,
)
from immutability.actions.claims import abandon_claim
from immutability.actions.read import (
    MovedError,
    UndecidedError,
    always_allowed,
    decide_until_settled,
)
from immutability.actions.resolve import REQUEST_SECONDS, resolve_attempts
from immutability.actions.round import PushRound, relay_first
from immutability.actions.send import send_push
from immutability.answers import Refusal
from immutability.models import Attempt
from immutability.protection import LockState, Outcome
from workspaces.access import Actor
from workspaces.models import Workspace

# How long a push waits for another one of the same tag to come to an end.
HOLD_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.1
# A write whose end is unknown is not sent again more often than this by one waiting push.
_RESOLVE_SECONDS = 1.0


@dataclass(frozen=True)
class ManifestPush:
    """A manifest on its way in: its bytes as they came, and the tags that it is to have.

    With `is_by_digest` the reference is the digest, and the tags, if any, stand in the query.
    `confirm` looks, just before it is sent, whether its actor may push still: it may have waited.
    It raises NoLongerAllowedError.
    """

    workspace: Workspace
    repository: Repository
    tags: tuple[Tag, ...]
    digest: Digest
    body: bytes
    media_type: str
    is_by_digest: bool
    confirm: Callable[[], None] = always_allowed


class Holds:
    """How many pushes may wait at once, so that held ones never starve the others."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    def try_take(self) -> bool:
        """Take a place, if there is one."""
        return self._free.acquire(blocking=False)

    def give_back(self) -> None:
        """Give the place back."""
        self._free.release()


class _UnderWayError(Exception):
    """Another write of the same tag is under way; `refusal` says so, where a lock does."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        super().__init__("another write of the same tag is under way")
        self.refusal = refusal


def push_manifest(
    push: ManifestPush, registry: RegistryClient, holds: Holds, *, actor: Actor
) -> RegistryAnswer | Refusal:
    """Decide a push and carry it out; return the registry's answer, or the refusal.

    A push that meets another one of the same tag waits for it, HOLD_SECONDS at most. Raises
    UndecidedError, PatternError or PatternEvaluationError where nothing could be decided, and
    database errors as they come: whoever pushes is told to try again. Raises NoLongerAllowedError.
    """
    if not push.tags:
        return _forward_by_digest(push, registry)
    ends_at = time.monotonic() + HOLD_SECONDS
    is_holding = False
    resolve_again_at = 0.0
    try:
        while True:
            try:
                return decide_until_settled(lambda: _push_once(push, registry, actor))
            except _UnderWayError as error:
                refusal = error.refusal
                is_due = time.monotonic() >= resolve_again_at
                if is_due and resolve_attempts(registry, _find_in_the_way(push), REQUEST_SECONDS):
                    continue
                if is_due:
                    resolve_again_at = time.monotonic() + _RESOLVE_SECONDS
            is_holding = is_holding or holds.try_take()
            if not is_holding or time.monotonic() >= ends_at:
                if refusal is not None:
                    return refusal
                raise UndecidedError("another push of the same tag is under way")
            release_database()
            time.sleep(_LOOK_AGAIN_SECONDS)
    finally:
        if is_holding:
            holds.give_back()


def _push_once(
    push: ManifestPush, registry: RegistryClient, actor: Actor
) -> RegistryAnswer | Refusal:
    decided = PushRound(push.workspace, push.repository, push.tags, push.digest, actor)
    _stop_at_locks(decided)
    if decided.final_refusals:
        with transaction.atomic():
            refusal = decided.refuse(decided.final_refusals).refusal
        if refusal is not None:
            return refusal
    to_write = {
        tag: each.coverage.is_covered
        for tag, each in decided.decisions.items()
        if each.outcome is not Outcome.UNCHANGED
    }
    if _is_blocked(push, None, dict.fromkeys(decided.decisions, True) | to_write):
        raise _UnderWayError
    if not to_write:
        with transaction.atomic():
            decided.record_identical_pushes()
        return _name_unchanged(_forward_by_digest(push, registry), push, to_write)
    attempt = _announce(push, decided, to_write)
    try:
        # Committed first, looked at second: of two that meet, at least one sees the other.
        if _is_blocked(push, attempt, to_write):
            raise _UnderWayError
        if adopt_present(decided, registry, attempt):
            raise MovedError
        push.confirm()
        mark_sent(attempt)
    except Exception:
        abandon_claim(attempt)
        raise
    answer = send_push(attempt, tuple(to_write), registry, actor.origin)
    if answer.is_success:
        with transaction.atomic():
            decided.record_identical_pushes()
        return _name_unchanged(answer, push, to_write)
    return answer


def _name_unchanged(
    answer: RegistryAnswer, push: ManifestPush, to_write: Collection[Tag]
) -> RegistryAnswer:
    """Add the tags that had the image already to those that the registry says it wrote."""
    unchanged = [tag.name for tag in push.tags if tag not in to_write]
    if not push.is_by_digest or not unchanged:
        return answer
    named = [answer.headers["OCI-Tag"]] if "OCI-Tag" in answer.headers else []
    headers = {**answer.headers, "OCI-Tag": ", ".join([*named, *unchanged])}
    return replace(answer, headers=headers)


def _stop_at_locks(decided: PushRound) -> None:
    """Raise _UnderWayError where all that stands in the way is claims of other images."""
    if decided.in_the_way and not decided.final_refusals:
        facts = [
            (decided.decisions[tag].outcome, row.to_facts(decided.workspace.slug))
            for tag, row in decided.in_the_way.items()
        ]
        raise _UnderWayError(relay_first(facts, decided.digest))


def _announce(push: ManifestPush, decided: PushRound, to_write: dict[Tag, bool]) -> Attempt:
    with transaction.atomic():
        decided.claim(LockState.CLAIMED)
        decided.reclaim(is_two_phase=True)
        decided.join(is_two_phase=True)
        decided.displace()
        # Known before it is claimed: a delete must see what a claimed index lists.
        record_seen(push.workspace, push.repository, push.digest, push.body, push.media_type)
        return open_push(
            push.workspace,
            push.repository,
            decided.rules_of(to_write),
            push.digest,
            push.body,
            push.media_type,
            decided.policy.version,
            covered=[tag for tag, is_covered in to_write.items() if is_covered],
            is_by_digest=push.is_by_digest,
            actor=decided.actor,
        )


def _is_blocked(push: ManifestPush, mine: Attempt | None, to_write: dict[Tag, bool]) -> bool:
    """Whether another write under way keeps this one waiting. Raises DoubtError."""
    if is_in_the_way(push.workspace, push.repository, to_write, push.digest, mine):
        return True
    needed = _needed_digests(push)
    if find_deletes(push.workspace, push.repository, needed).exists():
        return True
    if find_deletes(push.workspace, push.repository, needed, in_doubt=True).exists():
        raise DoubtError
    return False


def _find_in_the_way(push: ManifestPush) -> QuerySet[Attempt]:
    """Return the attempts that may keep the push waiting."""
    under_way = find_under_way(push.workspace, push.repository, push.tags)
    deletes = find_deletes(push.workspace, push.repository, _needed_digests(push))
    return Attempt.objects.filter(
        Q(id__in=under_way.values("attempt")) | Q(id__in=deletes.values("id"))
    )


def _needed_digests(push: ManifestPush) -> set[Digest]:
    """The manifest and what it lists, to any depth: no delete of these may be under way."""
    try:
        facts = read_manifest(push.body, push.media_type)
    except UnreadableManifestError:
        return {push.digest}
    return find_descendants(push.workspace, push.repository, {push.digest, *facts.children})


def _forward_by_digest(push: ManifestPush, registry: RegistryClient) -> RegistryAnswer:
    """Store the manifest under its digest, which moves no tag and heals a lost manifest."""
    push.confirm()
    release_database()
    try:
        answer = registry.put_manifest(push.repository, push.digest, push.body, push.media_type)
    except RegistryUnavailableError as error:
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if not (answer.is_success or 400 <= answer.status < 500) or answer.status == 401:
        raise UndecidedError(answer.reason)
    if answer.is_success:
        with transaction.atomic():
            record_seen(push.workspace, push.repository, push.digest, push.body, push.media_type)
    return answer
