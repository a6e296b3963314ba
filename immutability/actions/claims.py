"""Two-phase pushes: an announced write is confirmed, abandoned, or dropped by an admin."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from containers.known_tags import remember_tags
from containers.reference import Digest, Repository, Tag
from immutability.actions.read import UndecidedError
from immutability.answers import ClaimAnswer
from immutability.models import Attempt, AttemptTag, LockedTag
from immutability.protection import LockState, PolicyRule
from workspaces.access import Actor, ActorKind
from workspaces.log.append import Event, append_event, append_events
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

# How long a caller should take to confirm. After it the claim still holds, since its push may yet
# land: only an admin, who can know, drops it.
CLAIM_LEASE_SECONDS = 900


# Why a suspended lock ends, as the lock log says it.
ANOTHER_IMAGE = "another image was pushed while the tag was not protected"
# Why a reserved name is locked again.
CAME_BACK = "the image of the reserved name came back while it was not protected"


class ClaimEndedError(UndecidedError):
    """The claim was ended another way: confirm after abandon, say. The message says which."""


def open_attempt(
    workspace: Workspace,
    repository: Repository,
    rules: Mapping[Tag, PolicyRule | None],
    digest: Digest,
    settings_version: int,
    *,
    actor: Actor,
) -> ClaimAnswer:
    """Announce a write of `digest` within the transaction that claims its tags.

    `rules` has the tags, each with the rule that covers it, or None where all tags are protected.
    """
    attempt = Attempt.objects.create(
        workspace=workspace,
        repository=repository.name,
        digest=digest.value,
        settings_version=settings_version,
        actor=actor.name,
        actor_kind=actor.kind,
        # Told to the caller, and compared with nothing: this node's clock is good enough.
        expires_at=timezone.now() + timedelta(seconds=CLAIM_LEASE_SECONDS),
    )
    add_attempt_tags(attempt, rules, covered=rules)
    return ClaimAnswer(attempt.id, attempt.expires_at)


def add_attempt_tags(
    attempt: Attempt, rules: Mapping[Tag, PolicyRule | None], *, covered: Collection[Tag]
) -> None:
    """Put down which tags `attempt` writes, and by which rule each of the covered ones is."""
    AttemptTag.objects.bulk_create(
        AttemptTag(
            workspace=attempt.workspace,
            attempt=attempt,
            repository=attempt.repository,
            tag=tag.name,
            is_covered=tag in covered,
            rule_name=rule.name if rule else "",
            rule_pattern=rule.pattern if rule else "",
        )
        for tag, rule in sorted(rules.items(), key=lambda item: item[0])
    )


@transaction.atomic
def confirm_claim(
    attempt: Attempt, *, actor: Actor, written: frozenset[Tag] | None = None
) -> list[LockedTag]:
    """Lock what `attempt` has written, and return the locks. Saying it again changes nothing.

    `written` are the tags that the registry says it wrote; left out, all of them. Raises
    ClaimEndedError where the attempt was abandoned or dropped before.
    """
    tags = _tags_of(attempt)
    rows = _lock_rows(attempt, tags)
    landed = frozenset(tags) if written is None else written & frozenset(tags)
    held = [row for row in rows if row.digest == attempt.digest and Tag(row.tag) in landed]
    if not _end(attempt, Attempt.Outcome.SUCCEEDED):
        return held
    events = []
    for row in rows:
        tag = Tag(row.tag)
        if tag not in landed:
            _give_up(row)
        elif not tags[tag].is_covered:
            events += _displace(row, attempt)
        elif row.digest == attempt.digest and row.state == LockState.CLAIMED:
            _lock(row, attempt, tags[tag])
            events.append(row.to_event(EventKind.TAG_LOCKED, attempt.workspace.slug))
    remember_tags(
        attempt.workspace,
        Repository(attempt.repository),
        landed - {Tag(row.tag) for row in rows if row.pk},
        Digest(attempt.digest),
    )
    append_events(events, actor=replace(actor, name=attempt.actor, kind=_kind(attempt)))
    return held


@transaction.atomic
def confirm_adoption(attempt: Attempt, found: Mapping[Tag, Digest], *, actor: Actor) -> None:
    """Lock the tags of an adoption to what the registry has; give up those that it does not have.

    Raises ClaimEndedError where the attempt was given up before.
    """
    rows = _lock_rows(attempt, _tags_of(attempt))
    if not _end(attempt, Attempt.Outcome.SUCCEEDED):
        return
    adopted = []
    for row in rows:
        digest = found.get(Tag(row.tag))
        if digest is None:
            _give_up(row)
        elif row.state == LockState.CLAIMED:
            row.state, row.digest = LockState.LOCKED, digest.value
            row.save(update_fields=["state", "digest"])
            adopted.append(row.to_event(EventKind.TAG_ADOPTED, attempt.workspace.slug))
    append_events(adopted, actor=actor)


@transaction.atomic
def confirm_delete(attempt: Attempt, *, actor: Actor) -> None:
    """The delete has landed: reserve the name that an admin deleted, end suspended locks.

    Raises ClaimEndedError where the attempt was given up before.
    """
    rows = _lock_rows(attempt, _tags_of(attempt))
    if not _end(attempt, Attempt.Outcome.SUCCEEDED):
        return
    for row in rows:
        # A delete by digest names every tag that was known there: some have another image by now.
        is_taken = not attempt.is_by_digest or row.digest == attempt.digest
        if row.state != LockState.DELETING or not is_taken:
            _give_up(row)
            continue
        kind, reason = EventKind.LOCK_ENDED, "the tag was deleted while it was not protected"
        if row.deleted_by:
            kind, reason = EventKind.TAG_DELETED, attempt.reason
            row.state, row.replaced_state = LockState.RESERVED, ""
            row.save(update_fields=["state", "replaced_state"])
        append_event(row.to_event(kind, attempt.workspace.slug, reason=reason), actor=actor)
        if not row.deleted_by:
            row.delete()


@transaction.atomic
def abandon_claim(attempt: Attempt, *, is_unsent: bool = False) -> None:
    """Give up `attempt`: its write came to nothing. Saying it again changes nothing.

    With `is_unsent`, only if it was not sent meanwhile, else ClaimEndedError.

    The tags go back to what they were before, as far as no other attempt is open on them. Raises
    ClaimEndedError where it was confirmed or dropped before.
    """
    _end_and_give_up(attempt, Attempt.Outcome.FAILED, is_unsent=is_unsent)


def end_unsupported(attempt: Attempt) -> None:
    """End a delete that the registry does not know, within the transaction that opens another.

    What it was about stays as it is.
    """
    _end(attempt, Attempt.Outcome.FAILED)


@transaction.atomic
def lapse_claim(attempt: Attempt) -> None:
    """Like abandon_claim, for an unprotected write that nobody has seen and that lands no more."""
    _end_and_give_up(attempt, Attempt.Outcome.LAPSED)


def _end_and_give_up(
    attempt: Attempt, outcome: Attempt.Outcome, *, is_unsent: bool = False
) -> None:
    rows = _lock_rows(attempt, _tags_of(attempt))
    if _end(attempt, outcome, is_unsent=is_unsent):
        for row in rows:
            _give_up(row)


def drop_claim(row: LockedTag, reason: str, *, actor: Actor) -> None:
    """End every push of a claimed tag, and undo its claims, within the transaction.

    A push of several tags is one write: dropping it gives up all of them. What was sent may still
    land: other images wait for a quarantine all the same, and a lock that an unprotected push has
    put aside does not come back, since the next push of the tag adopts what is there.
    """
    attempts = list(_holders(row).select_related("workspace").defer("manifest"))
    rows = {row.id: row}
    for attempt in attempts:
        rows |= {each.id: each for each in _lock_rows(attempt, _tags_of(attempt))}
    dropped = Attempt.objects.filter(id__in=[attempt.id for attempt in attempts])
    dropped.filter(sent_at__isnull=False).update(is_doubted=True)
    dropped.update(outcome=Attempt.Outcome.DROPPED, ended_at=Now(), manifest=b"")
    sent = [attempt for attempt in attempts if attempt.sent_at]
    for each in sorted(rows.values(), key=lambda claim: claim.tag):
        if each.state != LockState.CLAIMED:
            continue
        if each.replaced_state and _may_have_landed(each, sent):
            _record_dropped(each, reason, actor)
            append_event(_ended_event(each, each.digest, each.workspace.slug), actor=actor)
            _end_aside(each)
        elif not _holders(each).exists():
            _record_dropped(each, reason, actor)
            _undo_claim(each)


def _record_dropped(row: LockedTag, reason: str, actor: Actor) -> None:
    event = row.to_event(EventKind.CLAIM_DROPPED, row.workspace.slug, reason=reason)
    append_event(event, actor=actor)


def _may_have_landed(row: LockedTag, sent: list[Attempt]) -> bool:
    """Whether one of these was an unprotected push of the row's tag: its image may be there."""
    return AttemptTag.objects.filter(
        attempt__in=sent, repository=row.repository, tag=row.tag, is_covered=False
    ).exists()


