"""What unlocked tags pointed at when their pushes were last allowed.

Read only where nobody can be asked what the registry has; a lock, where there is one, knows better.
"""

from collections.abc import Collection, Iterator

from django.db.models import QuerySet

from containers.models import Tag as KnownTag
from containers.reference import Digest, Repository, Tag
from workspaces.models import Workspace


def read_known_tags(
    workspace: Workspace, repository: Repository, tags: Collection[Tag]
) -> dict[Tag, Digest]:
    """Return what is known of these tags; a tag that is not known is left out."""
    if not tags:
        return {}
    rows = _rows(workspace, repository, tags).values_list("name", "digest")
    return {Tag(name): Digest(digest) for name, digest in rows}


def find_known_tags(
    workspace: Workspace, repository: Repository, target: Tag | Digest
) -> dict[Tag, Digest]:
    """Return what is known of one tag, or every tag that is known to point at one digest."""
    if isinstance(target, Tag):
        return read_known_tags(workspace, repository, [target])
    names = KnownTag.objects.filter(
        workspace=workspace, repository=repository.name, digest=target.value
    ).values_list("name", flat=True)
    return {Tag(name): target for name in names}


def iterate_known_tags(workspace: Workspace) -> Iterator[tuple[Repository, Tag, Digest]]:
    """Yield every known tag of a workspace, some hundred at a time."""
    last = 0
    rows = KnownTag.objects.filter(workspace=workspace).order_by("id")
    while chunk := list(rows.filter(id__gt=last)[:500]):
        for row in chunk:
            yield Repository(row.repository), Tag(row.name), Digest(row.digest)
        last = chunk[-1].id


def remember_tags(
    workspace: Workspace, repository: Repository, tags: Collection[Tag], digest: Digest
) -> None:
    """Keep that these tags point at `digest`, within the caller's transaction."""
    if not tags:
        return
    # Sorted, so that two of these in opposite orders do not wait for each other.
    rows = [
        KnownTag(
            workspace=workspace, repository=repository.name, name=tag.name, digest=digest.value
        )
        for tag in sorted(tags)
    ]
    KnownTag.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["workspace", "repository", "name"],
        update_fields=["digest"],
    )


def forget_tags(workspace: Workspace, repository: Repository, tags: Collection[Tag]) -> None:
    """Forget these tags: they are gone, or a lock knows them now."""
    if tags:
        _rows(workspace, repository, tags).delete()


def forget_digest(workspace: Workspace, repository: Repository, digest: Digest) -> None:
    """Forget every tag that points at `digest`: a delete by digest takes them all."""
    KnownTag.objects.filter(
        workspace=workspace, repository=repository.name, digest=digest.value
    ).delete()


def _rows(
    workspace: Workspace, repository: Repository, tags: Collection[Tag]
) -> QuerySet[KnownTag]:
    return KnownTag.objects.filter(
        workspace=workspace, repository=repository.name, name__in=[tag.name for tag in tags]
    )
