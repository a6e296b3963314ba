"""What an address names: a repository, or a tag of it."""

from django.http import Http404

from containers.names import (
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_repository,
    parse_tag,
)
from containers.owners import is_owner
from workspaces.caller_access import Access


def parse_repository_place(access: Access, repository: str) -> RepositoryName:
    """Return the repository. Raises Http404 if it is nothing of the workspace."""
    try:
        name = parse_repository(repository)
    except InvalidReferenceError as error:
        raise Http404 from error
    if not is_owner(access.workspace, name):
        raise Http404
    return name


def parse_tag_place(access: Access, repository: str, tag: str) -> tuple[RepositoryName, TagName]:
    """Return the repository and the tag. Raises Http404 if they are nothing of the workspace."""
    place = parse_repository_place(access, repository)
    try:
        return place, parse_tag(tag)
    except InvalidReferenceError as error:
        raise Http404 from error
