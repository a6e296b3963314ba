"""Record a refusal, and word what the registry relays to the client."""

from django.conf import settings

from containers.reference import Digest
from immutability.answers import Refusal
from immutability.models import LockedTag
from immutability.protection import Outcome
from immutability.refusals import (
    RETRY_AFTER_SECONDS,
    LockFacts,
    describe_hollowing,
    describe_pending_claim,
    describe_refused_delete,
    describe_refused_push,
    oci_error,
)
from workspaces.access import Actor
from workspaces.log.append import append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


def record_refused_push(
    row: LockedTag, outcome: Outcome, pushed: Digest, workspace: Workspace, *, actor: Actor
) -> str:
    """Record that `row` stood in the way of a push, and return the event's ref."""
    reason = "the name is reserved" if outcome is Outcome.RESERVED else "the tag is locked"
    return _record(EventKind.PUSH_REFUSED, row, workspace, reason, pushed.value, actor)


def record_refused_delete(row: LockedTag, workspace: Workspace, *, actor: Actor) -> str:
    """Record that `row` stood in the way of a delete, and return the event's ref."""
    reason = "only admins may delete a locked tag"
    return _record(EventKind.DELETE_REFUSED, row, workspace, reason, "", actor)


def record_hollowing(row: LockedTag, child: Digest, workspace: Workspace, *, actor: Actor) -> str:
    """Record that `row`'s index lists what was to be deleted, and return the event's ref."""
    reason = "the index of a locked tag lists it"
    return _record(EventKind.DELETE_REFUSED, row, workspace, reason, child.value, actor)


def relay_refused_push(
    outcome: Outcome, facts: LockFacts, pushed: Digest | None, ref: str = ""
) -> Refusal:
    """Return the final refusal of a push: 403 DENIED, which no client sends again."""
    link = _link(facts, ref)
    message = describe_refused_push(outcome, facts, pushed, link)
    detail = {
        # Programs read words too: a reserved name is not there, so nothing of it is immutable.
        "reason": "TAG_RESERVED" if outcome is Outcome.RESERVED else "TAG_IMMUTABLE",
        "state": outcome.value,
        **_lock_detail(facts, ref, link),
        "pushed_digest": pushed.value if pushed else None,
    }
    return Refusal(403, oci_error("DENIED", message, detail))


def relay_refused_delete(facts: LockFacts, ref: str) -> Refusal:
    """Return the final refusal of a delete."""
    link = _link(facts, ref)
    detail = {"reason": "TAG_IMMUTABLE", "state": "locked", **_lock_detail(facts, ref, link)}
    return Refusal(403, oci_error("DENIED", describe_refused_delete(facts, link), detail))


def relay_hollowing(facts: LockFacts, child: Digest, ref: str) -> Refusal:
    """Return the final refusal of the delete of what a locked index lists."""
    link = _link(facts, ref)
    detail = {"reason": "TAG_IMMUTABLE", "state": "locked", **_lock_detail(facts, ref, link)}
    detail["deleted_digest"] = child.value
    return Refusal(403, oci_error("DENIED", describe_hollowing(facts, child, link), detail))


def relay_impossible_delete(facts: LockFacts, why: str) -> Refusal:
    """Return the final answer to an admin's delete that the registry cannot carry out."""
    detail = {"reason": "CANNOT_DELETE", "repository": facts.repository, "tag": facts.tag}
    message = f'tag "{facts.tag}" of {facts.repository} was not deleted: {why}'
    return Refusal(403, oci_error("DENIED", message, detail))


def relay_pending_claim(facts: LockFacts) -> Refusal:
    """Return the answer to a push or delete that meets a claim: cannot decide yet."""
    detail = {"reason": "CLAIM_PENDING", "repository": facts.repository, "tag": facts.tag}
    return Refusal(
        503,
        oci_error("UNAVAILABLE", describe_pending_claim(facts), detail),
        {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _record(
    kind: EventKind, row: LockedTag, workspace: Workspace, reason: str, other: str, actor: Actor
) -> str:
    return append_repeatable_event(
        row.to_event(kind, workspace.slug, other_digest=other, reason=reason),
        actor=actor,
    )


def _lock_detail(facts: LockFacts, ref: str, link: str) -> dict[str, str | None]:
    return {
        "repository": facts.repository,
        "tag": facts.tag,
        "locked_digest": facts.digest.value,
        "locked_at": facts.locked_at.isoformat() if facts.locked_at else None,
        "rule": facts.coverage.rule.name if facts.coverage and facts.coverage.rule else None,
        "pushed_by": facts.pushed_by or None,
        "event": ref or None,
        "url": link or None,
    }


def _link(facts: LockFacts, ref: str) -> str:
    return f"{settings.PUBLIC_URL}/{facts.workspace}/lock-log/{ref}" if ref else ""
