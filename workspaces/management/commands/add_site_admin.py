"""manage.py add_site_admin USERNAME [--remove]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.models import User
from workspaces.text import quote


class Command(BaseCommand):
    help = (
        "Make someone a site administrator: they see to the registry and to prefixes of "
        "repositories, and get nothing in any workspace by that."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")
        parser.add_argument("--remove", action="store_true", help="make them none any more")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make them one, or none any more. It counts from their next request."""
        username, is_one = options["username"], not options["remove"]
        if not User.objects.filter(username=username).update(is_superuser=is_one):
            raise CommandError(f"There is no user {quote(username)}. Make one with add_member.")
        state = "a" if is_one else "no"
        self.stderr.write(f"{username} is {state} site administrator.")
