"""manage.py demo"""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from packages_site.demo import make_demo_data


class Command(BaseCommand):
    help = "Make the demo data: workspaces acme and globex, with people whose password is demo."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it, and say where the registry token is."""
        self.stdout.write(f"Registry token of acme: {make_demo_data(settings.DATA_DIR)}")
