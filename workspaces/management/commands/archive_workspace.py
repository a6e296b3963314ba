"""manage.py archive_workspace SLUG [--undo]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from workspaces.access import SYSTEM
from workspaces.actions.archive import archive_workspace, unarchive_workspace
from workspaces.management.find import add_reason_option, find_workspaces, read_reason


class Command(BaseCommand):
    help = (
        "Archive a workspace: its images can be pulled and its log read, and nothing in it can be "
        "pushed, deleted or changed. Its locks stay in force, and its slug stays taken."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug")
        parser.add_argument("--undo", action="store_true", help="let it be changed again")
        add_reason_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Archive it, or take that back."""
        [workspace] = find_workspaces([options["slug"]])
        change = unarchive_workspace if options["undo"] else archive_workspace
        has_changed = change(workspace, actor=SYSTEM, reason=read_reason(options))
        state = "can be changed again" if options["undo"] else "is archived"
        already = "" if has_changed else ", as it was before"
        self.stderr.write(f"{workspace.slug} {state}{already}.")
