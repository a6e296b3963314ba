"""The database itself refuses to change or delete what is in the log, no matter who asks."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.db.models import F

from tests.conftest import AA, BB, is_postgresql
from tests.problems import snapshot
from tests.workspaces.log.conftest import DANA, Write
from workspaces.log.append import Event, append_event, append_repeatable_event, close_repeats
from workspaces.log.checkpoints import make_checkpoint
from workspaces.log.kinds import EventKind
from workspaces.log.models import Checkpoint, EventOrigin, EventRepeat, EventSeal, LockEvent
from workspaces.log.triggers import APPEND_ONLY, GUARDED, find_missing_guards

pytestmark = pytest.mark.both_databases

REPLACE = "INSERT OR REPLACE INTO {0} SELECT * FROM {0}"
TABLES = [model._meta.db_table for model in APPEND_ONLY]


@pytest.fixture
def full(write: Write) -> None:
    """A row in each of the tables."""
    write(2)
    assert make_checkpoint("acme") is not None


def all_rows() -> list[list[dict[str, Any]]]:
    return [list(model._default_manager.order_by("id").values()) for model in APPEND_ONLY]


def assert_refused(action: Any) -> None:
    before = all_rows()
    assert all(before)
    with pytest.raises(DatabaseError, match="the lock log is append-only"), transaction.atomic():
        action()
    assert all_rows() == before


def run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_three_tables_of_the_log_are_guarded() -> None:
    assert set(APPEND_ONLY) == {LockEvent, EventSeal, Checkpoint}
    assert set(GUARDED) == {*APPEND_ONLY, EventRepeat}


@pytest.mark.django_db
def test_the_triggers_are_there_after_all_migrations() -> None:
    assert find_missing_guards() == []


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("model", APPEND_ONLY)
def test_models_cannot_change_or_delete(model: type[models.Model]) -> None:
    rows = model._default_manager.all()
    row = rows.order_by("id")[0]
    assert_refused(lambda: rows.update(workspace="globex"))
    assert_refused(lambda: rows.filter(id=row.pk).update(id=F("id") + 1000))
    assert_refused(row.save)
    assert_refused(lambda: rows._raw_delete("default"))
    assert_refused(lambda: rows.bulk_update([row], ["workspace"]))


@pytest.mark.usefixtures("full")
def test_a_checkpoint_cannot_be_deleted_like_any_row() -> None:
    assert_refused(lambda: Checkpoint.objects.all().delete())
    assert_refused(lambda: EventSeal.objects.all().delete())
    # What refers to an event protects it before its own trigger does.
    with pytest.raises(models.ProtectedError):
        LockEvent.objects.all().delete()


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET workspace = workspace",
        "UPDATE {} SET workspace = 'globex' WHERE id > 0",
        "DELETE FROM {}",
        "DELETE FROM {0} WHERE id = (SELECT min(id) FROM {0})",
        "INSERT INTO {0} SELECT * FROM {0} WHERE id > 0 "
        "ON CONFLICT (id) DO UPDATE SET workspace = 'globex'",
    ],
)
def test_statements_cannot_change_or_delete(table: str, statement: str) -> None:
    assert_refused(lambda: run(statement.format(table)))


@pytest.mark.usefixtures("full")
def test_origins_are_not_part_of_the_record_and_can_be_erased() -> None:
    before = snapshot()["workspaces_lockevent"]
    EventOrigin.objects.all().delete()
    assert snapshot()["workspaces_lockevent"] == before


# Counters of repeats only grow.

EVENT = Event(EventKind.PUSH_REFUSED, "acme", "acme/api", "v1", digest=AA, other_digest=BB)


@pytest.fixture
def counter(db: None) -> EventRepeat:
    """A counter at two."""
    for _ in range(3):
        with transaction.atomic():
            append_repeatable_event(EVENT, actor=DANA)
    return EventRepeat.objects.get()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {0} SET count = count - 1",
        "UPDATE {0} SET count = 0",
        "UPDATE {0} SET count = count + 1, workspace = 'globex'",
        "UPDATE {0} SET fingerprint = 'x'",
        "UPDATE {0} SET id = id + 1",
        "UPDATE {0} SET hour = '2026-01-01 00:00:00'",
        "UPDATE {0} SET event_id = event_id + 1",
        "DELETE FROM {0}",
        "TRUNCATE {0}" if is_postgresql() else REPLACE,
    ],
)
def test_a_counter_cannot_be_lowered(counter: EventRepeat, statement: str) -> None:
    match = "the (lock log is append-only|counters of the lock log only grow)"
    with pytest.raises(IntegrityError, match=match), transaction.atomic():
        run(
            f"{'SET CONSTRAINTS ALL IMMEDIATE; ' if is_postgresql() else ''}{statement}".format(
                EventRepeat._meta.db_table
            )
        )
    assert EventRepeat.objects.values().get() == {
        "id": counter.id,
        "workspace": "acme",
        "fingerprint": counter.fingerprint,
        "hour": counter.hour,
        "event_id": counter.event_id,
        "count": 2,
    }


def test_a_counter_goes_when_its_count_is_an_event(counter: EventRepeat) -> None:
    with transaction.atomic():
        assert close_repeats(counter.hour + timedelta(hours=1)) == 1
    assert not EventRepeat.objects.exists()
    counted = LockEvent.objects.get(kind=EventKind.REPEATS_COUNTED)
    assert counted.details is not None
    assert counted.details["count"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"details": {"count": 1, "event": "{ref}"}},
        {"details": {"count": 2, "event": "AAAAAAAAAAAA"}},
        {"details": {"event": "{ref}"}},
        {"details": None},
        {"details": {"count": 2, "event": "{ref}"}, "workspace": "globex"},
        {"details": {"count": 2, "event": "{ref}"}, "repository": "acme/web"},
        {"details": {"count": 2, "event": "{ref}"}, "tag": "v2"},
        {"details": {"count": 2, "event": "{ref}"}, "kind": EventKind.PUSH_REFUSED},
    ],
)
def test_a_counter_stays_where_no_event_says_its_count(
    counter: EventRepeat, wrong: dict[str, Any]
) -> None:
    details = wrong["details"] and {
        key: value.format(ref=counter.event.ref) if isinstance(value, str) else value
        for key, value in wrong["details"].items()
    }
    right = Event(EventKind.REPEATS_COUNTED, "acme", "acme/api", "v1")
    with transaction.atomic():
        append_event(replace(right, **{**wrong, "details": details}), actor=DANA)
    with pytest.raises(IntegrityError, match="only grow"), transaction.atomic():
        counter.delete()
    assert EventRepeat.objects.exists()


def test_a_counter_that_counted_nothing_goes(db: None) -> None:
    with transaction.atomic():
        append_repeatable_event(EVENT, actor=DANA)
    EventRepeat.objects.all().delete()
    assert not EventRepeat.objects.exists()


if is_postgresql():

    @pytest.mark.usefixtures("full")
    @pytest.mark.parametrize("table", TABLES)
    def test_a_session_that_is_a_replica_cannot_change_or_delete(table: str) -> None:
        """Ordinary triggers do not fire in one."""
        run("SET CONSTRAINTS ALL IMMEDIATE")
        run("SET LOCAL session_replication_role = replica")
        for statement in (
            "UPDATE {} SET workspace = workspace",
            "DELETE FROM {}",
            "TRUNCATE {} CASCADE",
        ):
            assert_refused(lambda how=statement: run(how.format(table)))

    @pytest.mark.usefixtures("full")
    @pytest.mark.parametrize("how", ["", " CASCADE", " RESTART IDENTITY CASCADE"])
    @pytest.mark.parametrize("table", TABLES)
    def test_a_table_cannot_be_emptied(table: str, how: str) -> None:
        run("SET CONSTRAINTS ALL IMMEDIATE")
        before = all_rows()
        # Without CASCADE, what refers to the events is in the way already.
        with pytest.raises(DatabaseError), transaction.atomic():
            run(f"TRUNCATE {table}{how}")
        assert all_rows() == before
        if how:
            assert_refused(lambda: run(f"TRUNCATE {table}{how}"))

    @pytest.mark.usefixtures("full")
    def test_a_refusal_is_an_integrity_error() -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            LockEvent.objects.update(tag="v9")

else:

    @pytest.mark.usefixtures("full")
    @pytest.mark.parametrize("table", TABLES)
    def test_a_row_cannot_be_replaced(table: str) -> None:
        """SQLite's REPLACE deletes what is in the way, and fires triggers only if it is told to."""
        assert_refused(lambda: run(REPLACE.format(table)))
