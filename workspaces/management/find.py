"""Find what a command line names."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from workspaces.log.models import MAX_REASON_LENGTH
from workspaces.models import Registry, User, Workspace
from workspaces.text import describe_bad_character, find_bad_character, quote


def find_workspaces(slugs: list[str]) -> list[Workspace]:
    """Return the workspaces of these slugs; of none, all of them. Raises CommandError."""
    if not slugs:
        return list(Workspace.objects.order_by("slug"))
    found = Workspace.objects.in_bulk(slugs, field_name="slug")
    if missing := [slug for slug in slugs if slug not in found]:
        raise CommandError(f"There is no workspace {', '.join(missing)}.")
    return [found[slug] for slug in slugs]


def find_person(username: str) -> User:
    """Return the person of this user name. Raises CommandError."""
    is_possible = not find_bad_character(username)
    user = User.objects.filter(username=username).first() if is_possible else None
    if user is None:
        raise CommandError(f"There is no user {quote(username)}. Make one with add_member.")
    return user


def add_reason_option(parser: CommandParser) -> None:
    """Declare --reason."""
    parser.add_argument("--reason", default="", help="why; recorded in the lock log")


def read_reason(options: Mapping[str, Any]) -> str:
    """Return the reason of a command line. Raises CommandError for what cannot be recorded."""
    reason: str = options["reason"].strip()
    problem = describe_bad_character(reason) if reason else None
    if problem or len(reason) > MAX_REASON_LENGTH:
        raise CommandError(f"--reason: {problem or f'at most {MAX_REASON_LENGTH} characters.'}")
    return reason


def find_registry_row(name: str | None) -> Registry | None:
    """Return the registry of this name; None without one. Raises CommandError."""
    if not name:
        return None
    row = Registry.objects.filter(name=name).first()
    if row is None:
        raise CommandError(f"There is no registry {quote(name)}. Add it with add_registry.")
    return row