def open_attempts(row: LockedTag) -> QuerySet[Attempt]:
    """Return the attempts on this tag whose end is not known, whatever they bring."""
    return Attempt.objects.filter(
        outcome=Attempt.Outcome.OPEN,
        id__in=AttemptTag.objects.filter(
            workspace=row.workspace_id, repository=row.repository, tag=row.tag
        ).values("attempt"),
    )


def _holders(row: LockedTag) -> QuerySet[Attempt]:
    """Return the open attempts for whose sake a claim, or a delete under way, stands.

    A claim that an unprotected push has made of a suspended lock stands for every unprotected push
    of the tag: as long as any of them may land, nobody knows whether the lock holds again.
    """
    if row.state == LockState.DELETING:
        is_its_own = Q(is_by_digest=False) | Q(digest=row.digest)
        return open_attempts(row).filter(is_its_own, kind=Attempt.Kind.DELETE)
    writes = AttemptTag.objects.filter(
        workspace=row.workspace_id, repository=row.repository, tag=row.tag
    )
    covered = writes.filter(is_covered=True).values("attempt")
    is_held = Q(digest=row.digest, id__in=covered) | Q(kind=Attempt.Kind.ADOPT)
    if row.replaced_state:
        uncovered = writes.filter(is_covered=False).values("attempt")
        is_held |= Q(id__in=uncovered, kind=Attempt.Kind.PUSH)
    return open_attempts(row).filter(is_held)


