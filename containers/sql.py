"""The statements by which tags' records and manifests are held and changed: the hot path.

Callers sort what they name, so that rows are always locked in the same order.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from containers.models import Manifest, Push, RepositoryPrefix
from containers.models import Tag as TagRecord
from containers.names import RepositoryName
from workspaces.database import (
    Condition,
    Table,
    Values,
    change,
    fetch,
    in_parts,
    lock_rows,
    marks,
    now,
    read_time,
    together,
    write,
)
from workspaces.models import Workspace
from workspaces.sql import WORKSPACES

TAGS = Table(TagRecord)
MANIFESTS = Table(Manifest)
_PUSHES = Table(Push)
_REPOSITORIES = "containers_repository"
_REFERENCES = "containers_manifestreference"
_PREFIXES = RepositoryPrefix._meta.db_table

_NEW_MANIFEST = (
    "workspace_id",
    "repository",
    "digest",
    "media_type",
    "size",
    "image_size",
    "subject",
    "is_there",
    "is_read",
)
# What a hold may change of a record, and of a manifest.
_TAG_CHANGES = (
    "digest",
    "shown_at",
    "unreadable_since",
    "unreadable_at",
    "revision",
    "changed_at",
    "pushed_at",
    "write_id",
    "write_kind",
    "write_digest",
    "write_begun_at",
    "write_expires_at",
    "write_is_external",
    "stray_until",
    "stray_digest",
)
_MANIFEST_CHANGES = (
    "media_type",
    "size",
    "image_size",
    "subject",
    "is_there",
    "is_read",
    "revision",
    "delete_id",
    "delete_expires_at",
    "stray_until",
)


@dataclass(frozen=True)
class OwnedRepository:
    """A repository of a workspace, and the role of the person who asks for it, if they have one."""

    workspace_id: int
    workspace: str
    role: str | None
    is_public: bool
    # Of the row of the registry that it is at; None: the one of REGISTRY_URL.
    registry_id: int | None


def owner_of(repository: RepositoryName) -> Condition:
    """Return the condition that a workspace is a repository's owner. See `containers/owners.py`."""
    return Condition(f"{WORKSPACES.name}.id = {_owner('%s', '%s')}", _owner_values(repository))


def find_owned(
    repositories: Sequence[RepositoryName], user_id: int
) -> dict[RepositoryName, OwnedRepository]:
    """Return those of the repositories that belong to a workspace, each with what is known of it.

    The role is that of this person, if they are active.
    """
    rows: list[Values] = []
    for part in in_parts(repositories):
        rows += fetch(
            f"SELECT asked.column1, {WORKSPACES.name}.id, {WORKSPACES.name}.slug, membership.role, "
            f"{_REPOSITORIES}.is_public, {WORKSPACES.name}.registry_id "
            f"FROM (VALUES {marks(2, len(part))}) AS asked "
            f"JOIN {WORKSPACES.name} "
            f"ON {WORKSPACES.name}.id = {_owner('asked.column2', 'asked.column1')} "
            f"LEFT JOIN {_REPOSITORIES} ON {_REPOSITORIES}.workspace_id = {WORKSPACES.name}.id "
            f"AND {_REPOSITORIES}.name = asked.column1 "
            "LEFT JOIN workspaces_user AS person ON person.id = %s AND person.is_active "
            "LEFT JOIN workspaces_membership AS membership "
            f"ON membership.workspace_id = {WORKSPACES.name}.id "
            "AND membership.user_id = person.id",
            (
                *(value for each in part for value in (each.name, each.first_part)),
                settings.REGISTRY_WORKSPACE,
                user_id,
            ),
        )
    return {
        RepositoryName(name): OwnedRepository(
            workspace_id, slug, role, bool(is_public), registry_id
        )
        for name, workspace_id, slug, role, is_public, registry_id in rows
    }


