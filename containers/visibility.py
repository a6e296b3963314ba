"""Let anyone pull from a repository without signing in, or only its workspace."""

from django.db import transaction

from containers.models import Repository as KnownRepository
from containers.names import RepositoryName
from containers.owners import is_owner
from containers.sql import insert_repository
from workspaces.access import Actor
from workspaces.actions.members import lock_people
from workspaces.authorization import require_admin
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


class ForeignRepositoryError(Exception):
    """A repository belongs to another workspace, or to none."""


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
    if not is_owner(workspace, repository):
        raise ForeignRepositoryError(f"{repository} is not a repository of {workspace}")
    lock_people(workspace)
    require_admin(workspace, actor)
    if is_public and not insert_repository(workspace, repository):
        raise ForeignRepositoryError(f"{repository} became another workspace's")
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
