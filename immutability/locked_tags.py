"""Find locked tags, for page and API. A lock's status follows from the policy of this moment."""

from dataclasses import dataclass

from django.db.models import Q

from containers.names import RepositoryName, TagName
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, cover
from workspaces.models import Workspace

LOCKED_TAGS_PER_PAGE = 50
MAX_LOCKED_TAGS_PER_PAGE = 200
SUSPENDED = "suspended"
LOCK_STATUSES = (*(state.value for state in LockState), SUSPENDED)

# A search for a rare status stops here and goes on with the next page.
_MAX_SCANNED_PER_PAGE = 5000
_CHUNK = 500


@dataclass(frozen=True)
class LockedTagQuery:
    """What to look for: text in repository or tag, a whole repository or tag, a lock status."""

    text: str = ""
    repository: RepositoryName | None = None
    tag: TagName | None = None
    status: str = ""


@dataclass(frozen=True)
class LockedTagPage:
    """Some locks, newest first, each with its status; `next_before` is an id, 0 at the end."""

    locks: list[tuple[LockedTag, str]]
    next_before: int


def get_lock_status(row: LockedTag, policy: Policy) -> str:
    """Return the lock's state, or "suspended" where the policy does not cover its tag.

    Raises PatternError or PatternEvaluationError.
    """
    return row.state if cover(policy, TagName(row.tag)).is_covered else SUSPENDED


def find_locked_tags(
    workspace: Workspace,
    policy: Policy,
    query: LockedTagQuery,
    *,
    before: int = 0,
    limit: int = LOCKED_TAGS_PER_PAGE,
) -> LockedTagPage:
    """Return one page of the locks that match, from the newest below id `before`."""
    rows = (
        LockedTag.objects.select_related("record")
        .filter(_to_condition(query), workspace=workspace)
        .order_by("-id")
    )
    found: list[tuple[LockedTag, str]] = []
    for _ in range(_MAX_SCANNED_PER_PAGE // _CHUNK):
        chunk = list((rows.filter(id__lt=before) if before else rows)[:_CHUNK])
        for row in chunk:
            status = get_lock_status(row, policy)
            if query.status in ("", status):
                if len(found) == limit:
                    return LockedTagPage(found, found[-1][0].id)
                found.append((row, status))
            before = row.id
        if len(chunk) < _CHUNK:
            return LockedTagPage(found, 0)
    return LockedTagPage(found, before)


def _to_condition(query: LockedTagQuery) -> Q:
    condition = Q()
    if query.text:
        condition &= Q(repository__icontains=query.text) | Q(tag__icontains=query.text)
    if query.repository:
        condition &= Q(repository=query.repository.name)
    if query.tag:
        condition &= Q(tag=query.tag.name)
    if query.status in tuple(LockState):
        condition &= Q(state=query.status)
    return condition
