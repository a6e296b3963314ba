"""The settings of a site that many tests share: its background work is what a test waits for."""

from tests.services.client_settings import *  # noqa: F403

# Celery alone imports it.
CELERY_IMPORTS = ("tests.services.quiet_background",)
