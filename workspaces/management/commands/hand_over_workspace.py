"""manage.py hand_over_workspace SLUG USERNAME"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.access import SYSTEM
from workspaces.actions.archive import InactivePersonError, hand_over_workspace
from workspaces.management.find import (
    add_reason_option,
    find_person,
    find_workspaces,
    read_reason,
)


class Command(BaseCommand):
    help = "Make someone an admin of a workspace, without asking its members."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug")
        parser.add_argument("username")
        add_reason_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Hand it over, or say why not."""
        [workspace] = find_workspaces([options["slug"]])
        user = find_person(options["username"])
        try:
            hand_over_workspace(workspace, user, actor=SYSTEM, reason=read_reason(options))
        except InactivePersonError as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"{user.username} is admin of {workspace.slug}.")
