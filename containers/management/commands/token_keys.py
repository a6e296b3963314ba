"""manage.py token_keys [show|prepare|use|retire]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.tokens.key_folder import token_keys
from containers.tokens.keys import KeyFileError, KeyFolder
from containers.tokens.tokens import TOKEN_SECONDS

_NEXT = {
    "show": "",
    "prepare": "Restart every registry, so that it trusts both keys. Then: token_keys use",
    "use": f"Wait for {TOKEN_SECONDS // 60 + 1} minutes, until tokens of the old key have expired. "
    "Then: token_keys retire",
    "retire": "Restart every registry, so that it forgets the old key.",
}


class Command(BaseCommand):
    help = (
        "Show the keys that tokens are signed with, or take the next step in changing them: "
        "prepare, restart the registry, use, wait, retire, restart the registry."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the argument."""
        parser.add_argument("step", nargs="?", default="show", choices=list(_NEXT))

    def handle(self, *args: Any, **options: Any) -> None:
        """Take the step, or say why it is not due; then show how it stands."""
        keys = token_keys()
        step = {
            "show": KeyFolder.require_first_key,
            "prepare": KeyFolder.prepare_next_key,
            "use": KeyFolder.use_next_key,
            "retire": KeyFolder.retire_old_keys,
        }[options["step"]]
        try:
            step(keys)
            current = keys.read_signing_key().id
            for key in keys.read_trusted_keys().values():
                role = "signs and is trusted" if key.id == current else "is trusted"
                self.stdout.write(f"{key.id}  {role}, until {key.expires_at:%Y-%m-%d}")
        except (KeyFileError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"rootcertbundle of the registry: {keys.trusted_file}")
        if _NEXT[options["step"]]:
            self.stderr.write(f"Next: {_NEXT[options['step']]}")
