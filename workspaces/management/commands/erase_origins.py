"""manage.py erase_origins [WORKSPACE…] --before DATE"""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.log.erase import erase_origins
from workspaces.management.find import find_workspaces


class Command(BaseCommand):
    help = (
        "Erase addresses and user agents from the lock log. Its events stay, and can be verified."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace", nargs="*", help="slugs; default: every workspace")
        parser.add_argument(
            "--before", required=True, help="the day, in UTC, whose start ends what is erased"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Erase, and say how many."""
        try:
            before = datetime.strptime(options["before"], "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError as error:
            raise CommandError("--before must be a day, such as 2026-05-01.") from error
        slugs = [each.slug for each in find_workspaces(options["workspace"])]
        count = erase_origins(before, slugs if options["workspace"] else ())
        self.stdout.write(f"{count} origin{'' if count == 1 else 's'} erased.")
