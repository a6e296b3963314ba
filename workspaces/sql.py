"""The statements that find who is calling, and what they may do: the hot path."""

from collections.abc import Sequence

from workspaces.database import Table, fetch, marks, now
from workspaces.models import AccessToken, User, Workspace

_PEOPLE = Table(User)
_WORKSPACES = Table(Workspace)
_TOKENS = Table(AccessToken)


def find_membership(user_id: int, slug: str) -> tuple[Workspace, str, str] | None:
    """Return the workspace of an active person, with their role in it and user name, or None."""
    rows = fetch(
        f"SELECT {_WORKSPACES.columns}, membership.role, person.username FROM {_WORKSPACES.name} "
        f"JOIN workspaces_membership AS membership "
        f"ON membership.workspace_id = {_WORKSPACES.name}.id AND membership.user_id = %s "
        "JOIN workspaces_user AS person ON person.id = membership.user_id AND person.is_active "
        f"WHERE {_WORKSPACES.name}.slug = %s",
        (user_id, slug),
    )
    if not rows:
        return None
    *workspace, role, username = rows[0]
    return _WORKSPACES.read(workspace), role, username


def find_token_by_id(token_id: int) -> AccessToken | None:
    """Return an access token that is valid now, with its workspace, or None."""
    return _find_token("id", token_id)


def find_token_by_hash(token_hash: str) -> AccessToken | None:
    """Return the access token of this hash that is valid now, with its workspace, or None."""
    return _find_token("token_hash", token_hash)


def _find_token(column: str, value: int | str) -> AccessToken | None:
    rows = fetch(
        f"SELECT {_TOKENS.columns}, {_WORKSPACES.columns} FROM {_TOKENS.name} "
        f"LEFT JOIN {_WORKSPACES.name} ON {_WORKSPACES.name}.id = {_TOKENS.name}.workspace_id "
        f"WHERE {_TOKENS.name}.{column} = %s AND {_TOKENS.name}.revoked_at IS NULL "
        f"AND ({_TOKENS.name}.expires_at IS NULL OR {_TOKENS.name}.expires_at > {now()})",
        (value,),
    )
    if not rows:
        return None
    token = _TOKENS.read(rows[0][: _TOKENS.width])
    if token.workspace_id is not None:
        token.workspace = _WORKSPACES.read(rows[0][_TOKENS.width :])
    return token


def find_person(username: str) -> User | None:
    """Return the person of this name, active or not, or None."""
    rows = fetch(f"SELECT {_PEOPLE.columns} FROM {_PEOPLE.name} WHERE username = %s", (username,))
    return _PEOPLE.read(rows[0]) if rows else None


def find_roles(user_id: int, slugs: Sequence[str]) -> dict[str, str]:
    """Return the roles of an active person in those of these workspaces that they belong to."""
    return dict(
        fetch(
            f"SELECT {_WORKSPACES.name}.slug, membership.role FROM {_WORKSPACES.name} "
            f"JOIN workspaces_membership AS membership "
            f"ON membership.workspace_id = {_WORKSPACES.name}.id AND membership.user_id = %s "
            f"JOIN {_PEOPLE.name} AS person "
            "ON person.id = membership.user_id AND person.is_active "
            f"WHERE {_WORKSPACES.name}.slug IN {marks(len(slugs))}",
            (user_id, *slugs),
        )
        if slugs
        else ()
    )
