"""manage.py rotate_log_key"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workspaces.log.keys import KeyFileError, rotate_key


class Command(BaseCommand):
    help = (
        "Sign checkpoints with a new key from now on. Prints its verifier key. The one before is "
        "kept beside the key's file, for the checkpoints that it signed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the new key, and print its public half."""
        try:
            key = rotate_key()
        except KeyFileError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(str(key.verifier))
        self.stderr.write("Give this verifier key to everyone who verifies the log.")
