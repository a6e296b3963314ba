"""Finding locked tags where there are many: no lock is missed, and none is looked for for ever."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import connection
from django.db.models.lookups import IContains, IEndsWith

from containers.names import RepositoryName, TagName
from containers.prefixes import create_workspace
from immutability import locked_tags
from immutability.locked_tags import (
    LOCK_STATUSES,
    SUSPENDED,
    LockCount,
    LockedName,
    LockedTagQuery,
    LockSort,
    count_locked,
    find_locked_tags,
    get_lock_status,
    to_digest_range,
)
from immutability.models import LockedTag
from immutability.policy.protection import LockState, PolicyRule, Protection
from immutability.reading import read_policy
from tests.conftest import AA, BB, LATEST, is_postgresql, protect_workspace
from tests.immutability.making import make_lock, make_locks
from workspaces.access import SYSTEM
from workspaces.models import Workspace
from workspaces.search import parse_search

pytestmark = pytest.mark.django_db

COVERS_MOST = PolicyRule("Most", "^(v|rc)")
QUERIES = [
    LockedTagQuery(),
    LockedTagQuery(parse_search("v1")),
    LockedTagQuery(parse_search("V1.")),
    LockedTagQuery(parse_search("acme/web")),
    LockedTagQuery(parse_search("web:rc")),
    LockedTagQuery(parse_search("no-such-thing")),
    LockedTagQuery(parse_search("%")),
    LockedTagQuery(repository=RepositoryName("acme/api")),
    LockedTagQuery(tag=TagName("v1.0")),
    LockedTagQuery(tag=TagName("V1.0")),
    LockedTagQuery(tag=TagName("_")),
    LockedTagQuery(parse_search("rc"), RepositoryName("acme/web"), TagName("rc3")),
    *(LockedTagQuery(status=status) for status in LOCK_STATUSES),
    LockedTagQuery(parse_search("web"), status="released"),
    LockedTagQuery(parse_search("sha256:bb")),
    LockedTagQuery(parse_search("bbbbbb")),
    LockedTagQuery(parse_search(f"acme/web@{BB}")),
    LockedTagQuery(sort=LockSort.OLDEST),
    LockedTagQuery(parse_search("web:rc"), sort=LockSort.OLDEST),
    LockedTagQuery(parse_search("other"), status=SUSPENDED, sort=LockSort.OLDEST),
    LockedTagQuery(parse_search("other"), status=SUSPENDED),
]


def test_a_lock_that_an_exception_leaves_mutable_is_suspended() -> None:
    initech = create_workspace("initech", "Initech", actor=SYSTEM)
    policy = protect_workspace(initech, Protection.ALL, exceptions=(LATEST,))
    rows = {tag: make_lock(initech, tag) for tag in ("latest", "v1")}
    found = {tag: get_lock_status(row, policy) for tag, row in rows.items()}
    assert found == {"latest": SUSPENDED, "v1": "locked"}
    page = find_locked_tags(initech, policy, LockedTagQuery(status=SUSPENDED))
    assert [row.tag for row, _ in page.locks] == ["latest"]


@pytest.fixture(scope="module")
def kept_many(kept_rows: None) -> Workspace:
    """A workspace with locks of every status, and one lock of another workspace."""
    acme = create_workspace("acme", "Acme", actor=SYSTEM)
    globex = create_workspace("globex", "Globex", actor=SYSTEM)
    protect_workspace(acme, Protection.SOME, COVERS_MOST)
    for number in range(44):
        repository = ("acme/api", "acme/web")[number % 2]
        name = ("v1.{}", "rc{}", "other{}", "v1.0-{}")[number % 4].format(number)
        state = LockState.RELEASED if number % 7 == 0 else LockState.LOCKED
        make_lock(acme, name, state, BB if number % 9 == 0 else AA, repository=repository)
    make_lock(acme, "_")
    make_lock(acme, "v1.0", "reserved", repository="acme/web")
    make_lock(globex, "v1.0", repository="globex/web")
    return acme


@pytest.fixture
def many(db: None, kept_many: Workspace) -> Workspace:
    """The workspace with many locks, as it was made."""
    return Workspace.objects.get(id=kept_many.id)


def expect(workspace: Workspace, query: LockedTagQuery) -> list[int]:
    """Return the ids that match, in order, found in the plainest way."""
    policy = read_policy(workspace)
    order = "id" if query.sort is LockSort.OLDEST else "-id"
    return [
        row.id
        for row in LockedTag.objects.filter(workspace=workspace).order_by(order)
        if query.search.matches(row.repository, row.tag, row.digest)
        and query.repository in (None, RepositoryName(row.repository))
        and query.tag in (None, TagName(row.tag))
        and query.status in ("", get_lock_status(row, policy))
    ]


def find_all(workspace: Workspace, query: LockedTagQuery, limit: int) -> list[int]:
    """Return the ids of all pages."""
    policy = read_policy(workspace)
    found: list[int] = []
    before = 0
    for _ in range(200):
        page = find_locked_tags(workspace, policy, query, before=before, limit=limit)
        assert len(page.locks) <= limit
        assert all(status == get_lock_status(row, policy) for row, status in page.locks)
        assert page.is_whole or page.next_before
        if page.is_whole and page.next_before:
            assert len(page.locks) == limit
        found += [row.id for row, _ in page.locks]
        if not page.next_before:
            return found
        is_oldest = query.sort is LockSort.OLDEST
        assert not before or (page.next_before < before) is not is_oldest
        before = page.next_before
    raise AssertionError("the pages have no end")


@pytest.mark.slow
@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("scanned", "found", "checked", "limit"),
    [(10_000, 5_000, 2_000, 5), (7, 1_000, 1_000, 50), (7, 3, 5, 2)],
)
def test_pages_miss_none_wherever_the_search_stops(
    many: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    scanned: int,
    found: int,
    checked: int,
    limit: int,
) -> None:
    monkeypatch.setattr(locked_tags, "MAX_SCANNED", scanned)
    monkeypatch.setattr(locked_tags, "MAX_FOUND", found)
    monkeypatch.setattr(locked_tags, "MAX_CHECKED", checked)
    monkeypatch.setattr(locked_tags, "_CHUNK", 4)
    for query in QUERIES:
        assert find_all(many, query, limit) == expect(many, query), query


@pytest.mark.both_databases
@pytest.mark.parametrize("protection", list(Protection))
def test_each_protection_has_the_statuses_that_it_can_have(
    many: Workspace, protection: Protection
) -> None:
    protect_workspace(many, protection, COVERS_MOST)
    for status in ("", "locked", "released", SUSPENDED):
        query = LockedTagQuery(status=status)
        assert find_all(many, query, 50) == expect(many, query), status


@pytest.mark.both_databases
def test_text_that_an_index_finds_is_found_behind_what_is_looked_through(
    many: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locked_tags, "MAX_SCANNED", 5)
    page = find_locked_tags(many, read_policy(many), LockedTagQuery(parse_search("v1.0-3")))
    # SQLite has no such index, and goes on with the next page.
    assert page.is_whole is is_postgresql()
    assert [row.tag for row, _ in page.locks] == (
        ["v1.0-39", "v1.0-35", "v1.0-31", "v1.0-3"] * (is_postgresql())
    )


# What it costs.


def capture(find: Callable[[], object]) -> list[str]:
    """Return the plan of each SELECT of locks."""
    plans: list[str] = []
    words = "EXPLAIN" if is_postgresql() else "EXPLAIN QUERY PLAN"

    def explain(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if "immutability_lockedtag" in sql:
            with connection.cursor() as cursor:
                cursor.cursor.execute(f"{words} {sql}", params)
                plans.append("\n".join(str(row[-1]) for row in cursor.cursor.fetchall()))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(explain):
        find()
    return plans


@pytest.fixture
def planned(many: Workspace) -> Workspace:
    """The workspace with more locks, in a database that knows how many there are."""
    make_locks(many, 0, 1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE immutability_lockedtag")
        if is_postgresql():
            cursor.execute("SET LOCAL enable_seqscan = off")
    return many


@pytest.mark.both_databases
def test_a_rare_state_is_found_by_its_index(planned: Workspace) -> None:
    policy = read_policy(planned)
    query = LockedTagQuery(status="released")
    plans = capture(lambda: find_locked_tags(planned, policy, query))
    assert "locked_tag_rare_state" in plans[0], plans[0]


@pytest.mark.both_databases
def test_a_digest_is_found_by_its_index(planned: Workspace) -> None:
    wanted = LockedTag.objects.filter(to_digest_range("sha256:bb"), workspace=planned)
    assert "locked_tag_digest" in wanted.explain()


@pytest.mark.skipif("not is_postgresql()")
def test_text_is_found_by_its_index(planned: Workspace) -> None:
    for lookup in (
        IContains(LockedName(), "other"),
        IContains(LockedName(), "v1.0-3"),
        IEndsWith(LockedName(), ":v1"),
    ):
        # With a condition of another index the planner would take that one: there are too few.
        assert "locked_tag_text" in LockedTag.objects.filter(lookup).explain(), lookup


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("query", "most"),
    [
        (LockedTagQuery(), 3),
        (LockedTagQuery(parse_search("v1")), 5),
        (LockedTagQuery(status=SUSPENDED), 3),
    ],
    ids=str,
)
def test_a_page_costs_a_few_statements(
    many: Workspace, django_assert_max_num_queries: Any, query: LockedTagQuery, most: int
) -> None:
    policy = read_policy(many)
    with django_assert_max_num_queries(most):
        find_locked_tags(many, policy, query)


# Counting.


@pytest.mark.both_databases
def test_few_locks_are_counted(many: Workspace) -> None:
    assert count_locked(many) == LockCount(38)


@pytest.mark.both_databases
def test_many_locks_are_estimated(many: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_tags, "MAX_COUNTED", 20)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE immutability_lockedtag")
    counted = count_locked(many)
    assert not counted.is_exact
    assert counted.is_estimate is is_postgresql()
    # Of two workspaces, one with a single lock.
    assert counted.number in (range(35, 42) if is_postgresql() else [20])


@pytest.mark.parametrize(
    ("number", "shown"), [(10_001, 10_000), (996_321, 1_000_000), (1_049_999, 1_000_000), (57, 57)]
)
def test_an_estimate_has_no_digits_that_say_nothing(number: int, shown: int) -> None:
    assert locked_tags._round(number) == shown


# The migration.


@pytest.mark.skipif("not is_postgresql()")
def test_a_role_that_may_not_create_the_extension_is_told_what_to_do() -> None:
    migration = import_module("immutability.migrations.0003_search_locked_tags")
    with connection.cursor() as cursor:
        cursor.execute("DROP EXTENSION pg_trgm CASCADE")
        cursor.execute("CREATE ROLE newcomer_without_rights")
        cursor.execute("SET LOCAL ROLE newcomer_without_rights")
    with (
        connection.schema_editor(atomic=False) as editor,
        pytest.raises(CommandError, match='run "CREATE EXTENSION pg_trgm" in this database once'),
    ):
        migration.create_text_index(None, editor)
