"""manage.py check_drift"""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.connection import find_registry
from immutability.actions.drift import find_drift, record_drift
from immutability.actions.read import UndecidedError
from workspaces.access import SYSTEM
from workspaces.management.find import find_workspaces


class Command(BaseCommand):
    help = (
        "Compare the locks with what the registry has. Prints a line for every difference, records "
        "it in the lock log, and ends with status 1 where there is any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("workspace", nargs="*", help="slugs; left out, every workspace")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare, print and record."""
        registry = find_registry()
        if registry is None:
            raise CommandError("No registry is connected: set REGISTRY_URL.")
        count = 0
        try:
            for workspace in find_workspaces(options["workspace"]):
                for drift in find_drift(workspace, registry):
                    record_drift(workspace, drift, actor=SYSTEM)
                    self.stdout.write(str(drift))
                    count += 1
        except UndecidedError as error:
            raise CommandError(f"Stopped before the end: {error}. Run it again.") from error
        self.stdout.write(f"{count} difference{'' if count == 1 else 's'} found.")
        if count:
            sys.exit(1)
