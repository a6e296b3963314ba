"""Keep when each task of the background was last carried out, for those who watch."""

import time

from django.apps import apps
from django.db.models import Model
from django.db.models.functions import Now

# A task that runs more often is noted this often: a write each second would be felt.
NOTED_EVERY_SECONDS = 10.0

_noted: dict[str, float] = {}


def note_task_run(task: str) -> None:
    """Note that a task was carried out, at the database's time."""
    now = time.monotonic()
    if now < _noted.get(task, 0.0):
        return
    _noted[task] = now + NOTED_EVERY_SECONDS
    # Celery loads its tasks before Django has loaded the models.
    runs: type[Model] = apps.get_model("workspaces", "TaskRun")
    runs._default_manager.bulk_create(
        [runs(task=task, ended_at=Now())],
        update_conflicts=True,
        unique_fields=["task"],
        update_fields=["ended_at"],
    )
