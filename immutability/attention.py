"""What needs attention in a workspace, and which first steps are still to be taken.

Each is found by an index and counted up to a limit: it costs the same in any workspace.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from containers.connection import find_registry
from containers.models import Push
from containers.models import Tag as TagRecord
from containers.names import TagName
from immutability.drift import find_drifts
from immutability.models import Job, LockedTag
from immutability.policy.protection import LockState, Policy, Protection, cover
from workspaces.access import Scope
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.log.seal import Unsealed
from workspaces.models import AccessToken, Workspace

# More are "100+".
MAX_COUNTED = 100
# A worker looks every few seconds; a claim takes seconds, or minutes where a registry asks.
LATE_AFTER = timedelta(minutes=10)
CLAIM_OLD_AFTER = timedelta(hours=1)
UNSEALED_AFTER = timedelta(minutes=1)


@dataclass(frozen=True)
class Found:
    """How many things of a kind need attention, since when, and the name of one tag of them."""

    count: int
    since: datetime
    repository: str = ""
    tag: str = ""

    @property
    def shown_count(self) -> str:
        return f"{MAX_COUNTED}+" if self.count > MAX_COUNTED else str(self.count)


@dataclass(frozen=True)
class Attention:
    """What needs attention; None and empty: nothing does."""

    drift: Found | None
    late_jobs: tuple[Job, ...]
    strays: Found | None
    claims: Found | None
    unsealed: Unsealed | None

    @property
    def count(self) -> int:
        found = (self.drift, self.strays, self.claims, self.unsealed)
        return sum(each is not None for each in found) + len(self.late_jobs)


@dataclass(frozen=True)
class FirstSteps:
    """What someone does first, and whether it is done."""

    is_connected: bool
    is_protected: bool
    is_pushed: bool
    is_refused: bool

    @property
    def done_count(self) -> int:
        return sum(self._all)

    @property
    def is_done(self) -> bool:
        return all(self._all)

    @property
    def _all(self) -> tuple[bool, ...]:
        return (self.is_connected, self.is_protected, self.is_pushed, self.is_refused)


def find_attention(
    workspace: Workspace, policy: Policy, unsealed: Unsealed, now: datetime
) -> Attention:
    """Return what needs attention; `unsealed` is the tail of the workspace's log."""
    is_late = unsealed.oldest_at is not None and unsealed.oldest_at < now - UNSEALED_AFTER
    return Attention(
        drift=_find_drift(workspace, policy),
        late_jobs=_find_late_jobs(workspace, now),
        strays=_find_strays(workspace),
        claims=_find_old_claims(workspace, now),
        unsealed=unsealed if is_late else None,
    )


def _find_drift(workspace: Workspace, policy: Policy) -> Found | None:
    """Return which locks in force differ from the registry, and the latest of them."""
    drifts = find_drifts(workspace).order_by("-found_at")[: MAX_COUNTED + 1]
    rows = [each for each in drifts if cover(policy, TagName(each.record.name)).is_covered]
    if not rows:
        return None
    latest = rows[0]
    return Found(len(rows), latest.found_at, latest.record.repository, latest.record.name)


def _find_late_jobs(workspace: Workspace, now: datetime) -> tuple[Job, ...]:
    """Return the jobs that no worker has gone on with."""
    late = Job.objects.filter(
        workspace=workspace, done_at__isnull=True, expires_at__lt=now - LATE_AFTER
    )
    return tuple(late.order_by("expires_at", "id")[:MAX_COUNTED])


def _find_strays(workspace: Workspace) -> Found | None:
    """Return the tags that a write without an answer may still change."""
    records = TagRecord.objects.filter(workspace=workspace, stray_until__isnull=False)
    rows = list(records.order_by("stray_until")[: MAX_COUNTED + 1])
    if not rows or rows[0].stray_until is None:
        return None
    return Found(len(rows), rows[0].stray_until, rows[0].repository, rows[0].name)


def _find_old_claims(workspace: Workspace, now: datetime) -> Found | None:
    """Return the locks that wait for a push or a delete to end that was never reported."""
    waiting = LockedTag.objects.filter(
        workspace=workspace,
        state__in=[LockState.CLAIMED, LockState.DELETING],
        locked_at__lt=now - CLAIM_OLD_AFTER,
    ).exclude(state=LockState.LOCKED)
    rows = list(waiting.values_list("repository", "tag", "locked_at")[: MAX_COUNTED + 1])
    return Found(len(rows), rows[0][2], rows[0][0], rows[0][1]) if rows else None


def find_first_steps(workspace: Workspace, policy: Policy) -> FirstSteps:
    """Return which of the first steps are done."""
    events = LockEvent.objects.filter(workspace=workspace.slug)
    is_refused = events.filter(kind=EventKind.PUSH_REFUSED).exists()
    is_pushed = (
        is_refused
        or events.filter(kind=EventKind.TAG_LOCKED).exists()
        or Push.objects.filter(workspace=workspace).exists()
    )
    return FirstSteps(
        # What was pushed came through the gate, or a registry asked.
        is_connected=is_pushed
        or find_registry(workspace) is not None
        or _has_registry_token(workspace),
        is_protected=policy.protection is not Protection.NONE,
        is_pushed=is_pushed,
        is_refused=is_refused,
    )


def _has_registry_token(workspace: Workspace) -> bool:
    """Whether a registry can ask about this workspace, by a token of it or of the whole site."""
    tokens = AccessToken.objects.filter(revoked_at=None)
    scopes = tokens.filter(workspace=workspace).values_list("scopes", flat=True)
    site_scopes = tokens.filter(workspace=None).values_list("scopes", flat=True)
    return any(
        Scope.REGISTRY in each for rows in (scopes, site_scopes) for each in rows[:MAX_COUNTED]
    )
