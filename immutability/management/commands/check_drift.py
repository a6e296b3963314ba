"""manage.py check_drift"""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.connection import find_registry
from immutability.errors import TryAgainError
from immutability.reconcile.drift import find_drift, forget_gone
from workspaces.management.find import find_workspaces


class Command(BaseCommand):
    help = (
        "Compare the locks with what the registry has. Prints a line for every difference, "
        "records it in the lock log, and exits with status 1 if there are any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace", nargs="*", help="slugs; default: every workspace")
        parser.add_argument(
            "--forget-gone",
            action="store_true",
            help="forget the tags that were seen in the registry and are gone, so that they can be "
            "pushed again; only where its storage is all there",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare, print and record."""
        registry = find_registry()
        if registry is None:
            raise CommandError("No registry is connected: set REGISTRY_URL.")
        count = 0
        try:
            for workspace in find_workspaces(options["workspace"]):
                for drift in find_drift(workspace, registry):
                    self.stdout.write(str(drift))
                    if options["forget_gone"] and forget_gone(drift):
                        self.stdout.write("    forgotten")
                    else:
                        count += 1
        except TryAgainError as error:
            raise CommandError(f"Stopped before the end: {error}. Run it again.") from error
        self.stdout.write(f"{count} difference{'' if count == 1 else 's'} found.")
        if count:
            sys.exit(1)
