"""The statements that read what decides a push, and write its lock: the hot path."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from containers.models import Tag as TagRecord
from containers.sql import TAGS
from immutability.models import LockedTag
from immutability.policy.protection import Policy, PolicyRule, Protection
from workspaces.database import Table, change, fetch, in_parts, marks, now, read_time

LOCKS = Table(LockedTag)

# What never changes is written once: whose lock it is.
_PLACE = ("record_id", "workspace_id", "repository", "tag")
_CHANGES = (
    "state",
    "digest",
    "media_type",
    "rule_name",
    "rule_pattern",
    "settings_version",
    "pushed_by",
    "pushed_by_kind",
    "locked_at",
    "deleted_by",
    "deleted_by_kind",
    "deleted_at",
    "delete_reason",
    "replaced",
    "refused_at",
)


def read_policy(workspace_id: int) -> tuple[Policy, datetime]:
    """Return a workspace's policy and the database's time, in one statement: all of it agrees."""
    rows = fetch(f"SELECT {_policy_columns()} {_FROM_SETTINGS}", (workspace_id,))
    return _read_policy(rows[0])


def read_policy_and_tags(
    workspace_id: int, repository: str, names: Sequence[str]
) -> tuple[Policy, datetime, list[tuple[TagRecord, LockedTag | None]]]:
    """Return policy, time, and the records of these tags, each with its lock; nothing is held."""
    rows = fetch(
        f"SELECT {_policy_columns()}, {TAGS.columns}, {LOCKS.columns} {_FROM_SETTINGS} "
        f"LEFT JOIN {TAGS.name} ON {TAGS.name}.workspace_id = %s AND {TAGS.name}.repository = %s "
        f"AND {TAGS.name}.name IN {marks(len(names))} "
        f"LEFT JOIN {LOCKS.name} ON {LOCKS.name}.record_id = {TAGS.name}.id",
        (workspace_id, workspace_id, repository, *names),
    )
    begin, middle = _POLICY_WIDTH, _POLICY_WIDTH + TAGS.width
    tags = [
        (TAGS.read(row[begin:middle]), LOCKS.read(row[middle:]) if row[middle] else None)
        for row in rows
        if row[begin] is not None
    ]
    return *_read_policy(rows[0]), tags


def read_policy_and_locks(
    workspace_id: int, record_ids: Sequence[int]
) -> tuple[Policy, datetime, list[LockedTag]]:
    """Return policy, time, and the locks of these records, which are held."""
    if not record_ids:
        return *read_policy(workspace_id), []
    rows: list[Sequence[Any]] = []
    for part in in_parts(record_ids):
        rows += fetch(
            f"SELECT {_policy_columns()}, {LOCKS.columns} {_FROM_SETTINGS} "
            f"LEFT JOIN {LOCKS.name} ON {LOCKS.name}.record_id IN {marks(len(part))}",
            (workspace_id, *part),
        )
    locks = [LOCKS.read(row[_POLICY_WIDTH:]) for row in rows if row[_POLICY_WIDTH] is not None]
    return *_read_policy(rows[0]), locks


# Of a workspace that has never saved any settings, all but the time is null.
_FROM_SETTINGS = (
    "FROM (SELECT 1) AS one "
    "LEFT JOIN immutability_containersettings AS settings ON settings.workspace_id = %s"
)
_POLICY_WIDTH = 6
_LIST = {
    "postgresql": "JSON_AGG(JSON_BUILD_ARRAY(position, name, pattern))",
    "sqlite": "JSON_GROUP_ARRAY(JSON_ARRAY(position, name, pattern))",
}


def _policy_columns() -> str:
    return (
        f"{now()}, settings.version, settings.protection, settings.refuse_identical_pushes, "
        f"settings.protect_signature_tags, (SELECT {_LIST[connection.vendor]} "
        "FROM immutability_rule WHERE settings_id = settings.workspace_id)"
    )


def _read_policy(row: Sequence[Any]) -> tuple[Policy, datetime]:
    at, version, protection, refuse_identical_pushes, protect_signature_tags, rules = row[:6]
    if version is None:
        return Policy(), read_time(at)
    listed = json.loads(rules) if isinstance(rules, str) else rules or []
    policy = Policy(
        version,
        Protection(protection),
        tuple(PolicyRule(name, pattern) for _, name, pattern in sorted(listed)),
        bool(refuse_identical_pushes),
        bool(protect_signature_tags),
    )
    return policy, read_time(at)


def find_locks(record_ids: Sequence[int]) -> list[LockedTag]:
    """Return the locks of these records, which are held."""
    rows: list[Sequence[Any]] = []
    for part in in_parts(record_ids):
        rows += fetch(
            f"SELECT {LOCKS.columns} FROM {LOCKS.name} WHERE record_id IN {marks(len(part))}", part
        )
    return LOCKS.read_all(rows)


def insert_lock(row: LockedTag) -> None:
    """Insert a new lock, and note its id."""
    names = (*_PLACE, *_CHANGES)
    [(row.pk,)] = fetch(
        f"INSERT INTO {LOCKS.name} ({', '.join(names)}) VALUES {marks(len(names))} RETURNING id",
        LOCKS.values(row, names),
    )
    row._state.adding = False


def update_lock(row: LockedTag) -> None:
    """Write what has changed of a lock."""
    assigned = ", ".join(f"{name} = %s" for name in _CHANGES)
    change(
        f"UPDATE {LOCKS.name} SET {assigned} WHERE id = %s",
        [*LOCKS.values(row, _CHANGES), row.pk],
    )
