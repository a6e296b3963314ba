"""A repository's tags: none is missed, each has its status, and a page costs the same anywhere."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from containers.models import Repository
from containers.models import Tag as TagRecord
from containers.names import RepositoryName, TagName
from immutability import repository_tags
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, PolicyRule, Protection
from immutability.reading import read_policy
from immutability.repository_tags import (
    MAX_SHARING,
    TAG_STATUSES,
    Place,
    TagQuery,
    TagSort,
    count_tags,
    find_sharing,
    find_tag,
    find_tags,
    find_tags_named,
    parse_place,
)
from tests.conftest import AA, BB, CC, is_postgresql
from tests.immutability.making import land, make_lock, set_record
from workspaces.models import Workspace
from workspaces.search import EVERYTHING, parse_search

pytestmark = pytest.mark.django_db

API = RepositoryName("acme/api")
COVERS_SOME = PolicyRule("Some", "^(v|rc)")


QUERIES = [
    *((text, "") for text in ("v1", "MAIN", "acme/api:rc", "api:v1.1", ":o", "nothing")),
    *((text, "") for text in ("sha256:bb", AA)),
    *(("", status) for status in ("", *TAG_STATUSES)),
    ("v1", "locked"),
    ("sha256:aa", "mutable"),
    ("rc", "released"),
]


def show(
    workspace: Workspace, name: str, digest: str = AA, repository: str = "acme/api", **fields: Any
) -> TagRecord:
    """Let the registry have shown a tag that nothing has locked."""
    Repository.objects.get_or_create(workspace=workspace, name=repository)
    return TagRecord.objects.create(
        workspace=workspace, repository=repository, name=name, digest=digest, **fields
    )


@pytest.fixture
def many(acme: Workspace, globex: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """A repository with tags of every status, some never pushed, and others around it."""
    protect(acme, Protection.SOME, COVERS_SOME)
    now = timezone.now()
    states = list(LockState)
    for number in range(24):
        name = ("v1.{}", "rc{}", "Main-{}", "other{}")[number % 4].format(number)
        pushed_at = now - timedelta(minutes=number // 2) if number % 5 else None
        digest = (AA, BB, CC)[number % 3]
        if number % 3:
            row = make_lock(acme, name, states[number % len(states)], digest)
            set_record(row, pushed_at=pushed_at)
        else:
            show(acme, name, digest, pushed_at=pushed_at)
    show(acme, "gone", "")
    show(acme, "elsewhere", repository="acme/apis")
    show(globex, "v1.0", repository="globex/api")
    return acme


def status_of(record: TagRecord, policy: Policy) -> str:
    """Return a tag's status, in the plainest way."""
    is_covered = record.name.startswith(("v", "rc")) and policy.protection is Protection.SOME
    lock: LockedTag | None = getattr(record, "lock", None)
    if lock is None:
        return "covered" if is_covered else "mutable"
    return lock.state if is_covered else "suspended"


def expect(workspace: Workspace, text: str, status: str, sort: TagSort) -> list[str]:
    """Return the tags that match, in order, found in the plainest way."""
    policy = read_policy(workspace)
    needle = text.rpartition(":")[2].lower()
    found = []
    records = TagRecord.objects.filter(workspace=workspace, repository="acme/api")
    for record in records.select_related("lock"):
        lock = getattr(record, "lock", None)
        name = record.name.lower()
        is_named = name.startswith(needle) if ":" in text else needle in name
        if text.startswith("sha256:"):
            digests = [record.digest, lock.digest if lock else ""]
            is_named = any(each.startswith(text) for each in digests)
        if (record.digest or lock) and is_named and status in ("", status_of(record, policy)):
            found.append(record)
    if sort is TagSort.NAME:
        # As the database sorts.
        names = TagRecord.objects.filter(id__in=[each.id for each in found])
        return list(names.order_by("name").values_list("name", flat=True))
    least = timezone.now() - timedelta(days=1)
    found.sort(key=lambda each: (each.pushed_at or least, each.id), reverse=True)
    return [each.name for each in found]


def find_all(workspace: Workspace, query: TagQuery, limit: int) -> list[str]:
    """Return the tags of all pages."""
    policy = read_policy(workspace)
    found: list[str] = []
    after: Place | None = None
    for _ in range(200):
        page = find_tags(workspace, API, policy, query, after=after, limit=limit)
        assert len(page.tags) <= limit
        assert page.is_whole or page.next_place
        if page.is_whole and page.next_place:
            assert len(page.tags) == limit
        assert all(tag.status == status_of(tag.record, policy) for tag in page.tags)
        found += [tag.record.name for tag in page.tags]
        if page.next_place is None:
            return found
        # As an address carries it.
        after = parse_place(page.next_place.to_text(query.sort), query.sort)
    raise AssertionError("the pages have no end")


