"""The database as it is, read past Taglock's own code: who checks must not share its mistakes."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from bench.short_timeouts import STRAY_SECONDS

# By this name chaos.py knows the connections that it leaves alone.
APPLICATION_NAME = "soak"

_LOCKS = """
    SELECT l.repository, l.tag, l.id, l.state, l.digest, l.locked_at
    FROM immutability_lockedtag l"""
_POLICIES = """
    SELECT w.slug, s.version, s.protection,
        ARRAY(SELECT pattern FROM immutability_rule WHERE settings_id = s.workspace_id),
        ARRAY(SELECT pattern FROM immutability_tagexception WHERE settings_id = s.workspace_id)
    FROM immutability_containersettings s
    JOIN workspaces_workspace w ON w.id = s.workspace_id"""
# A delete by digest names no tag, and takes several.
_OPEN = """
    SELECT repository, name FROM containers_tag
    WHERE write_id IS NOT NULL OR stray_until IS NOT NULL
    UNION ALL SELECT repository, NULL FROM containers_manifest WHERE stray_until > now()
        OR delete_expires_at > now() - make_interval(secs => %s)"""
_EVENTS = """
    SELECT kind, workspace, repository, tag, at, details FROM workspaces_lockevent
    WHERE at >= %s AND (tag <> '' OR kind = 'settings.changed') ORDER BY id"""
_SETTINGS = """
    SELECT workspace, at, details FROM workspaces_lockevent
    WHERE kind = 'settings.changed' ORDER BY id"""
# What is known of a tag: when, which kind of record, and the record.
_TELL = """
    WITH place AS (SELECT %s AS repository, %s AS tag),
    record AS (
        SELECT * FROM containers_tag
        WHERE (repository, name) = (SELECT repository, tag FROM place)
    ),
    lock AS (
        SELECT * FROM immutability_lockedtag
        WHERE (repository, tag) = (SELECT repository, tag FROM place)
    ),
    pushed AS (
        SELECT * FROM containers_push
        WHERE (repository, tag) = (SELECT repository, tag FROM place)
    ),
    manifest AS (
        SELECT * FROM containers_manifest
        WHERE repository = (SELECT repository FROM place)
        AND digest IN (SELECT digest FROM record UNION SELECT digest FROM lock)
    )
    SELECT changed_at, 'record', to_jsonb(record) FROM record WHERE changed_at IS NOT NULL
    UNION ALL SELECT locked_at, 'lock', to_jsonb(lock) FROM lock
    UNION ALL SELECT at, 'landed', to_jsonb(pushed) FROM pushed
    UNION ALL SELECT now(), 'manifest', to_jsonb(manifest) FROM manifest
    UNION ALL SELECT at, 'event', to_jsonb(e) - 'details' FROM workspaces_lockevent e
        WHERE (repository, tag) = (SELECT repository, tag FROM place)
    UNION ALL SELECT at, 'settings', details->'after' FROM workspaces_lockevent
        WHERE kind = 'settings.changed'
        AND workspace = split_part((SELECT repository FROM place), '/', 1)"""
# What the line says already, or nobody asks.
_UNTOLD = {
    *("repository", "tag", "workspace", "workspace_id", "ref", "origin_hash", "media_type"),
    *("actor_kind", "at", "changed_at", "locked_at", "rule_name", "rule_pattern"),
}
_MOST_TOLD = 150


@dataclass(frozen=True)
class Lock:
    """A lock, by all that says whether it is still the same promise."""

    repository: str
    tag: str
    id: int
    state: str
    digest: str
    locked_at: datetime

    @property
    def place(self) -> tuple[str, str]:
        return self.repository, self.tag

    @property
    def workspace(self) -> str:
        return self.repository.partition("/")[0]


@dataclass(frozen=True)
class Policy:
    """A workspace's settings at one version."""

    version: int = 0
    protection: str = "none"
    patterns: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()

    def covers(self, tag: str) -> bool:
        """Whether a tag is protected. The soak's patterns mean the same in RE2 and in Python."""
        if self.protection == "some":
            return any(re.search(pattern, tag) for pattern in self.patterns)
        is_excepted = any(re.search(pattern, tag) for pattern in self.exceptions)
        return self.protection == "all" and not is_excepted


