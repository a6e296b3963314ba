"""manage.py reconcile [--after-restore]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.connection import find_registries
from containers.registry.client import RegistryClient
from immutability.actions.save_settings import stop_repairs
from immutability.errors import TryAgainError, explain
from immutability.reconcile.due import count_open, reconcile_due
from immutability.reconcile.restored import distrust_records, settle_restored
from workspaces.access import SYSTEM
from workspaces.restore_note import forget_restore


class Command(BaseCommand):
    help = "Finish what was left behind on tags: writes without an answer, claims, deletes."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--after-restore",
            action="store_true",
            help=(
                "send nothing: look at each tag that was being written when the backup was made, "
                "take the registry's word, and have everything read again. Only after a backup was "
                "restored, and only while nothing else runs."
            ),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Finish them, and say how many tags are finished and how many are not yet."""
        registries = find_registries()
        if options["after_restore"]:
            finished = self._settle_restored(registries)
        else:
            finished = sum(reconcile_due(each, registry_id=its_id) for its_id, each in registries)
        left, until = count_open()
        self.stdout.write(f"{_tags(finished)} reconciled, {left} not finished.")
        if until is not None:
            self.stdout.write(
                f"A write without an answer may still land until {until:%H:%M:%S} UTC."
            )

    def _settle_restored(self, registries: list[tuple[int | None, RegistryClient | None]]) -> int:
        connected = [(its_id, each) for its_id, each in registries if each is not None]
        if not connected:
            raise CommandError("No registry is connected: set REGISTRY_URL.")
        distrust_records()
        for slug in stop_repairs(actor=SYSTEM):
            self.stdout.write(
                f"{slug}: put locked tags back is off now. Look at its drift before you switch it "
                "on: what was pushed since the backup would be undone."
            )
        try:
            settled = sum(settle_restored(each, its_id) for its_id, each in connected)
        except TryAgainError as error:
            raise CommandError(
                f"Stopped before the end: {explain(error)}. Run it again."
            ) from error
        _, until = count_open()
        if until is None:
            forget_restore()
        return settled


def _tags(count: int) -> str:
    return f"{count} tag" if count == 1 else f"{count} tags"
