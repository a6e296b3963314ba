"""manage.py migrate"""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connection

from containers.models import TokenKey
from containers.tokens.rotation import make_first_key
from packages_site.addresses import BadSettingError
from packages_site.data_dir import make_missing_files
from packages_site.shared_keys import settle_shared_keys
from workspaces.log.keys import KeyFileError
from workspaces.models import KeyFingerprint


class Command(migrate.Command):
    help = (
        "Create the keys and the database if they are missing, and bring the database up to date."
    )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Make what is missing, unless it is only asked what would be done; and migrate.

        The files before Django's own checks, which open the database.
        """
        if options["plan"] or options["check_unapplied"]:
            return super().execute(*args, **options)
        try:
            make_missing_files()
            said = super().execute(*args, **options)
            self._settle_keys()
        except (OSError, BadSettingError, KeyFileError) as error:
            raise CommandError(str(error)) from error
        return said

    def _settle_keys(self) -> None:
        """Record or compare this node's keys, unless the tables for that are not there."""
        tables = {KeyFingerprint._meta.db_table, TokenKey._meta.db_table}
        if not tables <= set(connection.introspection.table_names()):
            return
        other = settle_shared_keys()
        if other.secret_key:
            raise CommandError(other.secret_key)
        make_first_key()
        if other.log_key:
            self.stderr.write(other.log_key)
