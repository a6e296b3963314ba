"""manage.py add_site_admin USERNAME [--remove]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from workspaces.access import SYSTEM
from workspaces.actions.people import set_site_admin
from workspaces.management.find import find_person


class Command(BaseCommand):
    help = (
        "Make someone a site administrator: they see to workspaces, people, the registry and "
        "prefixes of repositories, and get nothing in any workspace by that."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")
        parser.add_argument("--remove", action="store_true", help="make them none any more")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make them one, or none any more. It counts from their next request."""
        user, is_one = find_person(options["username"]), not options["remove"]
        set_site_admin(user, is_one=is_one, actor=SYSTEM)
        state = "a" if is_one else "no"
        self.stderr.write(f"{user.username} is {state} site administrator.")
