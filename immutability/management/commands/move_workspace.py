"""manage.py move_workspace WORKSPACE [REGISTRY]"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from immutability.actions.move_workspace import move_workspace
from workspaces.access import SYSTEM
from workspaces.management.explain import explain
from workspaces.management.find import find_registry_row, find_workspaces
from workspaces.text import quote


class Command(BaseCommand):
    help = "Move a workspace that has no images yet to another registry."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace", help="its slug")
        parser.add_argument("registry", nargs="?", help="default: the one of REGISTRY_URL")

    def handle(self, *args: Any, **options: Any) -> None:
        """Move it, or say why not."""
        [workspace] = find_workspaces([options["workspace"]])
        registry = find_registry_row(options["registry"])
        try:
            has_changed = move_workspace(workspace, registry, actor=SYSTEM)
        except ValidationError as error:
            raise CommandError(explain(error)) from error
        where = f"the registry {quote(registry.name)}" if registry else "the registry REGISTRY_URL"
        already = "" if has_changed else "already "
        self.stderr.write(f"{quote(workspace.slug)} is {already}at {where}.")
