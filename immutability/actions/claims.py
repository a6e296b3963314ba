"""Two-phase pushes: an announced write is confirmed, abandoned, or dropped by an admin."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from containers.known_tags import remember_tags
from containers.reference import Digest, Repository, Tag
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


class ClaimEndedError(Exception):
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
            _give_up(row, attempt)
        elif row.digest != attempt.digest and not tags[tag].is_covered:
            row.delete()
            events.append(_ended_event(attempt, row))
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
def abandon_claim(attempt: Attempt, *, is_unsent: bool = False) -> None:
    """Give up `attempt`: its push came to nothing. Saying it again changes nothing.

    With `is_unsent`, only if it was not sent meanwhile, else ClaimEndedError.

    The tags go back to what they were before, as far as no other attempt is open on them. Raises
    ClaimEndedError where it was confirmed or dropped before.
    """
    rows = _lock_rows(attempt, _tags_of(attempt))
    if _end(attempt, Attempt.Outcome.FAILED, is_unsent=is_unsent):
        for row in rows:
            _give_up(row, attempt)


def drop_claim(row: LockedTag, reason: str, *, actor: Actor) -> None:
    """End every announced push of a claimed tag, and undo its claims, within the transaction.

    A push of several tags is one write: dropping it gives up all of them. Raises MovedError where
    one of the claims has changed meanwhile.
    """
    attempts = list(open_attempts(row))
    rows = {row.id: row}
    for attempt in attempts:
        rows |= {each.id: each for each in _lock_rows(attempt, _tags_of(attempt))}
    Attempt.objects.filter(id__in=[attempt.id for attempt in attempts]).update(
        outcome=Attempt.Outcome.DROPPED, ended_at=timezone.now()
    )
    for each in sorted(rows.values(), key=lambda claim: claim.tag):
        is_claim = each.state == LockState.CLAIMED and each.digest == row.digest
        if is_claim and not open_attempts(each).exists():
            event = each.to_event(EventKind.CLAIM_DROPPED, row.workspace.slug, reason=reason)
            append_event(event, actor=actor)
            _undo_claim(each)


def open_attempts(row: LockedTag) -> QuerySet[Attempt]:
    """Return the attempts on this tag whose end is not known."""
    return Attempt.objects.filter(
        outcome=Attempt.Outcome.OPEN,
        digest=row.digest,
        id__in=AttemptTag.objects.filter(
            workspace=row.workspace_id, repository=row.repository, tag=row.tag
        ).values("attempt"),
    )


def _end(attempt: Attempt, outcome: Attempt.Outcome, *, is_unsent: bool = False) -> bool:
    """End an open attempt; return False where it had this end already.

    Raises ClaimEndedError where it had another.
    """
    still_open = Attempt.objects.filter(id=attempt.id, outcome=Attempt.Outcome.OPEN)
    if is_unsent:
        still_open = still_open.filter(is_sent=False)
    is_ended_now = still_open.update(
        # The bytes were kept to send them again; nobody has to any more.
        outcome=outcome,
        ended_at=timezone.now(),
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


def _ended_event(attempt: Attempt, row: LockedTag) -> Event:
    return row.to_event(
        EventKind.LOCK_ENDED,
        attempt.workspace.slug,
        other_digest=attempt.digest,
        settings_version=attempt.settings_version,
        reason=ANOTHER_IMAGE,
    )


def _lock(row: LockedTag, attempt: Attempt, tag: AttemptTag) -> None:
    """Turn a claim into a lock, by what its successful attempt says."""
    row.state, row.locked_at = LockState.LOCKED, timezone.now()
    row.rule_name, row.rule_pattern = tag.rule_name, tag.rule_pattern
    row.settings_version = attempt.settings_version
    row.pushed_by, row.pushed_by_kind = attempt.actor, attempt.actor_kind
    row.replaced_state = row.replaced_digest = ""
    row.save()


def _give_up(row: LockedTag, attempt: Attempt) -> None:
    """Undo the claim on a tag of an ended attempt, unless another attempt on it is open."""
    is_mine = row.state == LockState.CLAIMED and row.digest == attempt.digest
    if is_mine and not open_attempts(row).exists():
        _undo_claim(row)


def _undo_claim(row: LockedTag) -> None:
    """Put a claimed tag back to what the claim replaced: no lock, reserved, or released."""
    if not row.replaced_state:
        row.delete()
        return
    row.state, row.digest = row.replaced_state, row.replaced_digest
    row.replaced_state = row.replaced_digest = ""
    row.save(update_fields=["state", "digest", "replaced_state", "replaced_digest"])
