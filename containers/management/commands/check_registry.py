"""manage.py check_registry"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from containers.connection import check_registry
from containers.registry.checkup import Outcome, summarize


class Command(BaseCommand):
    help = "Check the connection to the registry step by step, and say how to fix what is missing."

    def handle(self, *args: Any, **options: Any) -> None:
        """Say what each step found. Raises CommandError if one failed."""
        findings = check_registry()
        if findings is None:
            raise CommandError("No registry is connected: set REGISTRY_URL.")
        for finding in findings:
            self.stdout.write(f"{finding.outcome.value:8}{finding.step}: {finding.what}")
            if finding.advice:
                self.stdout.write(f"        {finding.advice}")
        if findings[-1].outcome is Outcome.FAILED:
            raise CommandError(summarize(findings))
        self.stdout.write(summarize(findings))
