"""Triggers and constraints that an operator has put out of force."""

from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from tests.conftest import is_postgresql
from tests.workspaces.log.conftest import Verify
from tests.workspaces.log.tampering import without_triggers, write_at
from workspaces.access import SYSTEM
from workspaces.log.append import Event, append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.log.models import EventRepeat, EventSeal, LockEvent

pytestmark = pytest.mark.both_databases

PAST_THE_TRIGGERS = (
    [
        "DROP TRIGGER workspaces_lockevent_append_only ON workspaces_lockevent",
        "ALTER TABLE workspaces_lockevent DISABLE TRIGGER workspaces_lockevent_append_only",
        "ALTER TABLE workspaces_checkpoint DISABLE TRIGGER workspaces_checkpoint_no_truncate",
        "ALTER TABLE workspaces_eventseal ENABLE REPLICA TRIGGER workspaces_eventseal_append_only",
        "ALTER TABLE workspaces_eventseal ENABLE TRIGGER workspaces_eventseal_append_only",
        "ALTER TABLE workspaces_eventrepeat DISABLE TRIGGER USER",
        "CREATE OR REPLACE FUNCTION taglock_counters_grow() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN NEW; END $$",
        "CREATE OR REPLACE FUNCTION taglock_append_only() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN NULL; END $$",
        "CREATE OR REPLACE TRIGGER workspaces_lockevent_append_only BEFORE UPDATE OF ref OR DELETE "
        "ON workspaces_lockevent FOR EACH ROW EXECUTE FUNCTION taglock_append_only()",
        "CREATE OR REPLACE TRIGGER workspaces_lockevent_append_only BEFORE UPDATE OR DELETE "
        "ON workspaces_lockevent FOR EACH ROW WHEN (OLD.tag = 'x') "
        "EXECUTE FUNCTION taglock_append_only()",
        "CREATE OR REPLACE TRIGGER workspaces_lockevent_append_only BEFORE UPDATE "
        "ON workspaces_lockevent FOR EACH ROW EXECUTE FUNCTION taglock_append_only()",
    ]
    if is_postgresql()
    else [
        "DROP TRIGGER workspaces_eventseal_no_delete",
        "DROP TRIGGER workspaces_eventrepeat_no_update",
        "DROP TRIGGER workspaces_eventrepeat_no_delete",
        "DROP TRIGGER workspaces_lockevent_no_update ;; "
        "CREATE TRIGGER workspaces_lockevent_no_update BEFORE UPDATE OF ref ON "
        "workspaces_lockevent BEGIN SELECT RAISE(ABORT, 'the lock log is append-only: UPDATE on "
        "workspaces_lockevent is refused'); END",
        "DROP TRIGGER workspaces_lockevent_no_update ;; "
        "CREATE TRIGGER workspaces_lockevent_no_update BEFORE UPDATE ON "
        "workspaces_lockevent WHEN OLD.tag = 'x' BEGIN SELECT RAISE(ABORT, 'the lock log is "
        "append-only: UPDATE on workspaces_lockevent is refused'); END",
    ]
)


@pytest.mark.parametrize("statements", PAST_THE_TRIGGERS)
def test_a_trigger_that_does_not_guard_is_found(
    undone: None, verify: Verify, statements: str
) -> None:
    assert verify() == []
    with connection.cursor() as cursor:
        for statement in statements.split(" ;; "):
            cursor.execute(statement)
    assert any("does not guard the table" in each for each in verify())


def test_a_counter_that_the_owner_of_the_database_lowered_is_not_found(
    log_files: Path, undone: None, verify: Verify
) -> None:
    """As docs/lock-log.md says: until it is an event, a counter is not part of the chain."""
    refusal = Event(EventKind.PUSH_REFUSED, "acme", "acme/api", "v1")
    for _ in range(3):
        append_repeatable_event(refusal, actor=SYSTEM)
    with without_triggers():
        EventRepeat.objects.update(count=0)
    assert verify() == []


if is_postgresql():

    def test_a_session_that_is_a_replica_is_found(undone: None, verify: Verify) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
        assert verify() == [
            "session_replication_role is replica for this session: nothing keeps a seal from "
            "losing its event there"
        ]

    @pytest.mark.parametrize(
        ("statement", "place"),
        [
            ("ALTER ROLE CURRENT_USER {}", "the role taglock in every database"),
            ("ALTER DATABASE {database} {}", "every role in the database {database}"),
            (
                "ALTER ROLE CURRENT_USER IN DATABASE {database} {}",
                "the role taglock in the database {database}",
            ),
            ("ALTER ROLE ALL {}", "every role in every database"),
        ],
    )
    def test_a_role_or_a_database_whose_sessions_are_replicas_is_found(
        undone: None, verify: Verify, statement: str, place: str
    ) -> None:
        database = connection.settings_dict["NAME"]
        setting = "SET session_replication_role = 'replica'"
        with connection.cursor() as cursor:
            cursor.execute(statement.format(setting, database=database))
        (finding,) = verify()
        assert f"is replica for {place.format(database=database)}: " in finding

    def test_a_chain_that_forks_is_found(sealed: list[LockEvent], verify: Verify) -> None:
        other = write_at(timezone.now())
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE workspaces_eventseal DROP CONSTRAINT seal_once")
        EventSeal.objects.create(workspace="acme", sequence=5, event=other, hash="0" * 64)
        findings = verify()
        assert "event 5 is sealed twice: the chain forks" in findings
        assert any("a unique constraint is missing" in each for each in findings)
