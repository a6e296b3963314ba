"""manage.py migrate"""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate

from containers.tokens.keys import KeyFileError
from packages_site.addresses import BadSettingError
from packages_site.data_dir import make_missing_files


class Command(migrate.Command):
    help = (
        "Create the keys and the database if they are missing, and bring the database up to date."
    )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Make what is missing, unless it is only asked what would be done; then migrate.

        Before Django's own checks, which open the database.
        """
        if not (options["plan"] or options["check_unapplied"]):
            try:
                make_missing_files()
            except (OSError, BadSettingError, KeyFileError) as error:
                raise CommandError(str(error)) from error
        return super().execute(*args, **options)
