"""manage.py change_secret_key"""

from typing import Any

from django.core.management.base import BaseCommand

from workspaces.secret_key import fingerprint_secret_key
from workspaces.shared_keys import SECRET_KEY, record_fingerprint


class Command(BaseCommand):
    help = (
        "Make the SECRET_KEY that this command runs with the one of every node. The others must be "
        "given the same, and restarted."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Record the fingerprint of the key."""
        record_fingerprint(SECRET_KEY, fingerprint_secret_key())
        self.stderr.write("Set this SECRET_KEY on every node, and restart its processes.")
