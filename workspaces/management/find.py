"""Find what a command line names."""

from django.core.management.base import CommandError

from workspaces.models import Workspace


def find_workspaces(slugs: list[str]) -> list[Workspace]:
    """Return the workspaces of these slugs; of none, all of them. Raises CommandError."""
    if not slugs:
        return list(Workspace.objects.order_by("slug"))
    found = Workspace.objects.in_bulk(slugs, field_name="slug")
    if missing := [slug for slug in slugs if slug not in found]:
        raise CommandError(f"There is no workspace {', '.join(missing)}.")
    return [found[slug] for slug in slugs]
