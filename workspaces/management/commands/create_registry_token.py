"""manage.py create_registry_token NAME [--expires-in-days DAYS]"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.management.expiry import add_expiry_option, read_expiry
from workspaces.management.explain import explain
from workspaces.text import quote


class Command(BaseCommand):
    help = (
        "Create an access token with which a registry asks for every workspace, and print it, "
        "only this once, to standard output."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name")
        add_expiry_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Create it, or say why not."""
        expires_at = read_expiry(options["expires_in_days"])
        try:
            secret = create_access_token(
                None, options["name"], [Scope.REGISTRY], actor=SYSTEM, expires_at=expires_at
            )
        except ValidationError as error:
            raise CommandError(f"{quote(options['name'])}: {explain(error)}") from error
        self.stdout.write(secret)
