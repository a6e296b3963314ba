"""manage.py add_member WORKSPACE USERNAME --role ROLE [--password-stdin]"""

import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from workspaces.access import SYSTEM, Role
from workspaces.actions.members import add_member
from workspaces.management.explain import explain
from workspaces.models import User, Workspace


class Command(BaseCommand):
    help = "Give somebody a role in a workspace; makes the user if there is none of that name."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace")
        parser.add_argument("username")
        parser.add_argument("--role", required=True, choices=[role.value for role in Role])
        parser.add_argument(
            "--password-stdin", action="store_true", help="Read a new password from standard input."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Add them, or say why not; nothing is half done."""
        workspace = Workspace.objects.filter(slug=options["workspace"]).first()
        if workspace is None:
            raise CommandError(f'There is no workspace "{options["workspace"]}".')
        try:
            with transaction.atomic():
                user = self._find_or_make(options["username"], options["password_stdin"])
                add_member(workspace, user, Role(options["role"]), actor=SYSTEM)
        except ValidationError as error:
            raise CommandError(explain(error)) from error
        self.stderr.write(f"{user.username} is {options['role']} of {workspace.slug}.")

    def _find_or_make(self, username: str, password_stdin: bool) -> User:  # noqa: FBT001
        User(username=username).clean_fields(exclude=["password"])
        user = User.objects.filter(username=username).first() or User(username=username)
        if password_stdin:
            password = sys.stdin.readline().rstrip("\n")
            validate_password(password, user)
            user.set_password(password)
        elif user._state.adding:
            user.set_unusable_password()
        user.full_clean(exclude=["password"])
        user.save()
        return user
