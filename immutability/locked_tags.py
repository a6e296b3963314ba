"""Find locked tags, for page and API. A lock's status follows from the current policy.

However many locks there are, a page costs about as much as the first: it searches a limited number
of the newest locks, and then asks the database's index for all that match. If that finds too many,
or there is no such index (SQLite), the page has what was found so far and says where to continue.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from django.db import connection
from django.db.models import CharField, Func, Q, QuerySet
from django.db.models.lookups import IContains, IEndsWith

from containers.names import RepositoryName, TagName
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, Protection, cover
from workspaces.models import Workspace
from workspaces.search import EVERYTHING, TagSearch

LOCKED_TAGS_PER_PAGE = 50
MAX_LOCKED_TAGS_PER_PAGE = 200
SUSPENDED = "suspended"
LOCK_STATUSES = (*(state.value for state in LockState), SUSPENDED)

# How many of the newest locks a page looks through for a filter.
MAX_SCANNED = 10_000
# Up to so many locks from an index are sorted and shown newest first.
MAX_FOUND = 5_000
# How many tags are matched with the rules, for a page of one status.
MAX_CHECKED = 2_000
# More are estimated.
MAX_COUNTED = 10_000
_CHUNK = 1_000
# What the index of text can find: it has groups of three characters of each word, which two blanks
# before it and one behind it belong to.
_INDEXED_TEXT = re.compile(r"[^\W_]{3}|[^\W_]{2}[\W_]|[\W_][^\W_]")


class LockSort(StrEnum):
    """The order of a list."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True)
class LockedTagQuery:
    """What to look for, and in which order: what was typed, a repository, a tag, a lock status."""

    search: TagSearch = EVERYTHING
    repository: RepositoryName | None = None
    tag: TagName | None = None
    status: str = ""
    sort: LockSort = LockSort.NEWEST

    @property
    def order(self) -> str:
        return "-id" if self.sort is LockSort.NEWEST else "id"

    def behind(self, rows: QuerySet[LockedTag], lock_id: int) -> QuerySet[LockedTag]:
        """Return those of the rows that come behind this lock."""
        is_newest = self.sort is LockSort.NEWEST
        return rows.filter(id__lt=lock_id) if is_newest else rows.filter(id__gt=lock_id)


@dataclass(frozen=True)
class LockedTagPage:
    """Some locks, each with its status; `next_before` is the id that the next page begins behind.

    It is 0 at the end.

    `is_whole` is false where the page might have more: the next page does.
    """

    locks: list[tuple[LockedTag, str]]
    next_before: int
    is_whole: bool = True


@dataclass(frozen=True)
class LockCount:
    """How many locks there are: exactly, about so many, or more than that."""

    number: int
    is_exact: bool = True
    is_estimate: bool = False


def get_lock_status(row: LockedTag, policy: Policy) -> str:
    """Return the lock's state, or "suspended" where the policy does not cover its tag.

    Raises PatternError or PatternEvaluationError.
    """
    return row.state if cover(policy, TagName(row.tag)).is_covered else SUSPENDED


class LockedName(Func):
    """A lock's "repository:tag". The index of text has it in upper case: see the migrations."""

    template = "(%(expressions)s)"
    arg_joiner = " || ':' || "
    output_field = CharField()

    def __init__(self) -> None:
        super().__init__("repository", "tag")


def find_locked_tags(
    workspace: Workspace,
    policy: Policy,
    query: LockedTagQuery,
    *,
    before: int = 0,
    limit: int = LOCKED_TAGS_PER_PAGE,
) -> LockedTagPage:
    """Return one page of the locks that match, from behind the id `before`; 0 is the beginning.

    Raises PatternError or PatternEvaluationError.
    """
    if not _can_have_status(policy, query.status):
        return LockedTagPage([], 0)
    scope = LockedTag.objects.filter(workspace=workspace)
    if before:
        scope = query.behind(scope, before)
    # Of most states there are few, and an index has them in order. Most locks are locked.
    if query.status in RARE_STATES:
        # SQLite uses the index where the condition is that of the index, in its words.
        scope = scope.filter(state=query.status).exclude(state=LockState.LOCKED)
    wanted = _narrow(scope, query)
    picked = _Picker(policy, query.status, limit)
    if wanted is None:
        picked.take(_iterate(scope, query, limit))
    else:
        _search(scope, wanted, query, picked)
    rows = (
        LockedTag.objects.select_related("record").filter(id__in=picked.ids).order_by(query.order)
    )
    locks = [(row, get_lock_status(row, policy)) for row in rows]
    return LockedTagPage(locks, picked.next_before, picked.is_whole)


RARE_STATES = tuple(each.value for each in LockState if each is not LockState.LOCKED)


def _can_have_status(policy: Policy, status: str) -> bool:
    """Whether any lock can have this status: without protection, each is suspended."""
    return not status or status == SUSPENDED or policy.protection is not Protection.NONE