@pytest.mark.slow
@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("scanned", "found", "limit"), [(10_000, 1_000, 5), (7, 1_000, 50), (7, 2, 5)]
)
@pytest.mark.parametrize("sort", list(TagSort))
def test_pages_miss_none_wherever_the_search_stops(
    many: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    sort: TagSort,
    scanned: int,
    found: int,
    limit: int,
) -> None:
    monkeypatch.setattr(repository_tags, "MAX_SCANNED", scanned)
    monkeypatch.setattr(repository_tags, "MAX_CHECKED", min(scanned, 5))
    monkeypatch.setattr(repository_tags, "MAX_FOUND", found)
    monkeypatch.setattr(repository_tags, "_CHUNK", 4)
    for text, status in QUERIES:
        query = TagQuery(parse_search(text), status, sort)
        expected = expect(many, text, status, sort)
        assert find_all(many, query, limit) == expected, (text, status)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("v1.2.0", ["v1.2.0", "v1.2.0-rc"]),
        ("V1", ["v1.2.0", "v1.2.0-rc"]),
        ("2.0", ["v1.2.0", "v1.2.0-rc"]),
        ("api:2.0", []),
        ("acme/api:v1.2.0", ["v1.2.0", "v1.2.0-rc"]),
        ("registry.example.com/acme/api:v1.2.0-", ["v1.2.0-rc"]),
        ("acme/api", ["latest", "v1.2.0", "v1.2.0-rc"]),
        ("api", []),
        ("acme/web:v1", []),
        ("acme/web", []),
        (AA, ["v1.2.0"]),
        ("sha256:bbbb…", ["v1.2.0-rc"]),
        ("bbbbbb", ["v1.2.0-rc"]),
        (f"acme/api@{AA}", ["v1.2.0"]),
        (f"acme/web@{AA}", []),
        (f"acme/api:latest@{AA}", []),
        ('tag "v1.2.0-rc" of acme/api cannot be overwritten', ["v1.2.0-rc"]),
        ("", ["latest", "v1.2.0", "v1.2.0-rc"]),
    ],
)
def test_what_is_pasted_finds_tags(acme: Workspace, text: str, found: list[str]) -> None:
    show(acme, "v1.2.0", AA)
    show(acme, "v1.2.0-rc", BB)
    show(acme, "latest", CC)
    query = TagQuery(parse_search(text), sort=TagSort.NAME)
    assert find_all(acme, query, 50) == found


@pytest.mark.parametrize("text", ["v1.2", "acme/api:v1.2"])
@pytest.mark.parametrize("sort", list(TagSort))
def test_the_tag_that_is_named_whole_comes_first_and_once(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch, sort: TagSort, text: str
) -> None:
    now = timezone.now()
    show(acme, "v1.2", pushed_at=now - timedelta(days=9))
    for number in range(9):
        show(acme, f"v1.2.{number}", pushed_at=now - timedelta(days=number))
        show(acme, f"a-v1.2.{number}", pushed_at=now - timedelta(hours=number))
    query = TagQuery(parse_search(text), sort=sort)
    for limit in (1, 2, 50):
        found = find_all(acme, query, limit)
        assert found[0] == "v1.2" or limit == 1
        assert len(found) == len(set(found)) == (10 if ":" in text else 19)
    # Also where there are too many to look through.
    monkeypatch.setattr(repository_tags, "MAX_SCANNED", 2)
    assert find_all(acme, query, 50)[0] == "v1.2"


def test_a_tag_that_is_named_whole_has_to_have_the_state_that_is_asked_for(
    acme: Workspace,
) -> None:
    show(acme, "v1")
    assert find_all(acme, TagQuery(parse_search("v1"), "locked"), 50) == []


def test_a_name_that_no_image_has_any_more_is_listed_only_while_a_lock_holds_it(
    acme: Workspace,
) -> None:
    show(acme, "gone", "")
    make_lock(acme, "kept", "reserved")
    assert find_all(acme, TagQuery(), 50) == ["kept"]
    policy = read_policy(acme)
    assert find_tag(acme, API, TagName("gone"), policy) is None
    kept = find_tag(acme, API, TagName("kept"), policy)
    assert kept is not None
    assert kept.digest == ""


def test_a_tag_that_only_checks_know_has_the_digest_of_its_lock(acme: Workspace) -> None:
    set_record(make_lock(acme, "v1"), digest="")
    tag = find_tag(acme, API, TagName("v1"), read_policy(acme))
    assert tag is not None
    assert tag.digest == AA


def test_a_tag_has_its_last_push(acme: Workspace) -> None:
    show(acme, "v1", BB)
    land(acme, AA)
    last = land(acme, BB)
    land(acme, CC, "v2")
    tag = find_tag(acme, API, TagName("v1"), read_policy(acme))
    assert tag is not None
    assert (tag.last_push, tag.pushed_at) == (last, last.at)


