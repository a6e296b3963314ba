"""The statements that find who is calling, and what they may do: the hot path."""

from datetime import datetime
from typing import Any

from django.db import connection

from workspaces.database import Column, Condition, Table, fetch, now, read_time
from workspaces.models import AccessToken, User, Workspace

_PEOPLE = Table(User)
WORKSPACES = Table(Workspace)
_TOKENS = Table(AccessToken)


def read_now() -> datetime:
    """Return the database's time."""
    at: datetime = read_time(fetch(f"SELECT {now()}")[0][0])
    return at


def has_slug(slug: str) -> Condition:
    """Return the condition that a workspace has this slug."""
    return Condition(f"{WORKSPACES.name}.slug = %s", (slug,))


def find_membership(user_id: int, which: Condition) -> tuple[Workspace, str, str] | None:
    """Return the workspace of an active person, with their role in it and user name, or None.

    `which` says which workspace.
    """
    rows = fetch(
        f"SELECT {WORKSPACES.columns}, membership.role, person.username FROM {WORKSPACES.name} "
        f"JOIN workspaces_membership AS membership "
        f"ON membership.workspace_id = {WORKSPACES.name}.id AND membership.user_id = %s "
        "JOIN workspaces_user AS person ON person.id = membership.user_id AND person.is_active "
        f"WHERE {which.text}",
        (user_id, *which.values),
    )
    if not rows:
        return None
    *workspace, role, username = rows[0]
    return WORKSPACES.read(workspace), role, username


def find_workspace(which: Condition) -> Workspace | None:
    """Return the workspace of this condition, or None."""
    rows = fetch(
        f"SELECT {WORKSPACES.columns} FROM {WORKSPACES.name} WHERE {which.text}", which.values
    )
    return WORKSPACES.read(rows[0]) if rows else None


def find_token_by_id(token_id: int, which: Condition | None = None) -> AccessToken | None:
    """Return an access token that is valid now, with its workspace, or None.

    With `which`, only if its workspace is the one that this says.
    """
    return _find_token("id", token_id, which)


def find_token_by_hash(token_hash: str) -> AccessToken | None:
    """Return the access token of this hash that is valid now, with its workspace, or None."""
    return _find_token("token_hash", token_hash)


def _find_token(
    column: str, value: int | str, which: Condition | None = None
) -> AccessToken | None:
    only = f" AND {which.text}" if which else ""
    rows = fetch(
        f"SELECT {_TOKENS.columns}, {WORKSPACES.columns} FROM {_TOKENS.name} "
        f"LEFT JOIN {WORKSPACES.name} ON {WORKSPACES.name}.id = {_TOKENS.name}.workspace_id "
        f"WHERE {_TOKENS.name}.{column} = %s AND {_TOKENS.name}.revoked_at IS NULL "
        f"AND ({_TOKENS.name}.expires_at IS NULL OR {_TOKENS.name}.expires_at > {now()}){only}",
        (value, *(which.values if which else ())),
    )
    if not rows:
        return None
    token = _TOKENS.read(rows[0][: _TOKENS.width])
    if token.workspace_id is not None:
        token.workspace = WORKSPACES.read(rows[0][_TOKENS.width :])
    return token


def role_of_person(user_id: int, workspace_id: int, which: Condition) -> Column:
    """Return the column of an active person's role in a workspace that is the one of `which`."""
    return Column(
        f"(SELECT membership.role FROM {WORKSPACES.name} JOIN workspaces_membership AS membership "
        f"ON membership.workspace_id = {WORKSPACES.name}.id AND membership.user_id = %s "
        f"JOIN {_PEOPLE.name} AS person ON person.id = membership.user_id AND person.is_active "
        f"WHERE {WORKSPACES.name}.id = %s AND {which.text})",
        (user_id, workspace_id, *which.values),
    )


def limits_of_token(token_id: int, workspace_id: int, which: Condition) -> Column:
    """Return the column of scopes and repositories, as JSON, of an access token that is valid now.

    It is for a workspace that is the one of `which`, or for every workspace.
    """
    limits = f"JSON_BUILD_ARRAY({_TOKENS.name}.scopes, {_TOKENS.name}.repositories)"
    if connection.vendor == "sqlite":
        limits = f"JSON_ARRAY(JSON({_TOKENS.name}.scopes), JSON({_TOKENS.name}.repositories))"
    return Column(
        f"(SELECT {limits} FROM {_TOKENS.name} JOIN {WORKSPACES.name} "
        f"ON {WORKSPACES.name}.id = %s AND {which.text} WHERE {_TOKENS.name}.id = %s "
        f"AND ({_TOKENS.name}.workspace_id IS NULL "
        f"OR {_TOKENS.name}.workspace_id = {WORKSPACES.name}.id) "
        f"AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {now()}))",
        (workspace_id, *which.values, token_id),
    )


def read_column(column: Column) -> Any:
    """Return what one of these columns gives."""
    [(value,)] = fetch(f"SELECT {column.text}", column.values)
    return value


def find_person(username: str) -> User | None:
    """Return the person of this name, active or not, or None."""
    rows = fetch(f"SELECT {_PEOPLE.columns} FROM {_PEOPLE.name} WHERE username = %s", (username,))
    return _PEOPLE.read(rows[0]) if rows else None