def _end(attempt: Attempt, outcome: Attempt.Outcome, *, is_unsent: bool = False) -> bool:
    """End an open attempt; return False where it had this end already.

    Raises ClaimEndedError where it had another.
    """
    still_open = Attempt.objects.filter(id=attempt.id, outcome=Attempt.Outcome.OPEN)
    if is_unsent:
        still_open = still_open.filter(sent_at__isnull=True)
    is_ended_now = still_open.update(
        # The bytes were kept to send them again; nobody has to any more.
        outcome=outcome,
        ended_at=Now(),
        manifest=b"",
    )
    if is_ended_now:
        return True
    attempt.refresh_from_db(fields=["outcome"])
    if attempt.outcome != outcome:
        raise ClaimEndedError(f"This claim has ended already: it was {_WORDS[attempt.outcome]}.")
    return False


_WORDS = {
    Attempt.Outcome.OPEN.value: "sent after all",
    Attempt.Outcome.SUCCEEDED.value: "confirmed",
    Attempt.Outcome.FAILED.value: "abandoned",
    Attempt.Outcome.LAPSED.value: "given up as unknown",
    Attempt.Outcome.DROPPED.value: "dropped by an admin; check the push again",
}


def _tags_of(attempt: Attempt) -> dict[Tag, AttemptTag]:
    return {Tag(each.tag): each for each in attempt.tags.all()}


def _lock_rows(attempt: Attempt, tags: Collection[Tag]) -> list[LockedTag]:
    """Return the locks of the attempt's tags, held until the transaction ends.

    Everybody takes locks before attempts, and in the order of the tags as Python sorts them, one by
    one, since a database may collate them otherwise: nobody waits in a circle.
    """
    rows = LockedTag.objects.select_for_update().filter(
        workspace=attempt.workspace_id, repository=attempt.repository
    )
    found = (rows.filter(tag=tag.name).first() for tag in sorted(tags))
    return [row for row in found if row is not None]


