"""Give names of repositories to workspaces: by a new workspace's slug, and by prefixes.

A repository that is known already stays where it is. So a name is given only if no other workspace
has a repository there, and no repository becomes known meanwhile.
"""

from typing import TypeVar

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, F, Model, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Concat, Length, StrIndex

from containers.models import Repository, RepositoryPrefix
from containers.names import InvalidReferenceError, parse_repository
from containers.sql import keep_repositories
from workspaces.access import Actor
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Registry, Workspace
from workspaces.text import quote

MAX_PREFIXES = 1000

Row = TypeVar("Row", bound=Model)


@transaction.atomic
def create_workspace(
    slug: str, name: str, registry: Registry | None = None, *, actor: Actor
) -> Workspace:
    """Create a workspace at a registry. Raises ValidationError if the slug or name is not valid.

    And if another workspace has a prefix or a repository that begins with the slug.
    """
    workspace = Workspace(slug=slug, name=name, registry=registry)
    # Before it is looked for what is taken: of two at once, the second one is told.
    keep_repositories()
    workspace.full_clean(exclude=["created_at"])
    taken = _filter_under(RepositoryPrefix.objects.all(), "prefix", slug).first()
    if taken is not None:
        raise ValidationError(
            {"slug": f"The prefix {quote(taken.prefix)} belongs to {taken.workspace}."}
        )
    _require_no_repository(_filter_under(Repository.objects.all(), "name", slug), "slug")
    workspace.save()
    append_event(Event(EventKind.WORKSPACE_CREATED, slug, details={"name": name}), actor=actor)
    return workspace


@transaction.atomic
def add_prefix(workspace: Workspace, prefix: str, *, actor: Actor) -> bool:
    """Give new repositories under a prefix to a workspace; return whether that changed anything.

    Raises ValidationError if it is not a prefix, or if it is, or what is under it, another's.
    """
    try:
        name = parse_repository(prefix)
    except InvalidReferenceError as error:
        raise ValidationError({"prefix": error.message}) from error
    keep_repositories()
    owner = Workspace.objects.filter(slug=name.first_part).first()
    if owner is not None:
        raise ValidationError(
            {"prefix": f"What begins with {quote(owner.slug)} belongs to {owner} already."}
        )
    row = RepositoryPrefix.objects.select_related("workspace").filter(prefix=prefix).first()
    if row is not None:
        if row.workspace != workspace:
            raise ValidationError({"prefix": f"It belongs to {row.workspace}."})
        return False
    if RepositoryPrefix.objects.count() >= MAX_PREFIXES:
        raise ValidationError({"prefix": f"There are {MAX_PREFIXES} prefixes: no more fit."})
    _require_no_repository(_find_moving(prefix).exclude(workspace=workspace), "prefix")
    RepositoryPrefix.objects.create(workspace=workspace, prefix=prefix)
    _record(EventKind.PREFIX_ADDED, workspace, prefix, actor=actor)
    return True


@transaction.atomic
def remove_prefix(prefix: str, *, actor: Actor) -> Workspace | None:
    """Take a prefix from its workspace, which is returned; None if there is no such prefix.

    The repositories under it that are known stay in the workspace.
    """
    keep_repositories()
    row = RepositoryPrefix.objects.select_related("workspace").filter(prefix=prefix).first()
    if row is None:
        return None
    row.delete()
    _record(EventKind.PREFIX_REMOVED, row.workspace, prefix, actor=actor)
    return row.workspace


def find_prefixes(workspace: Workspace | None = None) -> QuerySet[RepositoryPrefix]:
    """Return the prefixes of a workspace, or all of them, with their workspaces, in order."""
    rows = RepositoryPrefix.objects.select_related("workspace").order_by("prefix")
    return rows if workspace is None else rows.filter(workspace=workspace)


def _find_moving(prefix: str) -> QuerySet[Repository]:
    """Return the known repositories whose longest prefix this one would be."""
    longer = RepositoryPrefix.objects.annotate(
        length=Length("prefix"),
        at=StrIndex(Concat(OuterRef("name"), Value("/")), Concat(F("prefix"), Value("/"))),
    ).filter(length__gt=len(prefix), at=1)
    return _filter_under(Repository.objects.all(), "name", prefix).exclude(Exists(longer))


def _require_no_repository(rows: QuerySet[Repository], field: str) -> None:
    """Raise ValidationError, about this field, if there is one."""
    row = rows.select_related("workspace").order_by("name").first()
    if row is not None:
        raise ValidationError(
            {field: f"The repository {quote(row.name)} belongs to {row.workspace}."}
        )


def _filter_under(rows: QuerySet[Row], field: str, prefix: str) -> QuerySet[Row]:
    """Return the rows whose field is this prefix, or begins with it and a slash."""
    return rows.filter(Q(**{field: prefix}) | Q(**{f"{field}__startswith": f"{prefix}/"}))


def _record(kind: EventKind, workspace: Workspace, prefix: str, *, actor: Actor) -> None:
    append_event(Event(kind, workspace.slug, details={"prefix": prefix}), actor=actor)
