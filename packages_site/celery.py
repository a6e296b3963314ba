"""The Celery application. A message only says "look": what is to be done stands in the database."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")

app = Celery("taglock")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
