"""The settings of production, for tests that wait for what happens every few seconds."""

import os

from containers.registry import client
from packages_site.settings import *  # noqa: F403
from packages_site.settings import CELERY_BEAT_SCHEDULE, STORAGES

for _name in ("resolve-attempts", "run-jobs", "close-log-repeats"):
    CELERY_BEAT_SCHEDULE[_name]["schedule"] = 0.3
# Pages without collected files.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
# The worker's; tests/services/faults.py does the same for gate and site.
client.RegistryClient.__init__.__defaults__ = (float(os.environ.get("FAULT_DEADLINE", "2")),)
