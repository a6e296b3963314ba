"""manage.py sync_registry"""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from containers.management.find import find_connected
from containers.registry.client import RegistryClient
from immutability.models import Job
from immutability.reconcile.jobs import ask_for_inventory
from immutability.reconcile.work import run_jobs
from workspaces.models import Workspace

PROGRESS_SECONDS = 5.0


class Command(BaseCommand):
    help = "Read the registry's tags, and lock those that are protected and not locked yet."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("workspace", nargs="*", help="slugs; default: every workspace")

    def handle(self, *args: Any, **options: Any) -> None:
        """Read them, and say every few seconds how far it is."""
        for workspace, registry in find_connected(options["workspace"]):
            self._sync(workspace, registry)

    def _sync(self, workspace: Workspace, registry: RegistryClient) -> None:
        with transaction.atomic():
            ask_for_inventory(workspace)
        place = None
        while True:
            run_jobs(registry, PROGRESS_SECONDS, workspace)
            job = Job.objects.get(workspace=workspace, kind=Job.Kind.INVENTORY)
            self.stdout.write(
                f"{workspace.slug}: {job.looked_at_count} tags looked at, "
                f"{job.adopted_count} locked, {job.left_out_count} left to their next push"
                f"{'.' if job.done_at else ' …'}"
            )
            if job.done_at:
                return
            if job.lease is not None:
                # A worker has it.
                time.sleep(PROGRESS_SECONDS)
            elif place == (job.repository, job.tag):
                raise CommandError(
                    "The registry did not say what it has. The worker continues later, or run "
                    "this again."
                )
            place = (job.repository, job.tag)
