"""Rows of tags with what an admin can do to each, for a repository's page and for Locked tags."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.http import HttpRequest

from containers.connection import find_registry
from immutability.actions.tags import find_actions, to_chosen
from immutability.repository_tags import ListedTag
from workspaces.caller_access import Access
from workspaces.registry_host import find_registry_host


@dataclass(frozen=True)
class TagRow:
    """A tag, what an admin can do to it, and how a form names it."""

    tag: ListedTag
    actions: list[str]
    key: str
    pull_command: str

    @property
    def reference(self) -> str:
        return f"{self.tag.record.repository}:{self.tag.record.name}"


@dataclass(frozen=True)
class Chip:
    """A filter that a link sets."""

    text: str
    url: str
    count: str = ""
    is_current: bool = False


def make_rows(request: HttpRequest, access: Access, tags: Iterable[ListedTag]) -> list[TagRow]:
    """Return the tags as rows; only an admin can do anything to them."""
    has_registry = find_registry(access.workspace) is not None
    host = find_registry_host(access.workspace, request.get_host())
    return [
        TagRow(
            tag,
            [each.value for each in find_actions(tag, has_registry=has_registry)]
            if access.can_manage_locked_tags
            else [],
            to_chosen(tag).key,
            make_pull_command(host, tag) if has_registry and tag.record.digest else "",
        )
        for tag in tags
    ]


def make_pull_command(host: str, tag: ListedTag, *, by_digest: bool = False) -> str:
    """Return the command that pulls what the registry has under a tag."""
    record = tag.record
    end = f"@{record.digest}" if by_digest else f":{record.name}"
    return f"docker pull {host}/{record.repository}{end}"


def make_chips(
    request: HttpRequest, name: str, choices: Iterable[tuple[str, str, str]], current: str
) -> list[Chip]:
    """Return a chip for each choice of a filter: value, text and count."""
    chips = []
    for value, text, count in choices:
        kept = request.GET.copy()
        # Another filter begins at its first page.
        for each in (name, "after", "before"):
            kept.pop(each, None)
        if value:
            kept[name] = value
        chips.append(Chip(text, f"?{kept.urlencode()}", count, value == current))
    return chips


def without(request: HttpRequest, *names: str) -> str:
    """Return the query string of this page without these parameters."""
    kept = request.GET.copy()
    for name in names:
        kept.pop(name, None)
    return f"?{kept.urlencode()}"
