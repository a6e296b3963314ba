"""Connections of PostgreSQL's pool: which of them are handed out."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection
from psycopg_pool import ConnectionPool

from packages_site.database import PatientConnection
from tests.conftest import is_postgresql, skip_or_fail

pytestmark = pytest.mark.django_db


@pytest.fixture
def open_connection() -> Iterator[PatientConnection]:
    """A connection of its own to the tests' server."""
    if not is_postgresql():
        skip_or_fail("PostgreSQL")
    options = {
        name: value
        for name, value in connection.get_connection_params().items()
        if name in ("dbname", "host", "port", "user", "password")
    }
    with PatientConnection.connect(**options, autocommit=True) as opened:
        yield opened


def count_statements(of: PatientConnection, call: Any) -> int:
    """Return how often the server was asked something."""
    asked = 0
    wait = PatientConnection.wait

    def counted(self: PatientConnection, *arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += self is of
        return wait(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatientConnection, "wait", counted)
        call()
    return asked


def test_a_connection_that_works_is_not_asked(open_connection: PatientConnection) -> None:
    check = ConnectionPool.check_connection
    assert count_statements(open_connection, lambda: check(open_connection)) == 0
    assert open_connection.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_the_server_has_ended_is_found_out(
    open_connection: PatientConnection,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [open_connection.info.backend_pid])
        assert cursor.fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError):
        ConnectionPool.check_connection(open_connection)
    # And again: now it is known to be broken.
    with pytest.raises(psycopg.OperationalError):
        ConnectionPool.check_connection(open_connection)
