"""Go through the repositories and tags that the registry has, page by page."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from django.conf import settings

from containers.models import Repository, RepositoryPrefix
from containers.names import (
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_repository,
    parse_tag,
)
from containers.registry.client import RegistryClient, RegistryUnavailableError
from containers.sql import find_owned
from workspaces.models import Workspace
from workspaces.pool import release_database

# A registry that never stops returning pages is not followed forever.
MAX_PAGES = 100_000
_OWNED_AT_ONCE = 100

Item = TypeVar("Item")


def iterate_repositories(
    registry: RegistryClient, prefix: str, after: str = ""
) -> Iterator[RepositoryName]:
    """Yield the repositories under a prefix, in the registry's order, from behind `after`.

    An empty prefix has them all. A registry's order may put the slash first or in its place, but
    keeps what begins alike together: what follows it is not asked for. Raises
    RegistryUnavailableError.
    """
    has_begun = bool(after)
    for name in _iterate(registry.page_repositories, after or _just_before(prefix)):
        if not prefix or RepositoryName(name).is_under(prefix):
            has_begun = True
            # What has no proper name cannot be pushed to, so nothing in it can be protected.
            with suppress(InvalidReferenceError):
                yield parse_repository(name)
        elif has_begun and name > f"{prefix}/":
            return


def iterate_owned(
    registry: RegistryClient, workspace: Workspace, after: str = ""
) -> Iterator[RepositoryName]:
    """Yield the repositories that belong to a workspace, from behind `after`.

    Prefix by prefix, and then those that are known and under none of its prefixes any more. Raises
    RegistryUnavailableError.
    """
    prefixes = _find_prefixes(workspace)
    begun = _find_covering(prefixes, after) if after else None
    if begun is not None or not after:
        for prefix in prefixes[prefixes.index(begun) if begun is not None else 0 :]:
            found = iterate_repositories(registry, prefix, after if prefix == begun else "")
            for names in split(found, _OWNED_AT_ONCE):
                owned = find_owned(names, user_id=0)
                yield from (
                    name
                    for name in names
                    if name in owned and owned[name].workspace_id == workspace.pk
                )
        after = ""
    known = Repository.objects.filter(workspace=workspace, name__gt=after).order_by("name")
    for name in known.values_list("name", flat=True):
        if _find_covering(prefixes, name) is None:
            yield RepositoryName(name)


def _find_prefixes(workspace: Workspace) -> list[str]:
    """Return what new repositories of a workspace begin with, without what others have already."""
    if workspace.slug == settings.REGISTRY_WORKSPACE:
        return [""]
    found: list[str] = []
    rows = RepositoryPrefix.objects.filter(workspace=workspace)
    for prefix in sorted([workspace.slug, *rows.values_list("prefix", flat=True)]):
        if _find_covering(found, prefix) is None:
            found.append(prefix)
    return found


def _find_covering(prefixes: Iterable[str], name: str) -> str | None:
    """Return the prefix that a name is under, or None."""
    return next(
        (each for each in prefixes if not each or RepositoryName(name).is_under(each)), None
    )


def _just_before(prefix: str) -> str:
    """Return a text that sorts before a prefix, and behind every other name that does."""
    return f"{prefix[:-1]}{chr(ord(prefix[-1]) - 1)}~" if prefix else ""


def iterate_tags(
    registry: RegistryClient, repository: RepositoryName, after: str = ""
) -> Iterator[TagName]:
    """Yield a repository's tags in order, from behind `after`. Raises RegistryUnavailableError."""
    for name in _iterate(lambda last: registry.page_tags(repository, last), after):
        if name > after:
            yield from parse_tags([name])


def parse_tags(names: Iterable[str]) -> list[TagName]:
    """Return the tags with these names, without those that cannot be pushed."""
    tags = []
    for name in names:
        with suppress(InvalidReferenceError):
            tags.append(parse_tag(name))
    return tags


def split(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yield the items in batches of this size."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, size)):
        yield batch


def _iterate(page: Callable[[str], tuple[list[str], bool]], after: str) -> Iterator[str]:
    for _ in range(MAX_PAGES):
        release_database()
        names, has_more = page(after)
        yield from names
        if not has_more or not names:
            return
        after = names[-1]
    raise RegistryUnavailableError("the registry returned too many pages")
