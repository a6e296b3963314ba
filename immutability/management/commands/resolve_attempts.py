"""manage.py resolve_attempts [--give-up]"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from containers.connection import find_registry
from immutability.actions.resolve import give_up_attempts, resolve_attempts
from immutability.models import Attempt


class Command(BaseCommand):
    help = "Settle the attempts whose end is unknown, by sending the same write again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--give-up",
            action="store_true",
            help=(
                "send nothing, and undo their claims: after a backup was restored, whose attempts "
                "are older than what the registry has. Only while nothing else runs."
            ),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Settle them, and say how many are settled and how many are still open."""
        registry = find_registry()
        if registry is None:
            raise CommandError("No registry is connected: set REGISTRY_URL.")
        if options["give_up"]:
            count = give_up_attempts()
            self.stdout.write(f"{_attempts(count)} given up.")
            return
        settled = resolve_attempts(registry, Attempt.objects.all())
        still = Attempt.objects.filter(outcome=Attempt.Outcome.OPEN).exclude(
            kind=Attempt.Kind.ANNOUNCED
        )
        self.stdout.write(f"{_attempts(settled)} settled, {still.count()} still open.")


def _attempts(count: int) -> str:
    return f"{count} attempt" if count == 1 else f"{count} attempts"
