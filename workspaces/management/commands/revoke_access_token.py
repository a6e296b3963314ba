"""manage.py revoke_access_token NAME [--workspace SLUG]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.access import SYSTEM
from workspaces.actions.access_tokens import revoke_access_token
from workspaces.models import AccessToken, Workspace
from workspaces.text import find_bad_character, quote


class Command(BaseCommand):
    help = "Revoke an access token: it is refused from that moment on."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", help="The token's name, as it is listed.")
        parser.add_argument(
            "--workspace",
            metavar="SLUG",
            help="The workspace that it is for. Default: a token for every workspace.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Revoke it, or say that there is none."""
        name, slug = options["name"], options["workspace"]
        workspace = None
        if slug is not None:
            workspace = Workspace.objects.filter(slug=slug).first()
            if workspace is None:
                raise CommandError(f'There is no workspace "{slug}".')
        token = None
        if not find_bad_character(name):
            token = AccessToken.objects.filter(
                workspace=workspace, name=name, revoked_at=None
            ).first()
        if token is None:
            where = f"in {slug}" if workspace else "for every workspace; of one, add --workspace"
            raise CommandError(f"There is no access token {quote(name)} {where}.")
        revoke_access_token(workspace, token.id, actor=SYSTEM)
        self.stderr.write(f"Access token {quote(name)} is revoked.")
