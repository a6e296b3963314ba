"""manage.py deactivate_person USERNAME [--undo]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.access import SYSTEM
from workspaces.actions.members import LastAdminError
from workspaces.actions.people import deactivate_person, reactivate_person
from workspaces.management.find import add_reason_option, find_person, read_reason
from workspaces.models import User


class Command(BaseCommand):
    help = (
        "Put a person out everywhere at once: sessions, password, invitations, and the access "
        "tokens that they made. Their roles have no effect until they are reactivated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("username")
        parser.add_argument("--undo", action="store_true", help="let them in again")
        parser.add_argument(
            "--keep-tokens",
            action="store_true",
            help="leave the access tokens that they made; pipelines may need them",
        )
        parser.add_argument(
            "--even-last-admin",
            action="store_true",
            help="even if a workspace has no other admin; then hand it over",
        )
        add_reason_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and say what that ended."""
        user, reason = find_person(options["username"]), read_reason(options)
        if options["undo"]:
            is_new = reactivate_person(user, actor=SYSTEM, reason=reason)
            state = "can sign in again with a new password" if is_new else "was not deactivated"
            self.stderr.write(f"{user.username} {state}.")
        else:
            self._deactivate(user, reason, options)

    def _deactivate(self, user: User, reason: str, options: dict[str, Any]) -> None:
        try:
            done = deactivate_person(
                user,
                actor=SYSTEM,
                reason=reason,
                keeps_tokens=options["keep_tokens"],
                even_last_admin=options["even_last_admin"],
            )
        except LastAdminError as error:
            raise CommandError(f"{error} Or add --even-last-admin.") from error
        if done is None:
            self.stderr.write(f"{user.username} was deactivated already.")
            return
        self.stderr.write(
            f"{user.username} is deactivated. Access tokens that were revoked: {done.tokens}."
        )
        for workspace in done.left_alone:
            self.stderr.write(
                f"{workspace.slug} has no admin now. Hand it over: "
                f"hand_over_workspace {workspace.slug} USERNAME"
            )
