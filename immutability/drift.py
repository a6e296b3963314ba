"""Note what the registry has instead of what a lock says, and that it is over.

Each within the hold of the tag's record, with the event that tells it. The lock stands: it is a
promise, and what changed the tag has not asked.
"""

from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from containers.models import Tag as TagRecord
from containers.names import Digest
from immutability.models import Drift, LockedTag
from immutability.policy.protection import LockState
from workspaces.access import SYSTEM, Actor
from workspaces.log.append import append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

SHOWN_AGAIN = "the registry shows the locked image"
GONE_AGAIN = "the registry does not have the tag, whose name is reserved"
# Of these the tag itself is elsewhere, and can be pointed at its image again.
MOVED = (Drift.Kind.CHANGED, Drift.Kind.MISSING)
_ELSEWHERE = (*MOVED, Drift.Kind.NOT_PUSHED)


@dataclass(frozen=True)
class Finding:
    """What a look found instead of a lock's image. Of what that lists, `missing` is gone.

    `is_gone`: the registry has the locked image under no name.
    """

    kind: Drift.Kind
    found: Digest | None
    missing: tuple[Digest, ...] = ()
    is_gone: bool = False

    def describe(self, held: Digest) -> str:
        """Return it in words, of a tag that is locked to `held`."""
        match self.kind:
            case Drift.Kind.RESERVED:
                return "its name is reserved, and the registry has the tag"
            case Drift.Kind.INCOMPLETE:
                count = len(self.missing) - 1
                more = f", nor {count} more that it lists" if count else ""
                return (
                    f"locked to {held.short}, which lists {self.missing[0]}: the registry does not "
                    f"have that{more}"
                )
        has = f"has {self.found.short}" if self.found else "does not have the tag"
        gone = "; the locked image is gone from it and cannot be put back" if self.is_gone else ""
        return f"locked to {held.short}, and the registry {has}{gone}"


def note(record: TagRecord, row: LockedTag, finding: Finding, version: int) -> Drift:
    """Record a difference once, for as long as it stays the same; return its row."""
    values: dict[str, Any] = {
        "workspace": record.workspace,
        "kind": finding.kind,
        "digest": row.digest,
        "found": str(finding.found or ""),
        "missing": str(finding.missing[0]) if finding.missing else "",
        "missing_count": len(finding.missing),
        "is_gone": finding.is_gone,
    }
    known = Drift.objects.filter(record=record, **values).first()
    if known is not None:
        return known
    event = append_event(
        row.to_event(
            EventKind.DRIFT_FOUND,
            record.workspace.slug,
            other_digest=values["found"],
            settings_version=version,
            reason=finding.describe(Digest(row.digest)),
        ),
        actor=SYSTEM,
    )
    can_be_repaired = finding.kind in MOVED and not finding.is_gone
    return Drift.objects.update_or_create(
        record=record,
        defaults={
            **values,
            "event": event.ref,
            "found_at": Now(),
            "repair_at": Now() if can_be_repaired else None,
            "failure": "",
        },
    )[0]


def end(record: TagRecord, row: LockedTag, *, actor: Actor = SYSTEM, reason: str = "") -> None:
    """Record that a tag is as it was locked again, if it was not.

    Without a reason it is the actor who put it back.
    """
    known = Drift.objects.filter(workspace=record.workspace_id, record=record).first()
    if known is None:
        return
    known.delete()
    if known.digest == row.digest:
        append_event(
            row.to_event(
                EventKind.DRIFT_REPAIRED,
                record.workspace.slug,
                other_digest=known.found,
                reason=reason,
            ),
            actor=actor,
        )


def read(row: Drift) -> Finding:
    """Return what was found, as a row keeps it; of what is missing, the first."""
    return Finding(
        Drift.Kind(row.kind),
        Digest(row.found) if row.found else None,
        (Digest(row.missing),) * row.missing_count if row.missing else (),
        row.is_gone,
    )


def was_shown(record: TagRecord) -> bool:
    """Whether a tag that is elsewhere now was at its locked image before."""
    return Drift.objects.filter(record=record, kind__in=MOVED).exists()


def find_drifts(workspace: Workspace) -> QuerySet[Drift]:
    """Return the differences that are not over, each with record and lock, oldest first."""
    is_elsewhere = Q(kind__in=_ELSEWHERE) & ~Q(record__digest=F("digest"))
    is_current = Q(is_elsewhere | Q(kind=Drift.Kind.INCOMPLETE)) & Q(
        record__lock__state=LockState.LOCKED
    ) | Q(kind=Drift.Kind.RESERVED, record__lock__state=LockState.RESERVED)
    return (
        Drift.objects.filter(is_current, workspace=workspace, record__lock__digest=F("digest"))
        .select_related("record__lock")
        .order_by("id")
    )
