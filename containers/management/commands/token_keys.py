"""manage.py token_keys [show|export|prepare|use|retire]"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.models import TokenKey
from containers.tokens.keys import TokenKeyError, parse_trusted_key
from containers.tokens.rotation import (
    prepare_next_key,
    read_bundle,
    retire_old_keys,
    use_next_key,
)
from containers.tokens.tokens import TOKEN_SECONDS
from workspaces.log.files import replace_file

_STEPS = {"prepare": prepare_next_key, "use": use_next_key, "retire": retire_old_keys}
_NEXT = {
    "prepare": "Export the bundle to every registry, and restart it, so that it trusts both keys. "
    "Then: token_keys use",
    "use": f"Wait for {TOKEN_SECONDS // 60 + 1} minutes, until tokens of the old key have expired. "
    "Then: token_keys retire",
    "retire": "Export the bundle to every registry, and restart it. Then it forgets the old key.",
}


class Command(BaseCommand):
    help = (
        "Show the keys that tokens are signed with, export the bundle of certificates that a "
        "registry needs (rootcertbundle), or take the next step in changing the keys: prepare, "
        "export, restart the registry, use, wait, retire, export, restart the registry."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("step", nargs="?", default="show", choices=["show", "export", *_STEPS])
        parser.add_argument(
            "file", nargs="?", help="where `export` writes the bundle to; else it is printed"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Export; or take the step, or say why it is not due, and show how it stands."""
        try:
            if options["step"] == "export":
                self._export(options["file"])
            else:
                self._take_step(options["step"])
        except (TokenKeyError, OSError) as error:
            raise CommandError(str(error)) from error

    def _export(self, file: str | None) -> None:
        bundle = read_bundle()
        if file is None:
            self.stdout.write(bundle, ending="")
        else:
            # Certificates are no secret, and the registry may be someone else on this machine.
            replace_file(Path(file), bundle, mode=0o644)

    def _take_step(self, step: str) -> None:
        if step in _STEPS:
            _STEPS[step]()
        for key in TokenKey.objects.order_by("created_at"):
            role = "signs and is trusted" if key.role == TokenKey.Role.SIGNING else "is trusted"
            expires_at = parse_trusted_key(key.certificate).expires_at
            self.stdout.write(f"{key.key_id}  {role}, until {expires_at:%Y-%m-%d}")
        if step in _NEXT:
            self.stderr.write(f"Next: {_NEXT[step]}")
