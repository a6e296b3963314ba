"""How often each task of the background work is started."""

from datetime import UTC, datetime
from typing import Any

from celery.schedules import crontab

# A message only says "look": one that has waited for an hour is worth nothing. Not less than that,
# since a worker goes by its own clock, and those of two nodes may be minutes apart.
_MESSAGE_LIFE = {"expires": 3600.0}
# So what runs at a time of day also runs at each start: a machine may be off at that time.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
SCHEDULE: dict[str, dict[str, Any]] = {
    "close-log-repeats": {
        "task": "workspaces.close_log_repeats",
        "schedule": 60.0,
        "options": _MESSAGE_LIFE,
    },
    "seal-lock-log": {
        "task": "workspaces.seal_lock_log",
        "schedule": 1.0,
        "options": _MESSAGE_LIFE,
    },
    "seal-late-events": {
        "task": "workspaces.seal_late_events",
        "schedule": 60.0,
        "options": _MESSAGE_LIFE,
    },
    # More often than checkpoints are made: what could not be made or written is tried again.
    "make-checkpoints": {
        "task": "workspaces.make_checkpoints",
        "schedule": crontab(minute="11"),
        "last_run_at": _LONG_AGO,
        "options": _MESSAGE_LIFE,
    },
    "erase-old-origins": {
        "task": "workspaces.erase_old_origins",
        "schedule": crontab(hour="3", minute="27"),
        "last_run_at": _LONG_AGO,
    },
    "reconcile": {
        "task": "immutability.reconcile",
        "schedule": 5.0,
        "options": _MESSAGE_LIFE,
    },
    "run-jobs": {
        "task": "immutability.run_jobs",
        "schedule": 10.0,
        "options": _MESSAGE_LIFE,
    },
    # A few seconds each time, and nothing for a day once it has come to the end.
    "prune": {
        "task": "immutability.prune",
        "schedule": 60.0,
        "options": _MESSAGE_LIFE,
    },
    "forget-log-exports": {
        "task": "workspaces.forget_log_exports",
        "schedule": crontab(hour="3", minute="27"),
        "last_run_at": _LONG_AGO,
    },
    "check-sign-ons": {
        "task": "workspaces.check_sign_ons",
        "schedule": 15.0,
        "options": _MESSAGE_LIFE,
    },
    "mail-password-links": {
        "task": "workspaces.mail_requested_links",
        "schedule": 5.0,
        "options": _MESSAGE_LIFE,
    },
    "clear-sessions": {
        "task": "workspaces.clear_sessions",
        "schedule": crontab(hour="3", minute="7"),
        "last_run_at": _LONG_AGO,
    },
    "forget-old-counts": {
        "task": "workspaces.forget_old_counts",
        "schedule": crontab(minute="27"),
        "last_run_at": _LONG_AGO,
        "options": _MESSAGE_LIFE,
    },
}
