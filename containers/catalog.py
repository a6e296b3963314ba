"""Go through the repositories and tags that the registry has, page by page."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from containers.connection import release_database
from containers.names import (
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_repository,
    parse_tag,
)
from containers.registry.client import RegistryClient, RegistryUnavailableError

# A registry that never stops returning pages is not followed forever.
MAX_PAGES = 100_000

Item = TypeVar("Item")


def iterate_repositories(
    registry: RegistryClient, workspace: str, after: str = ""
) -> Iterator[RepositoryName]:
    """Yield the repositories of a workspace, in the registry's order, from behind `after`.

    `workspace` is its slug. A registry's order may put the slash first or in its place, but keeps
    the repositories of a workspace together: what follows them is not asked for. Raises
    RegistryUnavailableError.
    """
    prefix = f"{workspace}/"
    has_begun = bool(after)
    for name in _iterate(registry.page_repositories, after or workspace):
        if name.startswith(prefix):
            has_begun = True
            # What has no proper name cannot be pushed to, so nothing in it can be protected.
            with suppress(InvalidReferenceError):
                yield parse_repository(name)
        elif has_begun:
            return


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
