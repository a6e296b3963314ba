"""Production's Celery, for tests that wait for what happens every few seconds."""

import os

from containers.registry import client
from packages_site.celery import app
from packages_site.schedule import SCHEDULE

for _name in ("reconcile", "run-jobs", "close-log-repeats"):
    SCHEDULE[_name]["schedule"] = 0.3
# Before anything reads them; short_timeouts.py does the same for gate and site.
_deadline = float(os.environ.get("SHORT_DEADLINE_SECONDS", "2"))
client.UPSTREAM_DEADLINE_SECONDS = _deadline
client.RegistryClient.__init__.__defaults__ = (_deadline,)

__all__ = ["app"]
