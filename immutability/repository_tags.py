"""Find the tags of a repository, for page and API: those that the registry has, and those of locks.

However many there are, a page costs about as much as the first: it searches a limited number of
tags in the page's order, and says where to continue. If an index finds them at once, there is no
search.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property

from django.db.models import OuterRef, Q, QuerySet, Subquery

from containers.models import Manifest, Push
from containers.models import Tag as TagRecord
from containers.names import RepositoryName, TagName
from immutability.locked_tags import RARE_STATES, SUSPENDED, to_digest_range
from immutability.models import LockedTag
from immutability.policy.protection import Coverage, LockState, Policy, cover
from workspaces.models import Workspace
from workspaces.search import EVERYTHING, TagSearch

TAGS_PER_PAGE = 50
MAX_TAGS_PER_PAGE = 200
# How many tags a page looks through.
MAX_SCANNED = 10_000
# The same for a page of one status, for which they are matched with the rules.
MAX_CHECKED = 2_000
# How many tags an index may find, and they are still sorted.
MAX_FOUND = 1_000
# How many tags are counted by status.
MAX_COUNTED = 500
# How many tags that share an image are named.
MAX_SHARING = 10
_CHUNK = 1_000

# Of a tag without a lock: any image can be pushed under it, or its next push locks it.
MUTABLE, COVERED = "mutable", "covered"
TAG_STATUSES = (
    LockState.LOCKED.value,
    MUTABLE,
    COVERED,
    SUSPENDED,
    LockState.RELEASED.value,
    LockState.RESERVED.value,
    LockState.CLAIMED.value,
    LockState.DELETING.value,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TagSort(StrEnum):
    """The order of a list: the last push first, and then what was never pushed; or by name."""

    PUSHED = "pushed"
    NAME = "name"


@dataclass(frozen=True)
class Place:
    """Where in an order a tag is, so that a page can begin behind it."""

    name: str = ""
    pushed_at: datetime | None = None
    record_id: int = 0

    def to_text(self, sort: TagSort) -> str:
        """Return what an address says of the place."""
        if sort is TagSort.NAME:
            return self.name
        if self.pushed_at is None:
            return f"-{self.record_id}"
        return f"{(self.pushed_at - _EPOCH) // timedelta(microseconds=1)}-{self.record_id}"


def parse_place(text: str, sort: TagSort) -> Place | None:
    """Return the place that an address names; None if it names none. Raises ValueError."""
    if not text:
        return None
    if sort is TagSort.NAME:
        return Place(text)
    pushed, _, record_id = text.partition("-")
    if not _PLACE.fullmatch(text):
        raise ValueError(text)
    pushed_at = _EPOCH + timedelta(microseconds=int(pushed)) if pushed else None
    return Place("", pushed_at, int(record_id))


# Microseconds until the year 5138, and what a database has as an id.
_PLACE = re.compile(r"[0-9]{0,17}-[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class TagQuery:
    """Which tags to list, in which order."""

    search: TagSearch = EVERYTHING
    status: str = ""
    sort: TagSort = TagSort.PUSHED


@dataclass(frozen=True)
class ListedTag:
    """A tag as page and API list it, with its lock and its last push if there are any."""

    record: TagRecord
    lock: LockedTag | None
    coverage: Coverage
    last_push: Push | None = None
    # In bytes, of all that makes up the image; None where that is not known.
    image_size: int | None = None

    @cached_property
    def status(self) -> str:
        """What can happen to the tag: its lock's status, or that it has no lock."""
        return _to_status(self.lock.state if self.lock else "", self.coverage)

    @property
    def digest(self) -> str:
        """What the registry has under the tag; what its lock says where that was never seen."""
        if self.record.digest or self.lock is None or self.lock.state == LockState.RESERVED:
            return self.record.digest
        return self.lock.digest

    @property
    def pushed_at(self) -> datetime | None:
        """When it was last pushed, as far as Taglock saw."""
        return self.last_push.at if self.last_push else self.record.pushed_at


