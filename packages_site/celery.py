"""The Celery application. A message only says "look": what is to be done stands in the database."""

import os

from celery import Celery
from celery.signals import worker_init
from django.conf import settings

from packages_site.database import be_patient

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")

app = Celery("taglock")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def _be_patient(**_: object) -> None:
    """A worker gives up a database that hangs, as site and gate do."""
    be_patient(settings.DATABASE_PATIENCE_SECONDS)
