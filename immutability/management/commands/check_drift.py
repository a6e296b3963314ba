"""manage.py check_drift"""

import sys
import time
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.management.find import find_connected
from containers.names import Digest, TagName
from containers.registry.client import RegistryClient
from immutability import drift
from immutability.errors import TryAgainError, explain
from immutability.models import Job
from immutability.policy.protection import cover
from immutability.reading import read_policy
from immutability.reconcile.comparison import run_comparisons
from immutability.reconcile.jobs import continue_comparison
from immutability.reconcile.repair import repair_due
from immutability.reconcile.unlocked import find_without_lock, forget_gone
from workspaces.models import Workspace

PROGRESS_SECONDS = 5.0


@dataclass
class _Tally:
    """How many differences were found, tags put back, and tags that the registry did not show."""

    found: int = 0
    repaired: int = 0
    left_out: int = 0
    left_out_repositories: int = 0

    @property
    def summary(self) -> str:
        lines = [f"{_count(self.found, 'difference')} found."]
        if self.left_out_repositories:
            lines.insert(0, f"Repositories that could not be read: {self.left_out_repositories}.")
        if self.left_out:
            lines.insert(0, f"{_count(self.left_out, 'tag')} could not be looked at.")
        if self.repaired:
            lines.insert(0, f"{_count(self.repaired, 'tag')} put back.")
        return "\n".join(lines)


class Command(BaseCommand):
    help = (
        "Compare the locks with what the registry has. Prints a line for every difference, "
        "records it in the lock log, and exits with status 1 if there are any. Where the settings "
        "say so, it puts locked tags back. One that was stopped goes on where it was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace", nargs="*", help="slugs; default: every workspace")
        parser.add_argument(
            "--forget-gone",
            action="store_true",
            help="forget the tags that were seen in the registry and are gone, so that they can be "
            "pushed again; only where its storage is all there",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare, print and record."""
        connected = find_connected(options["workspace"])
        tally = _Tally()
        try:
            for workspace, registry in connected:
                tally.left_out += self._compare(workspace, registry)
                tally.repaired += repair_due(registry, float("inf"), workspace)
                tally.found += self._print_drifts(workspace)
                self._print_others(workspace, registry, tally, forgets=options["forget_gone"])
        except TryAgainError as error:
            raise CommandError(
                f"Stopped before the end: {explain(error)}. Run it again."
            ) from error
        self.stdout.write(tally.summary)
        if tally.found or tally.left_out or tally.left_out_repositories:
            sys.exit(1)

    def _compare(self, workspace: Workspace, registry: RegistryClient) -> int:
        """Compare every lock; return how many the registry did not show.

        Raises TryAgainError if it gives no answer.
        """
        job, place = continue_comparison(workspace), -1
        before = job.compared_at
        while True:
            run_comparisons(registry, PROGRESS_SECONDS, workspace)
            job = Job.objects.get(id=job.id)
            if job.done_at is not None or job.compared_at != before:
                return job.left_out_count
            if job.lease is None and job.lock_id == place:
                raise TryAgainError("the registry gave no answer")
            place = job.lock_id
            self.stderr.write(f"{workspace.slug}: {job.looked_at_count} locks looked at …")
            if job.lease is not None:
                # A worker has it.
                time.sleep(PROGRESS_SECONDS)

    def _print_drifts(self, workspace: Workspace) -> int:
        """Print every lock in force that differs from the registry; return how many."""
        policy, count = read_policy(workspace), 0
        for each in drift.find_drifts(workspace).iterator():
            record = each.record
            if cover(policy, TagName(record.name)).is_covered:
                what = drift.read(each).describe(Digest(each.digest))
                self.stdout.write(f"{record.repository}:{record.name}: {what}")
                count += 1
        return count

    def _print_others(
        self, workspace: Workspace, registry: RegistryClient, tally: _Tally, *, forgets: bool
    ) -> None:
        """Print the tags without a lock that are not as expected; count those that stay so."""
        for found in find_without_lock(workspace, registry):
            self.stdout.write(str(found))
            if forgets and forget_gone(found):
                self.stdout.write("    forgotten")
            elif found.tag:
                tally.found += 1
            else:
                tally.left_out_repositories += 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