def _kind(attempt: Attempt) -> ActorKind:
    return ActorKind(attempt.actor_kind)


def _displace(row: LockedTag, attempt: Attempt) -> list[Event]:
    """Another image has landed under a tag that was not protected: its suspended lock ends.

    Return the event of it. The same image changes nothing, and neither does a claim that is not
    this push's: whoever made it looks at the registry before anything else.
    """
    is_claim = row.state == LockState.CLAIMED
    held = row.replaced_digest if is_claim else row.digest
    if is_claim and not row.replaced_state:
        return []
    if held == attempt.digest:
        events = _bring_back(row, attempt)
        _give_up(row)
        return events
    ended = replace(
        _ended_event(row, attempt.digest, attempt.workspace.slug),
        digest=held,
        settings_version=attempt.settings_version,
    )
    _end_aside(row)
    return [ended]


def _ended_event(row: LockedTag, other_digest: str, workspace: str) -> Event:
    ended = row.to_event(
        EventKind.LOCK_ENDED, workspace, other_digest=other_digest, reason=ANOTHER_IMAGE
    )
    return replace(ended, digest=row.replaced_digest or row.digest)


def _end_aside(row: LockedTag) -> None:
    """End a suspended lock, also one that was put aside; a claim of a protected push stays."""
    covered = AttemptTag.objects.filter(
        workspace=row.workspace_id, repository=row.repository, tag=row.tag, is_covered=True
    )
    is_claim = row.state == LockState.CLAIMED
    if is_claim and _holders(row).filter(id__in=covered.values("attempt")).exists():
        row.replaced_state = row.replaced_digest = ""
        row.save(update_fields=["replaced_state", "replaced_digest"])
    else:
        row.delete()


def _bring_back(row: LockedTag, attempt: Attempt) -> list[Event]:
    """The image of a reserved name is back: the tag is there, so it is locked, and suspended."""
    is_claim = row.state == LockState.CLAIMED
    if (row.replaced_state if is_claim else row.state) != LockState.RESERVED:
        return []
    if is_claim:
        row.replaced_state = LockState.LOCKED
    else:
        row.state = LockState.LOCKED
    row.deleted_by, row.deleted_at = "", None
    row.save(update_fields=["state", "replaced_state", "deleted_by", "deleted_at"])
    back = row.to_event(EventKind.TAG_LOCKED, attempt.workspace.slug, reason=CAME_BACK)
    return [replace(back, digest=attempt.digest)]


def _lock(row: LockedTag, attempt: Attempt, tag: AttemptTag) -> None:
    """Turn a claim into a lock, by what its successful attempt says."""
    row.state, row.locked_at = LockState.LOCKED, Now()
    row.rule_name, row.rule_pattern = tag.rule_name, tag.rule_pattern
    row.settings_version = attempt.settings_version
    row.pushed_by, row.pushed_by_kind = attempt.actor, attempt.actor_kind
    row.replaced_state = row.replaced_digest = ""
    row.deleted_by, row.deleted_at = "", None
    row.save()


def _give_up(row: LockedTag) -> None:
    """Undo the claim on a tag, or the delete of it, unless another open attempt needs it."""
    is_held = row.state in (LockState.CLAIMED, LockState.DELETING)
    if is_held and not _holders(row).exists():
        _undo_claim(row)


def _undo_claim(row: LockedTag) -> None:
    """Put a tag back to what its claim, or its delete, replaced: no lock, or the lock it had."""
    if not row.replaced_state:
        row.delete()
        return
    row.state = row.replaced_state
    row.digest = row.replaced_digest or row.digest
    row.replaced_state = row.replaced_digest = ""
    if row.state != LockState.RESERVED:
        row.deleted_by, row.deleted_at = "", None
    row.save(
        update_fields=[
            "state",
            "digest",
            "replaced_state",
            "replaced_digest",
            "deleted_by",
            "deleted_at",
        ]
    )
