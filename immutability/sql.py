"""The statements that read what decides a push, and write its lock: the hot path.

And those that read what a change of settings does to all tags of a workspace.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django.db import connection

from containers.models import Manifest, Push
from containers.models import Tag as TagRecord
from containers.sql import MANIFESTS, TAGS
from immutability.models import LockedTag
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection
from workspaces.database import Column, Table, fetch, in_parts, marks, now, read_time, write
from workspaces.sql import WORKSPACES

LOCKS = Table(LockedTag)
# For callers whose rights do not change while they act.
NOTHING = Column("NULL")

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


@dataclass(frozen=True)
class PushRows:
    """What was read of a push: of its tags those with a record, each with its lock.

    `manifest` is what is known of the pushed one, or None. Nothing is held.
    """

    policy: Policy
    now: datetime
    tags: list[tuple[TagRecord, LockedTag | None]]
    manifest: Manifest | None
    is_repository_known: bool
    right: Any
    is_archived: bool


def read_push(
    workspace_id: int, repository: str, names: Sequence[str], digest: str, right: Column = NOTHING
) -> PushRows:
    """Read what a push of this manifest under these tags concerns, in one statement.

    What `right` gives, a column, is read with it.
    """
    rows = fetch(
        f"SELECT {_policy_columns()}, {right.text}, EXISTS (SELECT 1 FROM "
        "containers_repository WHERE workspace_id = %s AND name = %s), "
        f"{MANIFESTS.columns}, {TAGS.columns}, {LOCKS.columns} {_FROM_SETTINGS} "
        f"LEFT JOIN {MANIFESTS.name} ON {MANIFESTS.name}.workspace_id = %s "
        f"AND {MANIFESTS.name}.repository = %s AND {MANIFESTS.name}.digest = %s "
        f"LEFT JOIN {TAGS.name} ON {TAGS.name}.workspace_id = %s AND {TAGS.name}.repository = %s "
        f"AND {TAGS.name}.name IN {marks(len(names))} "
        f"LEFT JOIN {LOCKS.name} ON {LOCKS.name}.workspace_id = {TAGS.name}.workspace_id "
        f"AND {LOCKS.name}.record_id = {TAGS.name}.id",
        (
            *right.values,
            *(workspace_id, repository, workspace_id),
            *(workspace_id, repository, digest),
            *(workspace_id, repository, *names),
        ),
    )
    to_manifest = _POLICY_WIDTH + 2
    to_tag = to_manifest + MANIFESTS.width
    to_lock = to_tag + TAGS.width
    tags = [
        (TAGS.read(row[to_tag:to_lock]), LOCKS.read(row[to_lock:]) if row[to_lock] else None)
        for row in rows
        if row[to_tag] is not None
    ]
    first = rows[0]
    manifest = MANIFESTS.read(first[to_manifest:to_tag]) if first[to_manifest] else None
    right_read, is_repository_known = first[_POLICY_WIDTH:to_manifest]
    return PushRows(
        *_read_policy(first),
        tags,
        manifest,
        bool(is_repository_known),
        right_read,
        is_archived=_is_archived(first),
    )


@dataclass(frozen=True)
class HeldRows:
    """What decides within a hold, beside the records: read once they are locked."""

    policy: Policy
    now: datetime
    locks: list[LockedTag]
    right: Any
    is_archived: bool


def read_held(workspace_id: int, record_ids: Sequence[int], right: Column = NOTHING) -> HeldRows:
    """Return policy, time, the locks of these records, and what `right` gives, a column."""
    rows: list[Sequence[Any]] = []
    for part in in_parts(record_ids) if record_ids else [()]:
        of_records = f"IN {marks(len(part))}" if part else "IS NULL"
        rows += fetch(
            f"SELECT {_policy_columns()}, {right.text}, {LOCKS.columns} {_FROM_SETTINGS} "
            f"LEFT JOIN {LOCKS.name} "
            f"ON {LOCKS.name}.workspace_id = %s AND {LOCKS.name}.record_id {of_records}",
            (*right.values, workspace_id, workspace_id, *part),
        )
    to_lock = _POLICY_WIDTH + 1
    locks = [LOCKS.read(row[to_lock:]) for row in rows if row[to_lock] is not None]
    first = rows[0]
    return HeldRows(*_read_policy(first), locks, first[_POLICY_WIDTH], _is_archived(first))


# Of a workspace that has never saved any settings, all but the first and the last column are null.
_FROM_SETTINGS = (
    f"FROM (SELECT id, archived_at FROM {WORKSPACES.name} WHERE id = %s) AS workspace "
    "LEFT JOIN immutability_containersettings AS settings ON settings.workspace_id = workspace.id"
)
_POLICY_WIDTH = 9
_LIST = {
    "postgresql": "JSON_AGG(JSON_BUILD_ARRAY(position, name, pattern))",
    "sqlite": "JSON_GROUP_ARRAY(JSON_ARRAY(position, name, pattern))",
}


def _policy_columns() -> str:
    return (
        f"{now()}, settings.version, settings.protection, settings.refuse_identical_pushes, "
        "settings.protect_signature_tags, settings.repair_drift, "
        f"{_list_patterns('immutability_rule')}, {_list_patterns('immutability_tagexception')}, "
        "workspace.archived_at IS NOT NULL"
    )


def _list_patterns(table: str) -> str:
    return (
        f"(SELECT {_LIST[connection.vendor]} FROM {table} "
        "WHERE settings_id = settings.workspace_id)"
    )


def _read_policy(row: Sequence[Any]) -> tuple[Policy, datetime]:
    at, version, protection, refuse_identical_pushes, protect_signature_tags, repair_drift = row[:6]
    if version is None:
        return Policy(), read_time(at)
    rules, exceptions = row[6:8]
    policy = Policy(
        version,
        Protection(protection),
        tuple(PolicyRule(name, pattern) for name, pattern in _read_patterns(rules)),
        bool(refuse_identical_pushes),
        bool(protect_signature_tags),
        tuple(PolicyException(name, pattern) for name, pattern in _read_patterns(exceptions)),
        bool(repair_drift),
    )
    return policy, read_time(at)


def _is_archived(row: Sequence[Any]) -> bool:
    return bool(row[_POLICY_WIDTH - 1])


def _read_patterns(listed: Any) -> list[tuple[str, str]]:
    """Return names and patterns in order, of a list as the database gives it."""
    rows = json.loads(listed) if isinstance(listed, str) else listed or []
    return [(name, pattern) for _, name, pattern in sorted(rows)]


def find_locks(workspace_id: int, record_ids: Sequence[int]) -> list[LockedTag]:
    """Return the locks of these records, which are held."""
    rows: list[Sequence[Any]] = []
    for part in in_parts(record_ids):
        rows += fetch(
            f"SELECT {LOCKS.columns} FROM {LOCKS.name} "
            f"WHERE workspace_id = %s AND record_id IN {marks(len(part))}",
            (workspace_id, *part),
        )
    return LOCKS.read_all(rows)


def insert_lock(row: LockedTag) -> None:
    """Insert a new lock, which gets an id."""
    names = (*_PLACE, *_CHANGES)
    write(
        f"INSERT INTO {LOCKS.name} ({', '.join(names)}) VALUES {marks(len(names))}",
        LOCKS.values(row, names),
    )
    row._state.adding = False


def update_lock(row: LockedTag, names: Sequence[str] = _CHANGES) -> None:
    """Write what has changed of a lock."""
    assigned = ", ".join(f"{name} = %s" for name in names)
    write(
        f"UPDATE {LOCKS.name} SET {assigned} WHERE workspace_id = %s AND record_id = %s",
        [*LOCKS.values(row, names), row.workspace_id, row.record_id],
    )


# What the preview of a change reads. A claim is no lock yet.


def count_tags_by_name(
    workspace_id: int, max_tags: int, max_names: int
) -> list[tuple[str, int, int, int]]:
    """Return names of tags, each with its records, its locks, and its images without a lock.

    Of so many records and so many names at most.
    """
    return cast(
        "list[tuple[str, int, int, int]]",
        fetch(
            f"SELECT tag.name, COUNT(*), COUNT({_IS_LOCK}), COUNT({_IS_UNLOCKED}) "
            f"FROM (SELECT id, name, digest FROM {TAGS.name} WHERE workspace_id = %s LIMIT %s) "
            f"AS tag {_WITH_LOCKS} GROUP BY tag.name LIMIT %s",
            (workspace_id, max_tags, max_names),
        ),
    )


def find_tags_by_name(
    workspace_id: int, names: Collection[str], max_tags: int, max_each: int
) -> list[tuple[str, str, bool]]:
    """Return repository and name of tags with these names, and whether each has a lock.

    Of so many records at most; of each name at most so many with a lock, and so many without.
    """
    rows = fetch(
        "SELECT repository, name, is_locked FROM (SELECT tag.repository, tag.name, "
        f"{_IS_LOCK} IS NOT NULL AS is_locked, ROW_NUMBER() OVER (PARTITION BY tag.name, "
        f"{_IS_LOCK} IS NOT NULL ORDER BY tag.repository) AS place "
        f"FROM (SELECT id, repository, name, digest FROM {TAGS.name} WHERE workspace_id = %s "
        f"LIMIT %s) AS tag {_WITH_LOCKS} WHERE tag.name IN {_of_json()} "
        f"AND ({_IS_LOCK} IS NOT NULL OR {_IS_UNLOCKED} IS NOT NULL)) AS found "
        "WHERE place <= %s ORDER BY name, repository",
        (workspace_id, max_tags, json.dumps(list(names)), max_each),
    )
    return [(repository, name, bool(is_locked)) for repository, name, is_locked in rows]


@dataclass(frozen=True)
class PastPush:
    """A push that landed. `before` is what the push before it brought; None if there is none."""

    repository: str
    tag: str
    digest: str
    actor: str
    actor_kind: str
    at: datetime
    before: str | None


def find_pushes_by_name(
    workspace_id: int, names: Collection[str], since: datetime, first_id: int, max_pushes: int
) -> list[PastPush]:
    """Return pushes since then of tags with these names, from this id on, in no order."""
    pushed = TAGS.prepare("pushed_at", since)
    rows = fetch(
        "SELECT push.repository, push.tag, push.digest, push.actor, push.actor_kind, push.at, "
        f"(SELECT earlier.digest FROM {_PUSHES} AS earlier WHERE earlier.workspace_id = "
        "push.workspace_id AND earlier.repository = push.repository AND earlier.tag = push.tag "
        "AND earlier.id < push.id ORDER BY earlier.id DESC LIMIT 1) "
        f"FROM {TAGS.name} AS tag JOIN {_PUSHES} AS push ON push.workspace_id = tag.workspace_id "
        "AND push.repository = tag.repository AND push.tag = tag.name "
        f"WHERE tag.workspace_id = %s AND tag.pushed_at >= %s AND tag.name IN {_of_json()} "
        "AND push.id >= %s AND push.at >= %s LIMIT %s",
        (workspace_id, pushed, json.dumps(list(names)), first_id, pushed, max_pushes),
    )
    return [
        PastPush(repository, tag, digest, actor, actor_kind, read_time(at), before)
        for repository, tag, digest, actor, actor_kind, at, before in rows
    ]


def find_newest_names(workspace_id: int, max_tags: int, count: int) -> list[str]:
    """Return the names of the tags that were pushed last, newest first.

    A tag that no push is known of counts as pushed when it was locked, or first seen. Of so many
    records at most.
    """
    rows = fetch(
        "SELECT name FROM (SELECT tag.name AS name, "
        "MAX(COALESCE(tag.pushed_at, lock.locked_at, tag.shown_at)) AS pushed_at "
        f"FROM (SELECT id, name, digest, pushed_at, shown_at FROM {TAGS.name} "
        f"WHERE workspace_id = %s LIMIT %s) AS tag {_WITH_LOCKS} "
        "WHERE tag.digest <> '' OR lock.state IN ('locked', 'released') "
        "GROUP BY tag.name) AS named "
        "ORDER BY pushed_at DESC NULLS LAST, name LIMIT %s",
        (workspace_id, max_tags, count),
    )
    return [name for (name,) in rows]


_PUSHES = Push._meta.db_table
_WITH_LOCKS = f"LEFT JOIN {LOCKS.name} AS lock ON lock.record_id = tag.id"
_IS_LOCK = "CASE WHEN lock.state <> 'claimed' THEN 1 END"
_IS_UNLOCKED = "CASE WHEN lock.id IS NULL AND tag.digest <> '' THEN 1 END"


def _of_json() -> str:
    """Return what gives the texts of one value, a JSON array: there may be very many."""
    if connection.vendor == "postgresql":
        return "(SELECT JSONB_ARRAY_ELEMENTS_TEXT(%s::jsonb))"
    return "(SELECT value FROM JSON_EACH(%s))"
