"""Which repositories anyone may pull from without signing in, and who made them so."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

from django.db import transaction

from containers.models import Repository as KnownRepository
from containers.names import InvalidReferenceError, RepositoryName, parse_repository
from workspaces.access import Actor
from workspaces.actions.members import lock_people
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


class ForeignRepositoryError(Exception):
    """A repository's name begins with another workspace's slug."""


@transaction.atomic
def set_public(
    workspace: Workspace, repository: RepositoryName, *, is_public: bool, actor: Actor
) -> bool:
    """Make a repository public or private, and return whether that changed anything.

    The repository need not exist yet: a name can be made public before its first push. It takes
    effect with the next token that is requested. Raises
    ForeignRepositoryError, and PermissionDenied if the actor is no longer an admin; both change
    nothing.
    """
    if repository.workspace != workspace.slug:
        raise ForeignRepositoryError(f"{repository} is not a repository of {workspace}")
    lock_people(workspace, by=actor)
    if is_public:
        KnownRepository.objects.bulk_create(
            [KnownRepository(workspace=workspace, name=repository.name)], ignore_conflicts=True
        )
    # Of several at once the first to update the row has changed it; the others, who wait for the
    # row, find it changed.
    has_changed = bool(
        KnownRepository.objects.filter(
            workspace=workspace, name=repository.name, is_public=not is_public
        ).update(is_public=is_public)
    )
    if has_changed:
        append_event(
            Event(
                EventKind.REPOSITORY_PUBLISHED if is_public else EventKind.REPOSITORY_CLOSED,
                workspace.slug,
                repository=repository.name,
                details={
                    "before": {"is_public": not is_public},
                    "after": {"is_public": is_public},
                },
            ),
            actor=actor,
        )
    return has_changed


def find_public(names: Iterable[str]) -> set[str]:
    """Return those of `names`, full names of repositories, that anyone may pull from.

    One query, however many. A name that is not a workspace's repository is never public.
    """
    asked = set(_parse(names))
    if not asked:
        return set()
    rows = KnownRepository.objects.filter(
        workspace__slug__in={repository.workspace for repository in asked},
        name__in={repository.name for repository in asked},
        is_public=True,
    ).values_list("workspace__slug", "name")
    # A row counts only for its own workspace: no other can publish a name with it.
    return {name for slug, name in rows if RepositoryName(name).workspace == slug}


def _parse(names: Iterable[str]) -> Iterator[RepositoryName]:
    for name in names:
        with suppress(InvalidReferenceError):
            yield parse_repository(name)
