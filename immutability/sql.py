"""The statements that read what decides a push, and write its lock: the hot path."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

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
    rows = fetch(
        f"SELECT {now()}, settings.version, settings.protection, settings.refuse_identical_pushes, "
        "settings.protect_signature_tags, rule.name, rule.pattern "
        "FROM (SELECT 1) AS one "
        "LEFT JOIN immutability_containersettings AS settings ON settings.workspace_id = %s "
        "LEFT JOIN immutability_rule AS rule ON rule.settings_id = settings.workspace_id "
        "ORDER BY rule.position",
        (workspace_id,),
    )
    # Of a workspace that has never saved any, all but the time is null.
    at, version, protection, refuse_identical_pushes, protect_signature_tags, *_ = rows[0]
    if version is None:
        return Policy(), read_time(at)
    rules = tuple(PolicyRule(row[5], row[6]) for row in rows if row[5] is not None)
    policy = Policy(
        version,
        Protection(protection),
        rules,
        bool(refuse_identical_pushes),
        bool(protect_signature_tags),
    )
    return policy, read_time(at)


def find_tags_with_locks(
    workspace_id: int, repository: str, names: Sequence[str]
) -> list[tuple[TagRecord, LockedTag | None]]:
    """Return the records of these tags, each with its lock, without holding anything."""
    found: list[tuple[TagRecord, LockedTag | None]] = []
    for part in in_parts(names):
        rows = fetch(
            f"SELECT {TAGS.columns}, {LOCKS.columns} FROM {TAGS.name} "
            f"LEFT JOIN {LOCKS.name} ON {LOCKS.name}.record_id = {TAGS.name}.id "
            f"WHERE {TAGS.name}.workspace_id = %s AND {TAGS.name}.repository = %s "
            f"AND {TAGS.name}.name IN {marks(len(part))}",
            (workspace_id, repository, *part),
        )
        found += [(TAGS.read(row[: TAGS.width]), _read_lock(row[TAGS.width :])) for row in rows]
    return found


def _read_lock(row: Sequence[Any]) -> LockedTag | None:
    return LOCKS.read(row) if row[0] is not None else None


def find_locks(record_ids: Collection[int]) -> list[LockedTag]:
    """Return the locks of these records, which are held."""
    if not record_ids:
        return []
    rows = fetch(
        f"SELECT {LOCKS.columns} FROM {LOCKS.name} WHERE record_id IN {marks(len(record_ids))}",
        tuple(record_ids),
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
