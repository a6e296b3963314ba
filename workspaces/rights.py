"""What a caller must still be allowed, read in the very statement that decides."""

import json
from dataclasses import dataclass
from typing import Any

from workspaces import sql
from workspaces.access import ROLE_PERMISSIONS, Permission, Role
from workspaces.database import Column, Condition
from workspaces.models import AccessToken, Workspace


@dataclass(frozen=True)
class NeededRights:
    """The permissions that a person, or else an access token, needs in a repository.

    `owner` says which workspace the repository belongs to: it must still be this one. The column of
    `read` belongs into a statement, and `hold` judges what it has given. So a role that
    was taken away, or a token that was revoked, is seen together with all that decides.
    """

    permissions: frozenset[Permission]
    workspace: Workspace
    repository: str
    owner: Condition
    person_id: int | None = None
    token_id: int = 0

    def read(self) -> Column:
        """Return a column for `hold`."""
        if self.person_id is not None:
            return sql.role_of_person(self.person_id, self.workspace.pk, self.owner)
        return sql.limits_of_token(self.token_id, self.workspace.pk, self.owner)

    def hold(self, found: Any) -> bool:
        """Whether the caller has all of these permissions, by what the column has given."""
        if found is None:
            return False
        if self.person_id is not None:
            return self.permissions <= ROLE_PERMISSIONS[Role(found)]
        scopes, repositories = json.loads(found) if isinstance(found, str) else found
        token = AccessToken(scopes=scopes, repositories=repositories)
        return self.permissions <= token.permissions and token.is_for(
            self.repository, self.workspace.slug
        )

    def are_there(self) -> bool:
        """Ask, in a statement of its own, whether the caller has them."""
        return self.hold(sql.read_column(self.read()))
