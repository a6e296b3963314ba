"""manage.py group_roles [list | set GROUP WORKSPACE ROLE | set GROUP --site-admin | remove …]"""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.access import SYSTEM, Role
from workspaces.management.explain import explain
from workspaces.management.find import find_workspaces
from workspaces.models import GroupRole, Workspace
from workspaces.single_sign_on.groups import (
    delete_group_role,
    list_group_roles,
    save_group_role,
)


class Command(BaseCommand):
    help = "List, set or remove what groups at the identity provider give to the people in them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list")
        for name in ("set", "remove"):
            action = actions.add_parser(name)
            action.add_argument("group", help="as the groups claim names it")
            action.add_argument("workspace", nargs="?", help="its slug")
            if name == "set":
                action.add_argument("role", nargs="?", choices=[role.value for role in Role])
            action.add_argument("--site-admin", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, or say why not. It counts from each person's next sign-in or check."""
        if options["action"] == "list":
            for row in list_group_roles():
                gives = f"{row.role} of {row.workspace}" if row.workspace else "site administrator"
                self.stdout.write(f"{row.group}\t{gives}")
            return
        if options["site_admin"] == bool(options["workspace"]):
            raise CommandError("Name either a workspace or --site-admin.")
        workspace = None
        if options["workspace"]:
            (workspace,) = find_workspaces([options["workspace"]])
        if options["action"] == "set":
            self._set(options["group"], workspace, options["role"])
        else:
            self._remove(options["group"], workspace)

    def _set(self, group: str, workspace: Workspace | None, role: str | None) -> None:
        if (workspace is None) != (role is None):
            raise CommandError("Name a role for the workspace.")
        try:
            save_group_role(group, workspace, Role(role) if role else None, actor=SYSTEM)
        except ValidationError as error:
            raise CommandError(explain(error)) from error
        gives = f"{role} of {workspace}" if workspace else "site administrator"
        self.stderr.write(f"People in {group} become {gives} within minutes.")

    def _remove(self, group: str, workspace: Workspace | None) -> None:
        row = GroupRole.objects.filter(group=group, workspace=workspace).first()
        if row is None:
            raise CommandError(f"The group {group} gives no such role.")
        delete_group_role(row, actor=SYSTEM)
        self.stderr.write(f"{group} no longer gives it. People lose it within minutes.")
