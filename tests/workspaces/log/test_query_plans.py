"""How the database finds a page: by an index, whatever the filter. Read from its own plans."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from tests.conftest import AA, is_postgresql
from tests.people import write_workspace
from workspaces.access import ROLE_PERMISSIONS, Actor, ActorKind, Role
from workspaces.caller_access import Access
from workspaces.log.models import LockEvent
from workspaces.log.query import LogFilterForm, find_events, to_condition
from workspaces.log.search import parse_search
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases, pytest.mark.slow]

# So many that an index in order is the cheaper way by far, however the table is filled.
COUNT = 4000


def digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def kept_log(kept_rows: None) -> Workspace:
    """A workspace whose log has half of the events; the other half is another one's."""
    acme = write_workspace("acme", "Acme")
    LockEvent.objects.bulk_create(
        LockEvent(
            ref=f"{number:012}",
            workspace="acme" if number % 2 else "globex",
            kind="tag.locked" if number % 50 else "tag.deleted",
            repository=f"acme/r{number % 40}",
            tag=f"v{number % 500}",
            digest=digest_of(f"a {number}"),
            other_digest=digest_of(f"b {number}") if number % 3 else "",
            actor=f"person{number % 30}",
            actor_kind="person",
            rule_name=f"Rule {number % 20}" if number % 4 else "",
        )
        for number in range(COUNT)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE workspaces_lockevent")
    return acme


@pytest.fixture
def auditor(kept_log: Workspace) -> Access:
    """Someone who reads all of it, where the database prefers an index."""
    if is_postgresql():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    role = Role.AUDITOR
    return Access(kept_log, Actor("olga", ActorKind.PERSON), ROLE_PERMISSIONS[role], role)


def read_plan(access: Access, **query: str) -> str:
    """Return the plan of the page that `query` asks for."""
    plans: list[str] = []
    place = {name: query.pop(name) for name in ("before", "after") if name in query}
    form = LogFilterForm(query)
    assert form.is_valid(), form.errors

    def explain(execute: Callable[..., Any], sql: str, params: Any, *rest: Any) -> Any:
        how = "EXPLAIN" if is_postgresql() else "EXPLAIN QUERY PLAN"
        with connection.cursor() as cursor:
            cursor.cursor.execute(f"{how} {sql}", params)
            plans.append("\n".join(str(row[-1]) for row in cursor.cursor.fetchall()))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(explain):
        find_events(access, form, place.get("before", ""), after=place.get("after", ""))
    (plan,) = plans
    return plan


PLANS = [
    ({}, ["event_by_time"]),
    ({"since": "2026-01-01", "until": "2026-01-02"}, ["event_by_time"]),
    ({"repository": "acme/r3"}, ["event_by_repository", "event_by_tag"]),
    ({"repository": "acme/r3", "tag": "v3"}, ["event_by_tag", "event_by_tag_name"]),
    ({"tag": "v3"}, ["event_by_tag_name"]),
    ({"kind": "tag.deleted"}, ["event_by_kind"]),
    ({"actor": "person3"}, ["event_by_actor"]),
    ({"rule": "Rule 3"}, ["event_by_rule"]),
    ({"digest": AA}, ["event_by_digest", "event_by_other_digest"]),
    ({"digest": digest_of("a 7")[:15]}, ["event_by_digest", "event_by_other_digest"]),
    ({"digest": "abc"}, ["event_by_digest", "event_by_other_digest"]),
    ({"ref": "000000000003"}, ["event_ref_once"]),
]


PLACES = [{}, {"before": "000000002001"}, {"after": "000000002001"}]


@pytest.mark.parametrize(("query", "indexes"), PLANS)
def test_no_filter_alone_goes_through_the_whole_log(
    auditor: Access, query: dict[str, str], indexes: list[str]
) -> None:
    for place in PLACES:
        plan = read_plan(auditor, **query, **place)
        assert "Seq Scan" not in plan
        assert not re.search(r"\bSCAN\b", plan), plan
        # SQLite calls the index of a unique constraint by a name of its own.
        plan = plan.replace("sqlite_autoindex_workspaces_lockevent_1", "event_ref_once")
        used = set(re.findall(r"event_by_\w+|event_ref_once", plan))
        # The place itself is found by its ref.
        assert used <= {*indexes, "event_ref_once"}, plan
        assert used & set(indexes), plan


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"repository": "acme/r3", "tag": "v3"},
        {"tag": "v3"},
        {"kind": "tag.deleted"},
        {"actor": "person3"},
        {"rule": "Rule 3"},
    ],
)
def test_the_index_has_the_order_so_that_nothing_is_sorted(
    auditor: Access, query: dict[str, str]
) -> None:
    if is_postgresql():
        with connection.cursor() as cursor:
            # Of so few rows it would rather sort what it has found: asked is that it need not.
            for way in ("sort", "incremental_sort", "bitmapscan"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
    for place in PLACES:
        plan = read_plan(auditor, **query, **place)
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan


def test_a_place_in_the_list_is_a_place_in_the_index(auditor: Access) -> None:
    plan = read_plan(auditor, before="000000002001")
    bound = r"Index Cond: .*at <= " if is_postgresql() else r"event_by_time \(workspace=\? AND at<"
    assert re.search(bound, plan), plan


@pytest.mark.parametrize("text", ["r3:v3", "person3", "Rule 3", "r3 person3"])
def test_what_is_searched_for_is_found_by_the_index_of_text(auditor: Access, text: str) -> None:
    if not is_postgresql():
        # It looks through the newest events, and has no such index.
        return
    with connection.cursor() as cursor:
        # Of so few rows it would rather go through all of a workspace.
        for way in ("indexscan", "indexonlyscan"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        words = parse_search(text, "acme")
        found = LockEvent.objects.filter(*(to_condition(word) for word in words))
        assert "event_text" in found.explain()


def test_a_telling_digest_is_looked_for_by_its_own_index_even_where_many_are_expected(
    auditor: Access,
) -> None:
    LockEvent.objects.bulk_create(
        LockEvent(
            ref=f"M{number:011}",
            workspace="acme",
            kind="tag.locked",
            digest=AA,
            actor="dana",
            actor_kind="person",
        )
        for number in range(COUNT)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE workspaces_lockevent")
    assert "event_by_time" not in read_plan(auditor, digest=AA[:20])
    # Of a whole digest the database knows how many there are: it need not sort them all.
    if is_postgresql():
        plan = read_plan(auditor, digest=AA)
        assert "event_by_time" in plan
        assert "Sort" not in plan
