"""manage.py check_registry [NAME]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.connection import check_connection
from containers.registries import connect_row, first_connection
from containers.registry.checkup import Outcome, summarize
from containers.registry_changes import keep_findings
from workspaces.management.find import find_registry_row


class Command(BaseCommand):
    help = "Check the connection to the registry step by step, and say how to fix what is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", nargs="?", help="default: the registry of REGISTRY_URL")

    def handle(self, *args: Any, **options: Any) -> None:
        """Say what each step found. Raises CommandError if one failed."""
        row = find_registry_row(options["name"])
        findings = check_connection(connect_row(row) if row else first_connection())
        if row and findings:
            keep_findings(row, findings)
        if findings is None:
            raise CommandError("No registry is connected: set REGISTRY_URL.")
        for finding in findings:
            self.stdout.write(f"{finding.outcome.value:8}{finding.step}: {finding.what}")
            if finding.advice:
                self.stdout.write(f"        {finding.advice}")
        if findings[-1].outcome is Outcome.FAILED:
            raise CommandError(summarize(findings))
        self.stdout.write(summarize(findings))
