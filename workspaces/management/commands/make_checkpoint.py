"""manage.py make_checkpoint WORKSPACE"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.log.checkpoints import checkpoint_path, make_checkpoint, write_missing_files
from workspaces.log.keys import KeyFileError


class Command(BaseCommand):
    help = "Sign the current state of a workspace's lock log. Prints the checkpoint; keep it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it, print it, and say which file it is in."""
        slug = options["workspace"]
        try:
            checkpoint = make_checkpoint(slug)
        except KeyFileError as error:
            raise CommandError(str(error)) from error
        if checkpoint is None:
            raise CommandError(f'There are no events of a workspace "{slug}".')
        write_missing_files(slug)
        self.stdout.write(checkpoint.note, ending="")
        path = checkpoint_path(checkpoint)
        if not path.exists():
            raise CommandError(f"The checkpoint was made, but its file cannot be written: {path}")
        self.stderr.write(f"Written to {path}")