@dataclass(frozen=True)
class Snapshot:
    """Locks, settings and open writes of one moment."""

    locks: dict[tuple[str, str], Lock]
    policies: dict[str, Policy]
    # The tags that a write in flight or a stray may change; a delete by digest has none.
    writes: list[tuple[str, str | None]]

    def policy_of(self, place: tuple[str, str]) -> Policy:
        """The settings that say whether a tag is covered."""
        return self.policies.get(place[0].partition("/")[0], Policy())


@dataclass(frozen=True)
class Event:
    """An event of the lock log. `policy` is what a change of settings led to."""

    kind: str
    workspace: str
    place: tuple[str, str]
    at: float
    policy: Policy | None


class Records:
    """A connection that comes back after every loss. For one thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def read(self, *queries: tuple[str, Sequence[object]]) -> list[list[tuple[Any, ...]]]:
        """Answer the queries as of one moment. Raises psycopg.Error."""
        connection = self._connect()
        try:
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                return [connection.execute(sql, values).fetchall() for sql, values in queries]
        except psycopg.Error:
            self.close()
            raise

    def execute(self, *statements: str, values: Sequence[object] = ()) -> None:
        """Carry out statements in one transaction. Raises psycopg.Error."""
        connection = self._connect()
        try:
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement, values)
        except psycopg.Error:
            self.close()
            raise

    def snapshot(self) -> Snapshot:
        """Read what the checks need. Raises psycopg.Error."""
        locks, policies, writes = self.read(
            (_LOCKS, ()), (_POLICIES, ()), (_OPEN, (STRAY_SECONDS,))
        )
        return Snapshot(
            {row[:2]: Lock(*row) for row in locks},
            {row[0]: Policy(row[1], row[2], tuple(row[3]), tuple(row[4])) for row in policies},
            [row[:2] for row in writes],
        )

    def events_since(self, moment: datetime) -> list[Event]:
        """Read the events of tags since then, and every change of the settings ever."""
        events, settings = self.read((_EVENTS, (moment,)), (_SETTINGS, ()))
        return [
            Event("settings.changed", row[0], ("", ""), row[1].timestamp(), _after(row[2]))
            for row in settings
        ] + [
            Event(row[0], row[1], row[2:4], row[4].timestamp(), None)
            for row in events
            if row[0] != "settings.changed"
        ]

    def images_deleted_since(self, moment: datetime) -> set[tuple[str, str]]:
        """Read the images of which a delete without an answer might have landed since then.

        Somebody may have deleted a tag: a registry that deletes no single tags is asked for the
        image.
        """
        (rows,) = self.read(
            (
                "SELECT repository, digest FROM containers_manifest WHERE stray_until >= %s",
                (moment,),
            )
        )
        return {(row[0], row[1]) for row in rows}

    def tell(self, repository: str, tag: str) -> list[tuple[datetime, str]]:
        """Return all that the database knows of a tag, each with its time."""
        (rows,) = self.read((_TELL, (repository, tag)))
        rows.sort(key=lambda row: row[0])
        return [(at, f"{kind}: {_shorten(record)}") for at, kind, record in rows[-_MOST_TOLD:]]

    def close(self) -> None:
        """Let the connection go, whatever its state."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._url, autocommit=True, application_name=APPLICATION_NAME, connect_timeout=5
            )
        return self._connection


def _shorten(record: dict[str, Any]) -> str:
    """Leave out what says nothing, and most of every digest."""
    told = {
        name: value
        for name, value in record.items()
        if value not in ("", None, False) and name not in _UNTOLD
    }
    return re.sub(r"(sha256:\w{12})\w+", r"\1", json.dumps(told))


def _after(details: dict[str, Any]) -> Policy:
    after = details["after"]
    patterns, exceptions = (
        tuple(each["pattern"] for each in after.get(key, [])) for key in ("rules", "exceptions")
    )
    return Policy(after["version"], after["protection"], patterns, exceptions)
