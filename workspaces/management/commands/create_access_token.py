"""manage.py create_access_token WORKSPACE NAME --scope SCOPE …

[--repository GLOB …] [--expires-in-days DAYS]
"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.management.expiry import add_expiry_option, read_expiry
from workspaces.management.explain import explain
from workspaces.models import Workspace
from workspaces.text import quote


class Command(BaseCommand):
    help = "Create an access token and print it, only this once, to standard output."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace")
        parser.add_argument("name")
        parser.add_argument(
            "--scope",
            required=True,
            action="append",
            dest="scopes",
            choices=[scope.value for scope in Scope],
        )
        parser.add_argument(
            "--repository",
            action="append",
            default=[],
            dest="repositories",
            metavar="GLOB",
            help="Limit it to repositories: names within the workspace, with * for any characters "
            "except a slash and ** for any characters. Default: the whole workspace.",
        )
        add_expiry_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Create it, or say why not."""
        workspace = Workspace.objects.filter(slug=options["workspace"]).first()
        if workspace is None:
            raise CommandError(f'There is no workspace "{options["workspace"]}".')
        scopes = [Scope(scope) for scope in options["scopes"]]
        expires_at = read_expiry(options["expires_in_days"])
        try:
            secret = create_access_token(
                workspace,
                options["name"],
                scopes,
                actor=SYSTEM,
                expires_at=expires_at,
                repositories=options["repositories"],
            )
        except ValidationError as error:
            raise CommandError(f"{quote(options['name'])}: {explain(error)}") from error
        self.stdout.write(secret)
