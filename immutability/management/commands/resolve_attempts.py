"""manage.py resolve_attempts"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from containers.connection import find_registry
from immutability.actions.resolve import resolve_attempts
from immutability.models import Attempt


class Command(BaseCommand):
    help = "Settle the attempts whose end is unknown, by sending the same write again."

    def handle(self, *args: Any, **options: Any) -> None:
        """Settle them, and say how many are settled and how many are still open."""
        registry = find_registry()
        if registry is None:
            raise CommandError("No registry is connected: set REGISTRY_URL.")
        settled = resolve_attempts(registry, Attempt.objects.all())
        still = Attempt.objects.filter(outcome=Attempt.Outcome.OPEN).exclude(
            kind=Attempt.Kind.ANNOUNCED
        )
        self.stdout.write(f"{settled} attempts settled, {still.count()} still open.")
