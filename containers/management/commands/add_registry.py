"""manage.py add_registry [NAME URL] [--remove NAME]"""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.registries import connect_row
from containers.registry.account import Accounts
from containers.registry_changes import add_registry, change_registry, remove_registry
from containers.tokens.tokens import ISSUER
from workspaces.access import SYSTEM
from workspaces.management.explain import explain
from workspaces.management.find import find_registry_row
from workspaces.models import Registry


class Command(BaseCommand):
    help = (
        "Connect another registry than the one of REGISTRY_URL, or change one. Without arguments, "
        "list them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", nargs="?", help="lower-case letters, digits and hyphens")
        parser.add_argument("url", nargs="?", help="its address, as Taglock's processes reach it")
        parser.add_argument("--host", default="", help="the host name by which clients reach it")
        parser.add_argument(
            "--accounts",
            choices=[each.value for each in Accounts],
            default=Accounts.TOKENS.value,
            help="who keeps the accounts of those who push and pull",
        )
        parser.add_argument("--username", default="", help="Taglock's own account there")
        parser.add_argument("--remove", metavar="NAME", help="only where no workspace is at it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Add, change, remove or list."""
        name, url, to_remove = options["name"], options["url"], options["remove"]
        try:
            if to_remove is not None and name is None:
                row = find_registry_row(to_remove)
                if row is not None:
                    remove_registry(row, actor=SYSTEM)
            elif url is not None and to_remove is None:
                self._add(name, url, options)
            elif name is None:
                for row in Registry.objects.order_by("name"):
                    self.stdout.write(f"{row.name}\t{row.url}\t{row.host}\t{row.accounts}")
            else:
                raise CommandError("Give a name and an address, or --remove and a name.")
        except ValidationError as error:
            raise CommandError(explain(error)) from error

    def _add(self, name: str, url: str, options: dict[str, Any]) -> None:
        how = (url, options["host"], options["accounts"], options["username"])
        row = Registry.objects.filter(name=name).first()
        if row is None:
            row = add_registry(name, *how, actor=SYSTEM)
            self.stderr.write(f"The registry {name} is connected. Check it: check_registry {name}")
        else:
            change_registry(row, *how, actor=SYSTEM)
            self.stderr.write(f"The registry {name} is changed, on every node within seconds.")
        if connect_row(row).problem:
            self.stderr.write(connect_row(row).problem)
        if row.accounts == Accounts.TOKENS:
            self.stdout.write(
                f"auth:\n  token:\n    realm: {settings.PUBLIC_URL}/auth/token\n"
                f"    service: {row.service}\n    issuer: {ISSUER}\n"
                "    rootcertbundle: # the file of: manage.py token_keys export FILE"
            )
