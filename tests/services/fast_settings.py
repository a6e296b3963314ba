"""The settings of production, for tests that wait for what happens every few seconds."""

import os

from containers.registry import client
from packages_site.settings import *  # noqa: F403
from packages_site.settings import CELERY_BEAT_SCHEDULE, STORAGES

for _name in ("reconcile", "run-jobs", "close-log-repeats"):
    CELERY_BEAT_SCHEDULE[_name]["schedule"] = 0.3
# Pages without collected files.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
# The worker's, before anything reads them; short_timeouts.py does the same for gate and site.
_deadline = float(os.environ.get("SHORT_DEADLINE_SECONDS", "2"))
client.UPSTREAM_DEADLINE_SECONDS = _deadline
client.RegistryClient.__init__.__defaults__ = (_deadline,)
