"""manage.py create_workspace SLUG --name NAME"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.prefixes import create_workspace
from workspaces.access import SYSTEM
from workspaces.management.explain import explain
from workspaces.management.find import find_registry_row


class Command(BaseCommand):
    help = "Create a workspace. Its slug begins its repositories' names and never changes."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("slug")
        parser.add_argument("--name", required=True)
        parser.add_argument("--registry", help="its name; default: the one of REGISTRY_URL")

    def handle(self, *args: Any, **options: Any) -> None:
        """Create it, or say why not."""
        registry = find_registry_row(options["registry"])
        try:
            create_workspace(options["slug"], options["name"], registry, actor=SYSTEM)
        except ValidationError as error:
            raise CommandError(explain(error)) from error
        self.stderr.write(f'Workspace "{options["slug"]}" created.')
