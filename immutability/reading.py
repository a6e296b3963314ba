"""Read what decides: the policy, with the database's time, and what the rows say as values."""

from datetime import datetime
from typing import Any

from containers.models import Tag as TagRecord
from containers.models import WriteKind
from containers.names import Digest
from immutability import sql
from immutability.errors import ArchivedError, PermissionRevokedError
from immutability.policy.decisions import RecordFacts, Stray, WriteInFlight
from immutability.policy.protection import Policy
from workspaces.database import Column
from workspaces.models import Workspace
from workspaces.rights import NeededRights


def read_policy(workspace: Workspace) -> Policy:
    """Return the workspace's policy."""
    return read_policy_and_time(workspace)[0]


def read_policy_and_time(workspace: Workspace) -> tuple[Policy, datetime]:
    """Return the policy and the database's time, in one statement, so that all of it agrees.

    Nothing is kept between calls: a saved change is in force for the next push.
    """
    return sql.read_policy(workspace.pk)


def rights_column(rights: NeededRights | None) -> Column:
    """Return the column for require_rights, for the statement that decides."""
    return rights.read() if rights is not None else sql.NOTHING


def require_rights(rights: NeededRights | None, found: Any) -> None:
    """Raise PermissionRevokedError where what was read of a caller's rights is not enough.

    None stands for a caller whose rights do not change while it acts.
    """
    if rights is not None and not rights.hold(found):
        raise PermissionRevokedError


def require_unarchived(workspace: Workspace, *, is_archived: bool) -> None:
    """Raise ArchivedError if the workspace is archived, as it was read where this is decided."""
    if is_archived:
        raise ArchivedError(workspace)


def require_still_allowed(workspace: Workspace, rights: NeededRights | None) -> None:
    """Raise PermissionRevokedError where a caller may not change anything in the workspace now.

    For what is decided without a hold, in a statement of its own.
    """
    rows = sql.read_held(workspace.pk, (), rights_column(rights))
    require_rights(rights, rows.right)
    require_unarchived(workspace, is_archived=rows.is_archived)


def record_facts(record: TagRecord | None) -> RecordFacts:
    """Return what a decision needs to know of a record."""
    if record is None:
        return RecordFacts()
    write = stray = None
    if record.write_id is not None:
        is_push = record.write_kind == WriteKind.PUSH
        write = WriteInFlight(_digest(record.write_digest) if is_push else None)
    if record.stray_until is not None:
        stray = Stray(_digest(record.stray_digest), record.stray_until)
    return RecordFacts(_digest(record.digest), write, stray)


def _digest(value: str) -> Digest | None:
    return Digest(value) if value else None
