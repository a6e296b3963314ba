"""Record a refusal, and phrase what the registry relays to the client."""

from datetime import datetime

from django.conf import settings

from containers.names import Digest, RepositoryName, TagName
from immutability.answers import Refusal
from immutability.models import LockedTag
from immutability.policy.decisions import Stray
from immutability.policy.messages import (
    LockFacts,
    describe_in_use,
    describe_refused_delete,
    describe_refused_push,
    oci_error,
)
from immutability.policy.protection import LockState, Outcome
from immutability.policy.waiting import (
    describe_delete_in_flight,
    describe_open_delete,
    describe_push_in_flight,
    describe_stray,
    seconds_until,
)
from workspaces.access import Actor
from workspaces.caller_access import describe_archived
from workspaces.current_request import RequestOutcome, current_request
from workspaces.log.append import append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

# Statuses of refusals that no repetition changes, and that no other request would avoid.
_FINAL = (403, 405, 409)
# How many tags a message names; the detail has all of them.
MAX_TAGS_NAMED = 10


def record_refused_push(
    row: LockedTag, outcome: Outcome, pushed: Digest, workspace: Workspace, *, actor: Actor
) -> str:
    """Record that `row` refused a push, and return the event's ref."""
    reason = "the name is reserved" if outcome is Outcome.RESERVED else "the tag is locked"
    return _record(EventKind.PUSH_REFUSED, row, workspace, reason, pushed.value, actor)


def record_refused_delete(row: LockedTag, workspace: Workspace, *, actor: Actor) -> str:
    """Record that `row` refused a delete, and return the event's ref."""
    reason = "only admins may delete a locked tag"
    return _record(EventKind.DELETE_REFUSED, row, workspace, reason, "", actor)


def record_in_use(row: LockedTag, child: Digest, workspace: Workspace, *, actor: Actor) -> str:
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
        # Programs read words, too: a reserved name has no tag, so nothing of it is immutable.
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


def relay_in_use(facts: LockFacts, child: Digest, ref: str) -> Refusal:
    """Return the final refusal of the delete of what a locked index lists."""
    link = _link(facts, ref)
    detail = {"reason": "TAG_IMMUTABLE", "state": "locked", **_lock_detail(facts, ref, link)}
    detail["deleted_digest"] = child.value
    return Refusal(403, oci_error("DENIED", describe_in_use(facts, child, link), detail))


def relay_absent_tag(repository: RepositoryName, tag: TagName) -> Refusal:
    """Return the answer to the delete of a tag that is not there."""
    message = f'{repository} has no tag "{tag}".'
    return Refusal(404, oci_error("MANIFEST_UNKNOWN", message, {"tag": tag.name}))


def relay_shared_tag(
    repository: RepositoryName,
    tag: TagName,
    others: list[TagName],
    image: Digest | None,
    *,
    is_locked: bool,
) -> Refusal:
    """Return the final answer to the delete of a tag that shares its image with others.

    `image` is None where its delete, which takes all of them, would be refused.
    """
    named = ", ".join(f'"{each}"' for each in others[:MAX_TAGS_NAMED])
    more = f" and {len(others) - MAX_TAGS_NAMED} more" if len(others) > MAX_TAGS_NAMED else ""
    push = "Release it and push" if is_locked else "Push"
    or_all = f"; or delete {image}, and all of these tags with it" if image else ""
    message = (
        f'tag "{tag}" of {repository} was not deleted: the registry cannot delete a single tag, '
        f"and {named}{more} would go with its image. {push} another image under this tag, then "
        f"delete it{or_all}."
    )
    detail = {"reason": "SHARED_IMAGE", "tag": tag.name, "tags": [each.name for each in others]}
    return Refusal(405, oci_error("UNSUPPORTED", message, detail))


def relay_changed_tag(
    repository: RepositoryName, tag: TagName, locked: Digest, shown: Digest
) -> Refusal:
    """Return the answer to an admin's delete of a tag that shows another image than its lock."""
    message = (
        f'tag "{tag}" of {repository} was not deleted: it is locked to {locked.short}, and the '
        f"registry shows {shown.short}. Delete {shown} there, then try again."
    )
    detail = {"reason": "TAG_CHANGED", "tag": tag.name, "shown_digest": shown.value}
    return Refusal(409, oci_error("DENIED", message, detail))


def relay_unreadable_list(
    repository: RepositoryName, digest: Digest, unreadable: Digest
) -> Refusal:
    """Return the answer to the delete of an image that a protected one may list, unread."""
    message = (
        f"{digest.short} of {repository} was not deleted: a protected tag needs "
        f"{unreadable.short}, and Taglock cannot read whether that lists it. An admin can delete "
        f"the tags of {unreadable} first."
    )
    detail = {"reason": "LIST_UNREADABLE", "digest": digest.value, "unreadable": unreadable.value}
    return Refusal(409, oci_error("DENIED", message, detail))


def relay_missing_manifest(repository: RepositoryName, index: Digest, missing: Digest) -> Refusal:
    """Return the answer to the push of an index whose images the registry does not all have."""
    message = (
        f"{index.short} lists {missing.short}, which {repository} does not have. "
        "Push that manifest first, then the index."
    )
    detail = {"reason": "MANIFEST_MISSING", "digest": missing.value}
    return Refusal(400, oci_error("MANIFEST_BLOB_UNKNOWN", message, detail))


def relay_archived(workspace: Workspace) -> Refusal:
    """Return the final refusal of a push or a delete in an archived workspace."""
    message = describe_archived(workspace)
    detail = {"reason": "WORKSPACE_ARCHIVED", "workspace": workspace.slug}
    return Refusal(403, oci_error("DENIED", message, detail))


def relay_wait(
    repository: RepositoryName,
    tag: TagName | None,
    row: LockedTag | None,
    stray: Stray | None,
    now: datetime,
    *,
    until: datetime | None = None,
) -> Refusal:
    """Return the answer to a push or delete that has to wait: not decided, so nothing was done.

    `tag` is what it waits for, with its lock and the conflicting stray; without one it waits for
    the delete of a manifest, which can no longer land after `until`.
    """
    if tag is None:
        message = describe_open_delete(repository.name, until, now)
    elif stray is not None:
        message, until = describe_stray(repository.name, tag.name, stray.until, now), stray.until
    elif row is not None and row.state == LockState.DELETING:
        message = describe_delete_in_flight(repository.name, tag.name)
    else:
        pushed = Digest(row.digest).short if row and row.state == LockState.CLAIMED else ""
        message = describe_push_in_flight(repository.name, tag.name, pushed)
    detail = {
        "reason": "CLAIM_PENDING",
        "repository": repository.name,
        "tag": tag.name if tag else None,
    }
    return Refusal(
        503,
        oci_error("UNAVAILABLE", message, detail),
        {"Retry-After": str(seconds_until(until, now))},
    )


def note_refusal(refusal: Refusal) -> None:
    """Note of this thread's request that it is refused, or not decided, and why."""
    noted = current_request()
    noted.cause = refusal.message
    if refusal.status in _FINAL:
        noted.outcome = RequestOutcome.REFUSED


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
