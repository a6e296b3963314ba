"""manage.py rotate_log_key"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.log.keys import KeyFileError, accept_key, rotate_key


class Command(BaseCommand):
    help = (
        "Sign checkpoints with a new key from now on. Prints its verifier key. The one before is "
        "kept beside the key's file, for the checkpoints that it signed. Copy both files to the "
        "other nodes: until then they sign nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the option."""
        parser.add_argument(
            "--accept",
            action="store_true",
            help="make no new key: sign with the one of this node, which is made if it is missing. "
            "For a key that was lost.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make or accept the key, and print its public half."""
        try:
            key = accept_key() if options["accept"] else rotate_key()
        except KeyFileError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(str(key.verifier))
        self.stderr.write("Give this verifier key to everyone who verifies the log.")