@dataclass(frozen=True)
class TagPage:
    """Some tags. `next_place` is where the next page begins, None at the end.

    `is_whole` is false where the page might have more: the next page does.
    """

    tags: list[ListedTag]
    next_place: Place | None
    is_whole: bool = True


@dataclass(frozen=True)
class TagCounts:
    """How many tags of each status there are: exactly, or at least so many."""

    by_status: dict[str, int]
    is_exact: bool

    @property
    def total(self) -> int:
        return sum(self.by_status.values())


def find_tags(
    workspace: Workspace,
    repository: RepositoryName,
    policy: Policy,
    query: TagQuery,
    *,
    after: Place | None = None,
    limit: int = TAGS_PER_PAGE,
) -> TagPage:
    """Return one page of a repository's tags that match, from behind `after`.

    Raises PatternError or PatternEvaluationError.
    """
    rows = _narrow(_rows(workspace, repository), workspace, repository, query)
    is_wanted = _to_test(repository, policy, query)
    exact = _find_exact(rows, query.search)
    # The tag that is named whole comes first, and not again in its place.
    first = [exact] if exact and after is None and limit > 1 and is_wanted(exact) else []
    skipped = exact.id if exact and limit > 1 else 0
    most = MAX_CHECKED if query.status else MAX_SCANNED
    found: list[_Row] = []
    for scanned, row in enumerate(_iterate(rows, query.sort, after, limit + 1), start=1):
        if row.id != skipped and is_wanted(row):
            if len(first) + len(found) == limit:
                return TagPage(_load(workspace, policy, [*first, *found]), found[-1].place)
            found.append(row)
        if scanned == most:
            tags = _load(workspace, policy, [*first, *found])
            return TagPage(tags, row.place, is_whole=False)
    return TagPage(_load(workspace, policy, [*first, *found]), None)


def count_tags(
    workspace: Workspace, repository: RepositoryName, policy: Policy, search: TagSearch
) -> TagCounts:
    """Return how many tags of each status match a search, of the first in the order of pushes.

    Raises PatternError or PatternEvaluationError.
    """
    query = TagQuery(search)
    rows = _narrow(_rows(workspace, repository), workspace, repository, query)
    is_wanted = _to_test(repository, policy, query)
    counts = dict.fromkeys(TAG_STATUSES, 0)
    counted = 0
    for scanned, row in enumerate(_iterate(rows, query.sort, None, _CHUNK), start=1):
        if is_wanted(row):
            if counted == MAX_COUNTED:
                return TagCounts(counts, is_exact=False)
            counted += 1
            counts[_to_status(row.state, cover(policy, TagName(row.name)))] += 1
        if scanned == MAX_SCANNED:
            return TagCounts(counts, is_exact=False)
    return TagCounts(counts, is_exact=True)


def find_tag(
    workspace: Workspace, repository: RepositoryName, tag: TagName, policy: Policy
) -> ListedTag | None:
    """Return one tag; None if the registry does not have it and nothing holds its name.

    Raises PatternError or PatternEvaluationError.
    """
    row = _rows(workspace, repository).filter(name=tag.name).values_list(*_COLUMNS).first()
    return _load(workspace, policy, [_Row(*row)])[0] if row else None


def find_tags_named(
    workspace: Workspace, chosen: Iterable[tuple[RepositoryName, TagName]], policy: Policy
) -> dict[tuple[RepositoryName, TagName], ListedTag]:
    """Return these tags, of any repositories; without those that don't exist.

    Raises PatternError or PatternEvaluationError.
    """
    names = defaultdict(list)
    for repository, tag in chosen:
        names[repository].append(tag.name)
    found = {}
    for repository, some in names.items():
        rows = _rows(workspace, repository).filter(name__in=some).values_list(*_COLUMNS)
        for listed in _load(workspace, policy, [_Row(*row) for row in rows]):
            found[repository, TagName(listed.record.name)] = listed
    return found