def _owner(first_part: str, name: str) -> str:
    """Return the expression for the id of a repository's workspace; null if it has none.

    The last of its values is the workspace of what nothing else names.
    """
    return (
        f"COALESCE((SELECT id FROM {WORKSPACES.name} WHERE slug = {first_part}), "
        f"(SELECT workspace_id FROM {_REPOSITORIES} WHERE name = {name}), "
        f"(SELECT workspace_id FROM {_PREFIXES} "
        f"WHERE SUBSTR({name} || '/', 1, LENGTH(prefix) + 1) = prefix || '/' "
        "ORDER BY LENGTH(prefix) DESC LIMIT 1), "
        f"(SELECT id FROM {WORKSPACES.name} WHERE slug = %s))"
    )


def _owner_values(repository: RepositoryName) -> tuple[str, ...]:
    """Return the values of `_owner` where both names are placeholders."""
    names = (repository.first_part, repository.name, repository.name)
    return (*names, settings.REGISTRY_WORKSPACE)


def insert_repository(workspace: Workspace, repository: RepositoryName) -> bool:
    """Insert a repository's row if there is none; return whether it is of this workspace.

    None is inserted if the workspace has moved to another registry since it was read.
    """
    is_new = change(
        f"INSERT INTO {_REPOSITORIES} (workspace_id, name, is_public) SELECT id, %s, FALSE "
        f"FROM {WORKSPACES.name} WHERE id = %s AND COALESCE(registry_id, 0) = %s "
        f"AND id = {_owner('%s', '%s')} ON CONFLICT DO NOTHING",
        (
            repository.name,
            workspace.pk,
            workspace.registry_id or 0,
            *_owner_values(repository),
        ),
    )
    return bool(is_new) or bool(
        fetch(
            f"SELECT 1 FROM {_REPOSITORIES} WHERE workspace_id = %s AND name = %s",
            (workspace.pk, repository.name),
        )
    )


def keep_repositories() -> None:
    """Let no repository become known until the transaction ends.

    Waits for those that are about to. What is inserted afterwards sees what was changed.
    """
    if connection.vendor == "postgresql":
        change(f"LOCK TABLE {_REPOSITORIES} IN SHARE ROW EXCLUSIVE MODE")


def insert_tags(workspace_id: int, repository: str, names: Sequence[str]) -> list[TagRecord]:
    """Insert records of tags that have none; return those that were inserted, which are held.

    Waits for other transactions that insert the same.
    """
    rows: list[Values] = []
    for part in in_parts(names):
        rows += fetch(
            f"INSERT INTO {TAGS.name} (workspace_id, repository, name) "
            f"VALUES {marks(3, len(part))} ON CONFLICT DO NOTHING RETURNING {TAGS.columns}",
            [value for name in part for value in (workspace_id, repository, name)],
        )
    return TAGS.read_all(rows)


