"""manage.py check_worker"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from containers.registry.checkup import Outcome
from packages_site.state import read_state
from packages_site.status import find_late_tasks


class Command(BaseCommand):
    help = "Say when the background last did its work: for probes of workers, which have no port."

    def handle(self, *args: Any, **options: Any) -> None:
        """Say it of each task. Raises CommandError if one is late."""
        findings = list(find_late_tasks(read_state()))
        for finding in findings:
            self.stdout.write(finding.what)
        if any(finding.outcome is not Outcome.OK for finding in findings):
            raise CommandError("No worker does its work.")
