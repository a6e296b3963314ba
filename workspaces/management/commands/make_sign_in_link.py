"""manage.py make_sign_in_link USERNAME"""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from workspaces.actions.sign_in_links import SIGN_IN_LINK_MINUTES, make_sign_in_token
from workspaces.models import User
from workspaces.text import quote


class Command(BaseCommand):
    help = (
        "Print a link that signs a site administrator in, without password and identity provider: "
        "for when that is away. It works once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print it, or say why there is none."""
        user = User.objects.filter(username=options["username"]).first()
        if user is None or not user.is_superuser:
            raise CommandError(
                f"{quote(options['username'])} is no site administrator. Make one with "
                "add_site_admin."
            )
        if not user.is_active:
            raise CommandError(f"The account {user.username} is deactivated or paused.")
        uid = urlsafe_base64_encode(force_bytes(user.pk))
        path = reverse("sign-in-link", args=[uid, make_sign_in_token(user)])
        self.stdout.write(f"{settings.PUBLIC_URL}{path}")
        self.stderr.write(
            f"It signs {user.username} in, once, within {SIGN_IN_LINK_MINUTES} minutes"
        )
