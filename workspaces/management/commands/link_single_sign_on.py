"""manage.py link_single_sign_on USERNAME SUBJECT, or USERNAME --remove"""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.access import SYSTEM
from workspaces.management.explain import explain
from workspaces.models import User
from workspaces.single_sign_on.people import link_identity, unlink_identity
from workspaces.text import quote


class Command(BaseCommand):
    help = (
        "Let the identity provider vouch for an account that is here already. Its password ends. "
        "With --remove, take the link back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")
        parser.add_argument(
            "subject", nargs="?", default="", help="the person's id at the provider (sub)"
        )
        parser.add_argument("--remove", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Link the account or take the link back, or say why not."""
        username, subject = options["username"], options["subject"]
        if options["remove"] == bool(subject):
            raise CommandError("Name either the person's id at the provider or --remove.")
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {quote(username)}.")
        if options["remove"]:
            if not unlink_identity(user, actor=SYSTEM):
                raise CommandError(f"{username} is not linked.")
            self.stderr.write(f"{username} is no longer linked, and has no password.")
            return
        if settings.PROVIDER_SECRET is None:
            raise CommandError("There is no single sign-on: OIDC_ISSUER is not set.")
        try:
            link_identity(user, settings.PROVIDER_SECRET.issuer, subject, actor=SYSTEM)
        except ValidationError as error:
            raise CommandError(explain(error)) from error
        self.stderr.write(f"{username} now signs in with {settings.PROVIDER_SECRET.name}.")
