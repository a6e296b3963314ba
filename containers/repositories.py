"""Find a workspace's repositories, for page and API."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, QuerySet

from containers.models import Push
from containers.models import Repository as KnownRepository
from containers.names import RepositoryName
from workspaces.models import Workspace

REPOSITORIES_PER_PAGE = 50
MAX_REPOSITORIES_PER_PAGE = 200


@dataclass(frozen=True)
class RepositoryQuery:
    """What to look for: text in the name, and only public or only private ones."""

    text: str = ""
    is_public: bool | None = None


@dataclass(frozen=True)
class ListedRepository:
    """A repository as page and API list it. `last_pushed_at` is None before the first push."""

    name: str
    is_public: bool
    created_at: datetime
    last_pushed_at: datetime | None


@dataclass(frozen=True)
class RepositoryPage:
    """Some repositories, by name; `next_after` is the name that the next page starts behind."""

    repositories: list[ListedRepository]
    next_after: str


def find_repositories(
    workspace: Workspace,
    query: RepositoryQuery,
    *,
    after: str = "",
    limit: int = REPOSITORIES_PER_PAGE,
) -> RepositoryPage:
    """Return one page of the workspace's repositories that match, from behind the name `after`."""
    rows = KnownRepository.objects.filter(workspace=workspace).order_by("name")
    if query.text:
        rows = rows.filter(name__icontains=query.text)
    if query.is_public is not None:
        rows = rows.filter(is_public=query.is_public)
    if after:
        rows = rows.filter(name__gt=after)
    found = list(rows[: limit + 1])
    shown = found[:limit]
    return RepositoryPage(
        _with_last_pushes(workspace, shown), shown[-1].name if len(found) > limit else ""
    )


def find_repository(workspace: Workspace, repository: RepositoryName) -> ListedRepository | None:
    """Return one repository of the workspace, or None if it has none of this name."""
    row = KnownRepository.objects.filter(workspace=workspace, name=repository.name).first()
    return _with_last_pushes(workspace, [row])[0] if row else None


def _with_last_pushes(
    workspace: Workspace, rows: Iterable[KnownRepository]
) -> list[ListedRepository]:
    names = [row.name for row in rows]
    last_pushes = dict(_last_pushes(workspace, names).values_list("repository", "at"))
    return [
        ListedRepository(row.name, row.is_public, row.created_at, last_pushes.get(row.name))
        for row in rows
    ]


def _last_pushes(workspace: Workspace, names: list[str]) -> QuerySet[Push]:
    """Return the last push of each repository.

    The last by id, which the index on a repository's pushes has: their rows are not read.
    """
    last = (
        Push.objects.filter(workspace=workspace, repository__in=names)
        .values("repository")
        .annotate(last=Max("id"))
        .values("last")
    )
    return Push.objects.filter(id__in=last)