def find_sharing(workspace: Workspace, tag: ListedTag) -> list[str]:
    """Return the names of other tags of the same image: at most MAX_SHARING and one more."""
    if not tag.record.digest:
        return []
    rows = TagRecord.objects.filter(
        workspace=workspace, repository=tag.record.repository, digest=tag.record.digest
    ).exclude(id=tag.record.id)
    return list(rows.order_by("name").values_list("name", flat=True)[: MAX_SHARING + 1])


def is_of_repository(search: TagSearch, repository: RepositoryName) -> bool:
    """Whether a search can find anything in this repository: it may name another one."""
    name = search.name.lower()
    place, colon, _ = name.rpartition(":")
    if not colon and "/" in name:
        # No tag has a slash.
        place = name
    return search.is_either or repository.name.endswith(place)


# ---- what is looked through ---------------------------------------------------------------------

_COLUMNS = ("id", "name", "pushed_at", "digest", "lock__state", "lock__digest")


@dataclass(frozen=True)
class _Row:
    """What decides whether a tag is listed, and where."""

    id: int
    name: str
    pushed_at: datetime | None
    digest: str
    lock_state: str | None
    lock_digest: str | None

    @property
    def state(self) -> str:
        return self.lock_state or ""

    @property
    def place(self) -> Place:
        return Place(self.name, self.pushed_at, self.id)


def _rows(workspace: Workspace, repository: RepositoryName) -> QuerySet[TagRecord]:
    """Return what a repository lists: records of tags that are gone, and unlocked, are kept."""
    return TagRecord.objects.filter(
        ~Q(digest="") | Q(lock__isnull=False), workspace=workspace, repository=repository.name
    )


def _iterate(
    rows: QuerySet[TagRecord], sort: TagSort, after: Place | None, first: int
) -> Iterator[_Row]:
    """Yield rows in order from behind a place: as many as make a page, then as may be needed."""
    for part in _PARTS[sort](rows, after):
        following, size = part, first
        while chunk := [_Row(*row) for row in following(after).values_list(*_COLUMNS)[:size]]:
            yield from chunk
            if len(chunk) < size:
                break
            after, size = chunk[-1].place, _CHUNK
        after = None


_Part = Callable[[Place | None], QuerySet[TagRecord]]


def _by_name(rows: QuerySet[TagRecord], _: Place | None) -> list[_Part]:
    def part(after: Place | None) -> QuerySet[TagRecord]:
        return rows.filter(name__gt=after.name if after else "").order_by("name")

    return [part]


def _by_push(rows: QuerySet[TagRecord], begin: Place | None) -> list[_Part]:
    """Return two parts, so that an index has each in order: those with a push, those without."""

    def pushed(after: Place | None) -> QuerySet[TagRecord]:
        some = rows.filter(pushed_at__isnull=False).order_by("-pushed_at", "-id")
        if after is None or after.pushed_at is None:
            return some
        at = after.pushed_at
        behind = Q(pushed_at__lt=at) | Q(id__lt=after.record_id)
        return some.filter(behind, pushed_at__lte=at)

    def others(after: Place | None) -> QuerySet[TagRecord]:
        some = rows.filter(pushed_at__isnull=True).order_by("-id")
        return some.filter(id__lt=after.record_id) if after else some

    return [others] if begin and begin.pushed_at is None else [pushed, others]


_PARTS = {TagSort.NAME: _by_name, TagSort.PUSHED: _by_push}


