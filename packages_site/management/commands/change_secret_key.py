"""manage.py change_secret_key"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from containers.tokens.rotation import encrypt_again, replace_all_keys
from workspaces.secret_key import OtherSecretKeyError, fingerprint_secret_key
from workspaces.shared_keys import SECRET_KEY, record_fingerprint
from workspaces.single_sign_on.people import encrypt_tokens_again


class Command(BaseCommand):
    help = (
        "Make the SECRET_KEY that this command runs with the one of every node, and encrypt under "
        "it what is stored. The others must be given the same, and restarted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        former = parser.add_mutually_exclusive_group(required=True)
        former.add_argument("--old-key-file", type=Path, help="a file with the SECRET_KEY before")
        former.add_argument(
            "--old-key-is-lost",
            action="store_true",
            help="give up the keys of tokens and make a new one, which registries must be given",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Encrypt again, or give up, what is stored, and record the fingerprint of the key."""
        try:
            with transaction.atomic():
                if options["old_key_is_lost"]:
                    replace_all_keys()
                else:
                    old_key = options["old_key_file"].read_text(encoding="utf-8").strip()
                    encrypt_again(old_key)
                    encrypt_tokens_again(old_key)
                record_fingerprint(SECRET_KEY, fingerprint_secret_key())
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"the file of the old key cannot be read: {error}") from error
        except OtherSecretKeyError as error:
            raise CommandError("that is not the SECRET_KEY before this one") from error
        self.stderr.write("Set this SECRET_KEY on every node, and restart its processes.")
        if options["old_key_is_lost"]:
            self.stderr.write(
                "Export the bundle to every registry, and restart it: manage.py token_keys export"
            )
