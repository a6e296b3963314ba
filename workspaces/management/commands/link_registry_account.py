"""manage.py link_registry_account ACCOUNT USERNAME, or ACCOUNT --remove"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.access import SYSTEM
from workspaces.actions.registry_accounts import link_registry_account, unlink_registry_account
from workspaces.management.explain import explain
from workspaces.management.find import find_registry_row
from workspaces.models import Registry, User
from workspaces.text import quote


class Command(BaseCommand):
    help = (
        "Link an account that the registry keeps to a person: where they are an admin, the account "
        "may delete locked tags. With --remove, take the link back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("account", help="its name, as the lock log shows it")
        parser.add_argument("username", nargs="?", default="")
        parser.add_argument("--remove", action="store_true")
        parser.add_argument("--registry", help="its name; default: the one of REGISTRY_URL")

    def handle(self, *args: Any, **options: Any) -> None:
        """Link it or take the link back, or say why not. It counts from the next delete."""
        account, username = options["account"], options["username"]
        if options["remove"] == bool(username):
            raise CommandError("Name either a user or --remove.")
        registry = find_registry_row(options["registry"])
        if options["remove"]:
            self._unlink(account, registry)
            return
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {quote(username)}. Make one with add_member.")
        try:
            link_registry_account(account, user, registry, actor=SYSTEM)
        except ValidationError as error:
            raise CommandError(explain(error)) from error
        self.stderr.write(f"{account} is linked to {username}.")

    def _unlink(self, account: str, registry: Registry | None) -> None:
        if not unlink_registry_account(account, registry, actor=SYSTEM):
            raise CommandError(f"The account {quote(account)} is linked to no one.")
        self.stderr.write(f"{account} is linked to no one now.")