def test_tags_are_found_by_name_in_their_own_workspace_alone(
    acme: Workspace, globex: Workspace
) -> None:
    show(acme, "v1")
    show(acme, "v2")
    show(globex, "v1", repository="globex/api")
    chosen = [
        (API, TagName("v1")),
        (API, TagName("v9")),
        (RepositoryName("globex/api"), TagName("v1")),
    ]
    assert list(find_tags_named(acme, chosen, read_policy(acme))) == [(API, TagName("v1"))]


def test_tags_that_share_an_image_are_named(acme: Workspace) -> None:
    for name in ("v1", "latest", "stable"):
        show(acme, name, AA)
    show(acme, "other", BB)
    tag = find_tag(acme, API, TagName("v1"), read_policy(acme))
    assert tag is not None
    assert find_sharing(acme, tag) == ["latest", "stable"]
    for number in range(20):
        show(acme, f"more{number}", AA)
    assert len(find_sharing(acme, tag)) == MAX_SHARING + 1


# Counting.


@pytest.mark.both_databases
def test_the_tags_of_each_status_are_counted(many: Workspace) -> None:
    policy = read_policy(many)
    counts = count_tags(many, API, policy, EVERYTHING)
    assert counts.is_exact
    assert counts.total == 24
    for status, number in counts.by_status.items():
        assert number == len(expect(many, "", status, TagSort.NAME)), status
    assert count_tags(many, API, policy, parse_search("v1")).total == 6


def test_many_tags_are_counted_as_at_least_so_many(
    many: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = read_policy(many)
    monkeypatch.setattr(repository_tags, "MAX_COUNTED", 10)
    counts = count_tags(many, API, policy, EVERYTHING)
    assert (counts.total, counts.is_exact) == (10, False)
    monkeypatch.setattr(repository_tags, "MAX_SCANNED", 5)
    counts = count_tags(many, API, policy, parse_search("nothing"))
    assert (counts.total, counts.is_exact) == (0, False)


# Places.


@pytest.mark.parametrize(
    "place",
    [
        Place(pushed_at=timezone.now(), record_id=7),
        Place(pushed_at=None, record_id=9_000_000_000),
    ],
)
def test_a_place_comes_back_from_an_address(place: Place) -> None:
    assert parse_place(place.to_text(TagSort.PUSHED), TagSort.PUSHED) == place


@pytest.mark.parametrize(
    "text", ["x", "-", "1", "1-", "-x", "²-1", "9" * 30 + "-1", "-" + "9" * 30]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_place(text, TagSort.PUSHED)


# What it costs.


def explain(find: Callable[[], object]) -> list[str]:
    """Return the plan of each SELECT of tags."""
    plans: list[str] = []
    words = "EXPLAIN" if is_postgresql() else "EXPLAIN QUERY PLAN"

    def note(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if "containers_tag" in sql:
            with connection.cursor() as cursor:
                cursor.cursor.execute(f"{words} {sql}", params)
                plans.append("\n".join(str(row[-1]) for row in cursor.cursor.fetchall()))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(note):
        find()
    return plans


@pytest.fixture
def crowded(many: Workspace) -> Workspace:
    """A repository with so many tags that the database uses its indexes."""
    now = timezone.now()
    TagRecord.objects.bulk_create(
        TagRecord(
            workspace=many,
            repository=("acme/api", "acme/web")[number % 2],
            name=f"x{number}",
            digest=f"sha256:{number:064x}",
            pushed_at=now - timedelta(hours=number),
        )
        for number in range(5000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE containers_tag")
        cursor.execute("ANALYZE immutability_lockedtag")
    return many


@pytest.mark.both_databases
def test_an_index_has_the_tags_in_order(crowded: Workspace) -> None:
    policy = read_policy(crowded)
    for query, index in (
        (TagQuery(), "tag_pushed"),
        (TagQuery(sort=TagSort.NAME), "tag_once"),
        (TagQuery(parse_search("sha256:" + f"{7:064x}")), "tag_digest"),
    ):
        after = find_tags(crowded, API, policy, query).next_place
        plan = explain(partial(find_tags, crowded, API, policy, query, after=after))[0]
        # SQLite names the indexes of unique constraints itself.
        assert index in plan or (index == "tag_once" and "autoindex" in plan), plan
        assert "Sort" not in plan or query.search != EVERYTHING, plan


def test_a_page_costs_a_few_statements(many: Workspace, django_assert_max_num_queries: Any) -> None:
    policy = read_policy(many)
    with django_assert_max_num_queries(5):
        find_tags(many, API, policy, TagQuery(), limit=10)
