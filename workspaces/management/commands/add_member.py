"""manage.py add_member WORKSPACE USERNAME --role ROLE [--password-stdin]"""

import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from workspaces.access import SYSTEM, Role
from workspaces.actions.members import LastAdminError, add_member
from workspaces.actions.passwords import change_password
from workspaces.management.explain import explain
from workspaces.models import User, Workspace
from workspaces.sign_in import MAX_PASSWORD_LENGTH


class Command(BaseCommand):
    help = "Give someone a role in a workspace; creates the user if there is none of that name."

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
        password = sys.stdin.readline().rstrip("\n") if options["password_stdin"] else None
        try:
            with transaction.atomic():
                user = self._add(workspace, options["username"], Role(options["role"]), password)
        except ValidationError as error:
            raise CommandError(explain(error)) from error
        except LastAdminError as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"{user.username} is {options['role']} of {workspace.slug}.")
        if user.email and user.memberships.exclude(workspace=workspace).exists():
            self.stderr.write(
                f"Links that set a new password for {user.username} are mailed to {user.email}. "
                f"Make sure it is theirs: anyone who reads it can act in {workspace.slug}, too."
            )

    def _add(self, workspace: Workspace, username: str, role: Role, password: str | None) -> User:
        User(username=username).clean_fields(exclude=["password"])
        user = User.objects.filter(username=username).first() or User(username=username)
        is_new = user.pk is None
        if password is not None:
            if len(password) > MAX_PASSWORD_LENGTH:
                raise ValidationError(f"A password has at most {MAX_PASSWORD_LENGTH} characters.")
            validate_password(password, user)
        if is_new:
            user.set_password(password)
            user.full_clean(exclude=["password"])
            user.save()
        add_member(workspace, user, role, actor=SYSTEM)
        if password is not None and not is_new:
            change_password(user, password, actor=SYSTEM, how="by the command add_member")
        return user
