"""Which workspace a repository belongs to: decided here alone, by the database at each request.

In this order:

1. the workspace whose slug is the first part of its name;
2. the workspace that the repository is known in, from its first push on, by tag or by digest: no
   change of what follows moves it;
3. the workspace of the longest prefix that its name begins with, in whole parts;
4. the workspace of REGISTRY_WORKSPACE, if there is one.

Otherwise it belongs to none. `containers/sql.py` has the statement, and `containers/prefixes.py`
keeps the first two from contradicting each other.
"""

from typing import TYPE_CHECKING

from django.http import HttpRequest

from containers.names import RepositoryName
from containers.sql import owner_of
from workspaces.caller_access import Access, find_access_where
from workspaces.models import Workspace
from workspaces.sql import find_workspace
from workspaces.text import quote

if TYPE_CHECKING:
    from rest_framework.request import Request


def find_owner(repository: RepositoryName) -> Workspace | None:
    """Return the workspace that a repository belongs to, or None."""
    return find_workspace(owner_of(repository))


def is_owner(workspace: Workspace, repository: RepositoryName) -> bool:
    """Whether a repository belongs to the workspace, or will with its first push."""
    return repository.is_under(workspace.slug) or find_owner(repository) == workspace


def find_repository_access(request: "HttpRequest | Request", repository: RepositoryName) -> Access:
    """Return what the caller may do in the workspace that a repository belongs to.

    Raises UnknownWorkspaceError if it belongs to none, or the caller isn't in it.
    """
    return find_access_where(
        request,
        owner_of(repository),
        is_surely=lambda workspace: repository.is_under(workspace.slug),
        unknown=f"No workspace that you have access to has a repository {quote(repository.name)}.",
    )