def insert_manifests(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Insert manifests that have no row; return those that were inserted, which are held.

    Waits for other transactions that insert the same.
    """
    rows: list[Values] = []
    for part in in_parts(manifests):
        rows += fetch(
            f"INSERT INTO {MANIFESTS.name} ({', '.join(_NEW_MANIFEST)}) "
            f"VALUES {marks(len(_NEW_MANIFEST), len(part))} "
            f"ON CONFLICT DO NOTHING RETURNING {MANIFESTS.columns}",
            [value for row in part for value in MANIFESTS.values(row, _NEW_MANIFEST)],
        )
    return MANIFESTS.read_all(rows)


def find_manifests(workspace_id: int, repository: str, digests: Sequence[str]) -> list[Manifest]:
    """Return what is known of these manifests, without a lock."""
    return MANIFESTS.read_all(_select(MANIFESTS, "digest", workspace_id, repository, digests, ""))


def lock_manifests(workspace_id: int, repository: str, digests: Sequence[str]) -> list[Manifest]:
    """Lock manifests in order of their digests, and return those that have a row."""
    return MANIFESTS.read_all(
        _select(MANIFESTS, "digest", workspace_id, repository, digests, lock_rows())
    )


def lock_tags(workspace_id: int, repository: str, names: Sequence[str]) -> list[TagRecord]:
    """Lock records in order of their tags' names, and return those that have a row."""
    return TAGS.read_all(_select(TAGS, "name", workspace_id, repository, names, lock_rows()))


def _select(
    table: Table[Any],
    column: str,
    workspace_id: int,
    repository: str,
    names: Sequence[str],
    lock: str,
) -> list[Values]:
    rows: list[Values] = []
    for part in in_parts(names):
        rows += fetch(
            f"SELECT {table.columns} FROM {table.name} WHERE workspace_id = %s "
            f"AND repository = %s AND {column} IN {marks(len(part))} ORDER BY {column}{lock}",
            (workspace_id, repository, *part),
        )
    return rows


def find_descendants(workspace_id: int, repository: str, digests: Sequence[str]) -> set[str]:
    """Return what these manifests are known to list, to any depth, without what was asked for."""
    found: set[str] = set()
    for part in in_parts(digests):
        rows = fetch(
            f"WITH RECURSIVE below (digest) AS (SELECT child FROM {_REFERENCES} WHERE "
            f"workspace_id = %s AND repository = %s AND parent IN {marks(len(part))} "
            f"UNION SELECT child FROM {_REFERENCES} JOIN below ON parent = digest "
            "WHERE workspace_id = %s AND repository = %s) SELECT digest FROM below",
            (workspace_id, repository, *part, workspace_id, repository),
        )
        found.update(digest for (digest,) in rows)
    return found


def lock_tags_of_write(
    workspace_id: int, write_id: UUID
) -> tuple[list[TagRecord], datetime | None]:
    """Lock the records that name a write in flight, in order of their tags' names.

    Returns them with the database's time, or None if there are none.
    """
    rows = fetch(
        f"SELECT {TAGS.columns}, {now()} FROM {TAGS.name} "
        f"WHERE workspace_id = %s AND write_id = %s ORDER BY name{lock_rows()}",
        (workspace_id, TAGS.prepare("write_id", write_id)),
    )
    records = TAGS.read_all([row[:-1] for row in rows])
    return records, read_time(rows[0][-1]) if rows else None


def update_tag(record: TagRecord) -> None:
    """Write what has changed of a held record."""
    write(_UPDATE_TAG, [*TAGS.values(record, _TAG_CHANGES), record.workspace_id, record.id])


def update_pushed_tag(record: TagRecord, actor: str, actor_kind: str) -> None:
    """Write what has changed of a held record, and the push that it shows, which has landed."""
    pushed = (record.workspace_id, record.repository, record.name, record.digest, actor, actor_kind)
    insert = (
        f"INSERT INTO {_PUSHES.name} (workspace_id, repository, tag, digest, actor, actor_kind) "
        f"VALUES {marks(len(pushed))}"
    )
    with together():
        write(insert, pushed)
        update_tag(record)


def update_manifest(row: Manifest) -> None:
    """Write what has changed of a held manifest."""
    change(
        f"UPDATE {MANIFESTS.name} SET {_assign(_MANIFEST_CHANGES)} "
        "WHERE workspace_id = %s AND id = %s",
        [*MANIFESTS.values(row, _MANIFEST_CHANGES), row.workspace_id, row.id],
    )


def note_there(workspace_id: int, repository: str, digest: str, write_id: UUID) -> None:
    """Note that a manifest is there, while a record names the write and no delete of it is open."""
    change(
        f"UPDATE {MANIFESTS.name} SET is_there = %s "
        "WHERE workspace_id = %s AND repository = %s AND digest = %s AND NOT is_there "
        f"AND delete_id IS NULL AND (stray_until IS NULL OR stray_until <= {now()}) "
        f"AND EXISTS (SELECT 1 FROM {TAGS.name} WHERE workspace_id = %s AND write_id = %s)",
        (
            *(True, workspace_id, repository, digest),
            *(workspace_id, TAGS.prepare("write_id", write_id)),
        ),
    )


def _assign(names: Collection[str]) -> str:
    return ", ".join(f"{name} = %s" for name in names)


_UPDATE_TAG = f"UPDATE {TAGS.name} SET {_assign(_TAG_CHANGES)} WHERE workspace_id = %s AND id = %s"
