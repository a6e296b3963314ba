"""The Celery application. A message only says "look": the database knows what there is to do.

With REDIS_URL, a scheduler sends messages to workers. Without, the scheduler runs the tasks itself.
Only they import this module: Celery is large, and gate, site and commands start no task.
"""

import os
from importlib import import_module

from celery import Celery, Task
from celery.signals import beat_init, task_postrun, task_success, worker_init
from django.conf import settings
from django.db import close_old_connections

from packages_site.data_dir import require_secret_key
from packages_site.database import be_patient
from packages_site.restoring import require_usable_database
from packages_site.schedule import SCHEDULE
from workspaces.task_runs import note_task_run

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")

app = Celery("taglock")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.add_defaults(lambda: {"beat_schedule": SCHEDULE})
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def _start_as_site_and_gate_do(**_: object) -> None:
    """Need the secret key, and give up a database that hangs."""
    require_secret_key()
    require_usable_database()
    be_patient(settings.DATABASE_PATIENCE_SECONDS)
    if settings.HAS_TRACES:
        import_module("packages_site.otlp").start_tracing("worker")


@worker_init.connect
def _refuse_without_broker(**_: object) -> None:
    """A worker without a broker would wait forever."""
    if not settings.ENVIRONMENT.redis_url:
        raise SystemExit(
            "taglock: no worker is needed without REDIS_URL: `celery beat` does the work itself. "
            "Set REDIS_URL, or stop this worker."
        )


@task_success.connect
def _note_run(sender: Task[..., object], **_: object) -> None:
    note_task_run(sender.name)


@task_postrun.connect
def _release_database(task: Task[..., object], **_: object) -> None:
    """Return the connection after a task that the scheduler ran: a worker does so by itself."""
    if task.request.is_eager:
        close_old_connections()
