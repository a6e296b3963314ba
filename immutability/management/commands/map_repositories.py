"""manage.py map_repositories [PREFIX WORKSPACE] [--remove PREFIX]"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.prefixes import find_prefixes
from immutability.actions.map_repositories import map_repositories, unmap_repositories
from workspaces.access import SYSTEM
from workspaces.management.explain import explain
from workspaces.management.find import find_workspaces
from workspaces.text import quote


class Command(BaseCommand):
    help = (
        "Give new repositories whose names begin with a prefix to a workspace. Without arguments, "
        "list the prefixes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("prefix", nargs="?", help="whole parts of a name: team, team/sub")
        parser.add_argument("workspace", nargs="?", help="its slug")
        parser.add_argument("--remove", metavar="PREFIX", help="known repositories stay")

    def handle(self, *args: Any, **options: Any) -> None:
        """Add, remove or list."""
        prefix, slug, to_remove = options["prefix"], options["workspace"], options["remove"]
        if to_remove is not None and prefix is None:
            self._remove(to_remove)
        elif slug is not None and to_remove is None:
            self._add(prefix, slug)
        elif prefix is None:
            for row in find_prefixes():
                self.stdout.write(f"{row.prefix}\t{row.workspace.slug}")
        else:
            raise CommandError("Give a prefix and a workspace, or --remove and a prefix.")

    def _add(self, prefix: str, slug: str) -> None:
        [workspace] = find_workspaces([slug])
        try:
            has_changed = map_repositories(workspace, prefix, actor=SYSTEM)
        except ValidationError as error:
            raise CommandError(explain(error)) from error
        state = "belong" if has_changed else "already belong"
        self.stderr.write(f"Repositories under {quote(prefix)} {state} to {quote(slug)}.")

    def _remove(self, prefix: str) -> None:
        workspace = unmap_repositories(prefix, actor=SYSTEM)
        if workspace is None:
            raise CommandError(f"There is no prefix {quote(prefix)}.")
        self.stderr.write(
            f"{quote(workspace.slug)} gets no new repositories under {quote(prefix)}. Those that "
            "are known stay."
        )