def _narrow(
    rows: QuerySet[TagRecord], workspace: Workspace, repository: RepositoryName, query: TagQuery
) -> QuerySet[TagRecord]:
    """Leave out what an index says does not match, where it finds few enough."""
    locks = LockedTag.objects.filter(workspace=workspace, repository=repository.name)
    if query.search.digest and not query.search.is_either:
        wanted = to_digest_range(query.search.digest)
        records = TagRecord.objects.filter(wanted, workspace=workspace, repository=repository.name)
        ids = [
            *records.values_list("id", flat=True)[: MAX_FOUND + 1],
            *locks.filter(wanted).values_list("record_id", flat=True)[: MAX_FOUND + 1],
        ]
    elif query.status in ("", MUTABLE, COVERED):
        return rows
    else:
        ids = list(locks.values_list("record_id", flat=True)[: MAX_FOUND + 1])
        if len(ids) > MAX_FOUND and query.status in RARE_STATES:
            rare = LockedTag.objects.filter(workspace=workspace, state=query.status)
            newest = rare.exclude(state=LockState.LOCKED).order_by("-id")
            some = list(newest.values_list("record_id", "repository")[: MAX_SCANNED + 1])
            if len(some) > MAX_SCANNED:
                return rows
            ids = [record_id for record_id, name in some if name == repository.name]
    return rows.filter(id__in=ids) if len(ids) <= MAX_FOUND else rows


def _find_exact(rows: QuerySet[TagRecord], search: TagSearch) -> _Row | None:
    """Return the tag whose whole name is looked for, if there is one."""
    name = search.tag_start or search.name
    if not name or "/" in name or ":" in name:
        return None
    row = rows.filter(name=name).values_list(*_COLUMNS).first()
    return _Row(*row) if row else None


def _to_test(repository: RepositoryName, policy: Policy, query: TagQuery) -> Callable[[_Row], bool]:
    """Return what tells whether a row is wanted."""
    has_name = _to_name_test(repository, query.search.name)
    search = query.search

    def is_wanted(row: _Row) -> bool:
        has_digest = row.digest.startswith(search.digest) or (row.lock_digest or "").startswith(
            search.digest
        )
        if not search.decide(has_name=has_name(row.name), has_digest=has_digest):
            return False
        if not query.status:
            return True
        if not _can_have_status(row.state, query.status):
            return False
        return _to_status(row.state, cover(policy, TagName(row.name))) == query.status

    return is_wanted


def _to_name_test(repository: RepositoryName, name: str) -> Callable[[str], bool]:
    """Return what tells whether a tag of this repository has the name that is looked for."""
    name = name.lower()
    place, colon, start = name.rpartition(":")
    if not colon and "/" in name:
        # No tag has a slash.
        place, colon, start = name, ":", ""
    if not colon:
        return lambda tag: name in tag.lower()
    if not repository.name.endswith(place):
        return lambda _: False
    return lambda tag: tag.lower().startswith(start)


def _can_have_status(state: str, status: str) -> bool:
    """Whether a tag can have a status, judging only by its lock: asking the rules takes longer."""
    if status in (MUTABLE, COVERED):
        return not state
    return state == status or (status == SUSPENDED and bool(state))


def _to_status(state: str, coverage: Coverage) -> str:
    if not state:
        return COVERED if coverage.is_covered else MUTABLE
    return state if coverage.is_covered else SUSPENDED


# ---- what is shown ------------------------------------------------------------------------------


def _load(workspace: Workspace, policy: Policy, rows: list[_Row]) -> list[ListedTag]:
    """Return the rows as they are listed, in order."""
    last_push = (
        Push.objects.filter(
            workspace=workspace, repository=OuterRef("repository"), tag=OuterRef("name")
        )
        .order_by("-id")
        .values("id")[:1]
    )
    image_size = Manifest.objects.filter(
        workspace=workspace, repository=OuterRef("repository"), digest=OuterRef("digest")
    ).values("image_size")[:1]
    records = {
        record.id: record
        for record in TagRecord.objects.filter(id__in=[row.id for row in rows])
        .select_related("lock")
        .annotate(last_push_id=Subquery(last_push), image_size=Subquery(image_size))
    }
    pushes = Push.objects.in_bulk(
        [record.last_push_id for record in records.values() if record.last_push_id]
    )
    return [
        ListedTag(
            record,
            getattr(record, "lock", None),
            cover(policy, TagName(record.name)),
            pushes.get(record.last_push_id),
            record.image_size,
        )
        for record in (records[row.id] for row in rows)
    ]
