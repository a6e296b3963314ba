"""manage.py seal_lock_log [--sweep]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from workspaces.log.seal import seal_events, seal_late_events, sweep


class Command(BaseCommand):
    help = "Seal the events of the lock log that are not sealed yet. The worker also does this."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--sweep",
            action="store_true",
            help="search the whole log, for events that were committed very late",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Seal until nothing is left, and say how many were sealed."""
        total = 0
        while sealed := seal_events():
            total += sealed
        total += sweep() if options["sweep"] else seal_late_events()
        self.stdout.write(f"{total} event{'' if total == 1 else 's'} sealed.")
