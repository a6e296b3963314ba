"""Verify a workspace's log: that nothing in it was changed, removed or inserted later.

It trusts nothing that was computed before. The memory that it takes does not grow with the log.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from workspaces.log.canonical import (
    FIRST_PREVIOUS_HASH,
    NotCanonicalError,
    format_time,
    hash_document,
    hash_origin,
    to_document,
)
from workspaces.log.checkpoints import Statement
from workspaces.log.kinds import EventKind
from workspaces.log.models import EventOrigin, EventSeal, LockEvent
from workspaces.log.notes import VerifierKey
from workspaces.log.statements import Given, gather_checkpoints
from workspaces.log.triggers import find_missing_guards
from workspaces.models import Workspace

# A sealer takes about a second.
UNSEALED_AFTER = timedelta(minutes=10)
# As long as a transaction may take that writes an event.
LATE_AFTER = timedelta(hours=1)
# The clock of a database that another one took over from may be a little behind.
CLOCK_TOLERANCE = timedelta(minutes=1)
# One is made every day.
CHECKPOINT_AFTER = timedelta(days=2)
_BATCH = 1000


@dataclass
class Verification:
    """What was looked at, and, as it is found, where the walk along the chain is.

    `sealed` events are in the chain, the last one at `last_at`; `unsealed` ones are not yet.
    """

    slug: str
    sealed: int = 0
    unsealed: int = 0
    checkpoints: int = 0
    last_at: datetime | None = None
    findings: int = 0
    _hash: str = FIRST_PREVIOUS_HASH
    _sequence: int = 0
    _latest_at: datetime | None = None
    _latest_at_place: str = ""
    _sealed_at: datetime | None = None
    _uncovered_since: datetime | None = None
    _statements: list[Statement] = field(default_factory=list)
    _sources: dict[Statement, str] = field(default_factory=dict)

    def run(self, keys: list[VerifierKey], given: list[Given]) -> Iterator[str]:
        """Yield a line for every finding. The counts are right when it has come to its end."""
        for finding in self._find(keys, given):
            self.findings += 1
            yield finding

    def describe(self) -> str:
        """Return a line of what was looked at, and how it ended."""
        parts = [
            f"{self.findings} finding{'' if self.findings == 1 else 's'}",
            f"{self.sealed} events sealed"
            + (f", the last one of {format_time(self.last_at)}" if self.last_at else ""),
            f"{self.unsealed} not sealed yet",
            f"{self.checkpoints} checkpoints with a good signature",
        ]
        if not self.checkpoints:
            parts.append(
                "without a checkpoint, a log that was completely rewritten cannot be detected"
            )
        return "; ".join(parts) + "."

    def _find(self, keys: list[VerifierKey], given: list[Given]) -> Iterator[str]:
        yield from find_missing_guards()
        gathered = gather_checkpoints(self.slug, keys, given)
        yield from gathered.problems
        self._statements, self._sources = gathered.in_order, gathered.sources
        self.checkpoints = len(self._statements)
        yield from self._check_statements_of_nothing()
        for batch in self._iterate_seals():
            events = LockEvent.objects.in_bulk([seal.event_id for seal in batch])
            origins = EventOrigin.objects.in_bulk(list(events), field_name="event_id")
            for seal in batch:
                yield from self._check_seal(
                    seal, events.get(seal.event_id), origins.get(seal.event_id)
                )
        yield from self._check_statements_beyond()
        yield from self._check_coverage()
        yield from self._check_doubles()
        yield from self._check_unsealed()
        yield from self._check_beginning()

    def _iterate_seals(self) -> Iterator[list[EventSeal]]:
        # By id too: where the constraint was dropped, a place may be there twice.
        seals = EventSeal.objects.filter(workspace=self.slug).order_by("sequence", "id")
        rest = seals
        while batch := list(rest[:_BATCH]):
            yield batch
            last = batch[-1]
            rest = seals.filter(
                Q(sequence__gt=last.sequence) | Q(sequence=last.sequence, id__gt=last.id),
                sequence__gte=last.sequence,
            )

    def _check_seal(
        self, seal: EventSeal, event: LockEvent | None, origin: EventOrigin | None
    ) -> Iterator[str]:
        """Follow the chain by one seal; what it says is taken for the links behind it."""
        place = f"event {seal.sequence}"
        if seal.sequence != self._sequence + 1:
            yield self._describe_step(seal.sequence)
        if event is None:
            yield f"{place} was removed: its seal exists, but the event does not"
        else:
            place = f"{place} ({event.ref})"
            if event.workspace != self.slug:
                yield f"{place} is of another workspace: {event.workspace!a}"
            if seal.hash != self._expect_hash(event, seal.sequence):
                yield f"{place} was changed, or what is before it: its hash is not the seal's"
            if origin is not None and event.origin_hash != hash_origin(
                origin.salt, origin.address, origin.user_agent
            ):
                yield f"{place}: its origin was changed: its hash is not the event's"
            yield from self._check_time(event, seal, place)
        self.sealed += 1
        self._sequence, self._hash = seal.sequence, seal.hash
        yield from self._check_statements_at(seal)

    def _check_time(self, event: LockEvent, seal: EventSeal, place: str) -> Iterator[str]:
        yield from self._check_clock(seal, place)
        if event.at > seal.sealed_at + CLOCK_TOLERANCE:
            yield f"{place} says {format_time(event.at)}, later than it was sealed"
        else:
            if self._latest_at is not None and event.at < self._latest_at - LATE_AFTER:
                yield (
                    f"{place} was inserted in the past: it says {format_time(event.at)}, and "
                    f"stands behind {self._latest_at_place} of {format_time(self._latest_at)}"
                )
            if self._latest_at is None or event.at > self._latest_at:
                self._latest_at, self._latest_at_place = event.at, place
        self.last_at = event.at

    def _check_clock(self, seal: EventSeal, place: str) -> Iterator[str]:
        """Hold the time of a seal against what the log had come to.

        Where it steps back, that is said once, and times are compared from there on: otherwise a
        clock that once was ahead would make everything look inserted in the past.
        """
        moments = [each for each in (self._latest_at, self._sealed_at) if each is not None]
        latest = max(moments, default=seal.sealed_at)
        if seal.sealed_at < latest - LATE_AFTER:
            yield (
                f"the clock stepped back after event {self._sequence}, or {place} was inserted in "
                f"the past: it was sealed at {format_time(seal.sealed_at)}, and the log had come "
                f"to {format_time(latest)}"
            )
            self._latest_at, self._latest_at_place = None, ""
        elif self._sealed_at is not None and seal.sealed_at < self._sealed_at - CLOCK_TOLERANCE:
            yield f"{place} was sealed earlier than the one before it, as the seals say"
        self._sealed_at = seal.sealed_at

    def _describe_step(self, sequence: int) -> str:
        """Say what is wrong where `sequence` is not the one that follows."""
        if sequence <= self._sequence:
            return f"event {sequence} is sealed twice: the chain forks"
        first, last = self._sequence + 1, sequence - 1
        which = f"event {first} is" if first == last else f"events {first} to {last} are"
        return f"{which} missing: removed, and the seal too"

    def _expect_hash(self, event: LockEvent, sequence: int) -> str:
        try:
            return hash_document(self._hash, to_document(event, sequence))
        except NotCanonicalError:
            return "none"

    def _check_statements_of_nothing(self) -> Iterator[str]:
        while self._statements and self._statements[0].sequence == 0:
            statement = self._statements.pop(0)
            yield f"checkpoint {self._sources[statement]}is of event 0, which never exists"

    def _check_statements_at(self, seal: EventSeal) -> Iterator[str]:
        if self._uncovered_since is None:
            self._uncovered_since = seal.sealed_at
        while self._statements and self._statements[0].sequence <= seal.sequence:
            statement = self._statements.pop(0)
            source = self._sources[statement]
            if statement.sequence < seal.sequence:
                yield f"checkpoint {source} is of event {statement.sequence}, which is missing"
            elif statement.hash != seal.hash:
                yield (
                    f"the log was rewritten: checkpoint {source} signs another hash of event "
                    f"{statement.sequence}"
                )
            self._uncovered_since = None
            if self._latest_at is None or statement.time > self._latest_at:
                self._latest_at = statement.time
                self._latest_at_place = f"the checkpoint of event {statement.sequence}"

    def _check_statements_beyond(self) -> Iterator[str]:
        for statement in self._statements:
            yield (
                f"the log ends at event {self._sequence}, and checkpoint "
                f"{self._sources[statement]} signs event {statement.sequence}: the log was cut "
                "off, or a backup was restored"
            )

    def _check_coverage(self) -> Iterator[str]:
        since = self._uncovered_since
        if since is None:
            return
        old = EventSeal.objects.filter(
            workspace=self.slug, sealed_at=since, sealed_at__lt=Now() - CHECKPOINT_AFTER
        )
        if old.exists():
            yield f"no checkpoint has been made of what was sealed since {format_time(since)}"

    def _check_doubles(self) -> Iterator[str]:
        count = EventSeal.objects.filter(workspace=self.slug).aggregate(
            seals=Count("id"), events=Count("event_id", distinct=True)
        )
        if count["seals"] != count["events"]:
            yield f"{count['seals'] - count['events']} events are sealed at more than one place"

    def _check_unsealed(self) -> Iterator[str]:
        seal = EventSeal.objects.filter(event_id=OuterRef("id"))
        events = LockEvent.objects.filter(workspace=self.slug)
        missing = events.filter(~Exists(seal))
        self.unsealed = missing.count()
        for event in _iterate(missing.filter(at__lt=Now() - UNSEALED_AFTER)):
            yield f"event {event.ref} of {format_time(event.at)} is not sealed"
        # A seal of another chain keeps it from this one, and hides that it was inserted.
        for event in _iterate(events.filter(Exists(seal.exclude(workspace=self.slug)))):
            yield f"event {event.ref} of {format_time(event.at)} is sealed in another chain"

    def _check_beginning(self) -> Iterator[str]:
        """Look for the event that every workspace begins with: a log that is gone has none."""
        created = LockEvent.objects.filter(
            workspace=self.slug, kind=EventKind.WORKSPACE_CREATED
        ).exists()
        if not created and Workspace.objects.filter(slug=self.slug).exists():
            yield (
                "the workspace exists, but no event says that it was created: the beginning of "
                "its log was removed"
            )


def _iterate(events: QuerySet[LockEvent]) -> Iterator[LockEvent]:
    """Yield events by id, whatever ids they were given, some at a time."""
    rest = events = events.order_by("id")
    while batch := list(rest[:_BATCH]):
        yield from batch
        rest = events.filter(id__gt=batch[-1].id)
