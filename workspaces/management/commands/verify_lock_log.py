"""manage.py verify_lock_log WORKSPACE [--checkpoint FILE]… [--key VERIFIER_KEY]…"""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workspaces.log.keys import KeyFileError, read_known_keys
from workspaces.log.notes import BadKeyError, VerifierKey, parse_verifier_key
from workspaces.log.statements import Given
from workspaces.log.verify import Verification


class Command(BaseCommand):
    help = (
        "Verify that nothing in a workspace's lock log was changed, removed or inserted later. "
        "Prints a line for every finding, and exits with status 1 if there are any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace")
        parser.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            metavar="FILE",
            help="a checkpoint that was kept elsewhere; can be repeated",
        )
        parser.add_argument(
            "--key",
            action="append",
            default=[],
            metavar="VERIFIER_KEY",
            help="trust only this key, and not those of this installation; can be repeated",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify, and print what was found."""
        slug = options["workspace"]
        given = [_read_checkpoint(path) for path in options["checkpoint"]]
        verification = Verification(slug)
        for finding in verification.run(_read_keys(options["key"]), given):
            self.stdout.write(f"{slug}: {finding}")
        if not (verification.sealed or verification.unsealed or verification.findings):
            raise CommandError(f'There are no events of a workspace "{slug}".')
        self.stdout.write(f"{slug}: {verification.describe()}")
        if verification.findings:
            sys.exit(1)


def _read_checkpoint(path: str) -> Given:
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return Given(path, file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The checkpoint {path} cannot be read: {error}") from error


def _read_keys(texts: list[str]) -> list[VerifierKey]:
    try:
        return [parse_verifier_key(text) for text in texts] or read_known_keys()
    except BadKeyError as error:
        raise CommandError(f"--key is not a verifier key: {error}") from error
    except KeyFileError as error:
        raise CommandError(str(error)) from error
