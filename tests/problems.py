"""What every error answer of the API has in common, and what no refused request may do."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.models import Model

from containers.models import Manifest, ManifestReference, Push
from containers.models import Repository as RepositoryRow
from containers.models import Tag as TagRecord
from immutability.models import Claim, ContainerSettings, Job, LockedTag, Rule
from workspaces.models import (
    AccessToken,
    EventRepeat,
    Invitation,
    LockEvent,
    Membership,
    User,
    Workspace,
)

_TABLES: tuple[type[Model], ...] = (
    AccessToken,
    Claim,
    ContainerSettings,
    EventRepeat,
    Invitation,
    Job,
    LockEvent,
    LockedTag,
    Manifest,
    ManifestReference,
    Membership,
    Push,
    RepositoryRow,
    Rule,
    TagRecord,
    User,
    Workspace,
)

# Rows that are locked alone are as they were.
_WRITES = re.compile(r"\b(INSERT|DELETE|TRUNCATE|MERGE)\b|(?<!FOR )(?<!FOR NO KEY )\bUPDATE\b")


def read_problem(response: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """Assert that `response` is problem details (RFC 9457) with this status; return the body."""
    assert response.status_code == status, response.content[:500]
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(response.content)
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert isinstance(body["code"], str)
    assert body["code"].replace("_", "").isalnum()
    if code is not None:
        assert body["code"] == code
    return body


def snapshot() -> dict[str, list[dict[str, Any]]]:
    """Return everything that a request could have changed, but for the last use of a token."""
    found = {}
    # Without models: many tests ask, and rows are compared alone.
    with connection.cursor() as cursor:
        for table in _TABLES:
            name, key = table._meta.db_table, table._meta.pk.column
            cursor.execute(f'SELECT * FROM "{name}" ORDER BY "{key}"')  # noqa: S608
            columns = [column[0] for column in cursor.description]
            found[name] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    for token in found[AccessToken._meta.db_table]:
        del token["last_used_at"]
    return found


def may_write(sql: str) -> bool:
    """Whether a statement names one of the tables and may change it."""
    return bool(_WRITES.search(sql)) and any(table._meta.db_table in sql for table in _TABLES)


@contextmanager
def nothing_written() -> Iterator[None]:
    """Assert that the block leaves every table as it was.

    Most blocks send no statement that could write. The tables are read where one does: before it,
    and after the block.
    """
    before: list[dict[str, list[dict[str, Any]]]] = []

    def look_first(execute: Any, sql: str, *rest: Any) -> Any:
        if not before and may_write(sql):
            before.append(snapshot())
        return execute(sql, *rest)

    with connection.execute_wrapper(look_first):
        yield
    if before:
        assert snapshot() == before[0]


class Complaints(dict[str, str]):
    """What went wrong with each of many values, so that one test can try them all."""

    @contextmanager
    def about(self, value: object) -> Iterator[None]:
        """Keep the failure of the block under the value that it tried."""
        try:
            yield
        except AssertionError as error:
            self[str(value)[:80]] = str(error)[:300]