def _narrow(scope: QuerySet[LockedTag], query: LockedTagQuery) -> QuerySet[LockedTag] | None:
    """Return those of `scope` that match; None if all do, but for what the policy says."""
    wanted = scope
    if query.search != EVERYTHING:
        wanted = wanted.filter(_to_condition(query.search))
    if query.repository:
        wanted = wanted.filter(repository=query.repository.name)
    if query.tag:
        # The first lets the index find it, whatever its case.
        wanted = wanted.filter(IEndsWith(LockedName(), f":{query.tag}"), tag=query.tag.name)
    if query.status == LockState.LOCKED:
        wanted = wanted.filter(state=query.status)
    return None if wanted is scope else wanted


def _to_condition(search: TagSearch) -> Q:
    """Return the condition that a lock is looked for."""
    has_name = Q(IContains(LockedName(), search.name)) if search.name else Q()
    has_digest = to_digest_range(search.digest) if search.digest else Q()
    return has_name | has_digest if search.is_either else has_name & has_digest


def to_digest_range(digest: str) -> Q:
    """Return the condition that a digest begins like this, in a form that an index serves."""
    # Behind every hexadecimal digit comes the letter g.
    return Q(digest__gte=digest, digest__lt=f"{digest}g")


def _search(
    scope: QuerySet[LockedTag],
    wanted: QuerySet[LockedTag],
    query: LockedTagQuery,
    picked: "_Picker",
) -> None:
    """Pick from the first of `scope`, and only then from all that an index finds."""
    is_newest = query.sort is LockSort.NEWEST
    ids = scope.order_by(query.order).values_list("id", flat=True)
    for last in ids[MAX_SCANNED - 1 : MAX_SCANNED]:
        first = wanted.filter(id__gte=last) if is_newest else wanted.filter(id__lte=last)
        if picked.take(_iterate(first, query, picked.limit)):
            return
        picked.stop_behind(last)
        if _is_indexed(query):
            found = list(wanted.values_list("id", "tag")[: MAX_FOUND + 1])
            if len(found) <= MAX_FOUND:
                picked.start_again()
                picked.take(sorted(found, reverse=is_newest))
        return
    picked.take(_iterate(wanted, query, picked.limit))


def _is_indexed(query: LockedTagQuery) -> bool:
    """Whether an index finds what is looked for."""
    search = query.search
    if query.repository or (search.digest and not search.is_either):
        return True
    texts = [search.name, f":{query.tag or ''}"]
    has_words = any(_INDEXED_TEXT.search(text) for text in texts)
    return connection.vendor == "postgresql" and has_words


def _iterate(
    rows: QuerySet[LockedTag], query: LockedTagQuery, first: int
) -> Iterator[tuple[int, str]]:
    """Yield ids and tags in order: as many as make a page, then as many as may be needed."""
    rows = rows.order_by(query.order)
    size = first + 1
    while chunk := list(rows.values_list("id", "tag")[:size]):
        yield from chunk
        if len(chunk) < size:
            return
        rows = query.behind(rows, chunk[-1][0])
        size = _CHUNK


class _Picker:
    """Picks the locks of a page: those that have the status, until there are enough."""

    def __init__(self, policy: Policy, status: str, limit: int) -> None:
        self._policy = policy
        self._status = status
        self.limit = limit
        self.start_again()

    def start_again(self) -> None:
        """Pick other locks than those so far."""
        self.ids: list[int] = []
        self.next_before = 0
        self.is_whole = True

    def stop_behind(self, lock_id: int) -> None:
        """Let the next page continue after this id: this one stops here."""
        self.next_before = lock_id
        self.is_whole = False

    def take(self, candidates: Iterable[tuple[int, str]]) -> bool:
        """Pick from ids with their tags, in order; return whether that is all for this page."""
        for checked, (lock_id, tag) in enumerate(candidates, start=1):
            if self._has_status(tag):
                if len(self.ids) == self.limit:
                    self.next_before = self.ids[-1]
                    return True
                self.ids.append(lock_id)
            if checked == MAX_CHECKED:
                self.stop_behind(lock_id)
                return True
        return False

    def _has_status(self, tag: str) -> bool:
        if not self._status:
            return True
        is_suspended = not cover(self._policy, TagName(tag)).is_covered
        return is_suspended is (self._status == SUSPENDED)


def count_locked(workspace: Workspace) -> LockCount:
    """Return how many tags are locked, suspended ones included: exactly up to MAX_COUNTED."""
    locked = LockedTag.objects.filter(workspace=workspace, state=LockState.LOCKED)
    count = locked[: MAX_COUNTED + 1].count()
    if count <= MAX_COUNTED:
        return LockCount(count)
    estimate = _estimate(locked)
    if estimate <= MAX_COUNTED:
        return LockCount(MAX_COUNTED, is_exact=False)
    return LockCount(_round(estimate), is_exact=False, is_estimate=True)


def _estimate(rows: QuerySet[LockedTag]) -> int:
    """Return how many rows PostgreSQL expects by its statistics; 0 on another database."""
    if connection.vendor != "postgresql":
        return 0
    [plan] = json.loads(rows.explain(format="json"))
    return int(plan["Plan"]["Plan Rows"])


def _round(number: int) -> int:
    """Return a number with two digits that say something."""
    return round(number, 2 - len(str(number)))
