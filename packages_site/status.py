"""Whether the parts behind the pages do their work: registry, worker, scheduler, sealing.

health.py has what a load balancer asks, immutability/attention.py what one workspace is told.
"""

import time
from collections.abc import Iterator

from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from containers.connection import connect, describe_unusable_keys
from containers.registries import first_connection
from containers.registry.checkup import Finding, Outcome
from containers.registry.client import RegistryUnavailableError
from packages_site.shared_keys import describe_other_keys
from packages_site.state import MAX_COUNTED, State, Waiting, read_state
from workspaces.models import Registry
from workspaces.pool import release_database
from workspaces.transport import Deadline

# Of a person who waits for the page.
REGISTRY_SECONDS = 5.0
# A task keeps the others waiting for seconds, or for twenty where the registry hangs.
TASK_LATE_SECONDS = 120.0
# A worker asks each once a minute, and some of them later where others hang.
SEEN_LATE_SECONDS = 600.0
OVERDUE_LATE_SECONDS = 600.0
UNSEALED_LATE_SECONDS = 60.0
CHECKPOINT_LATE_SECONDS = 25 * 3600.0
BACKUP_LATE_SECONDS = 26 * 3600.0
# Noted by the command `backup`.
BACKUP_TASK = "backup"
# What a worker does all the time, in words, and how often.
TASKS = {
    "workspaces.seal_lock_log": ("Sealing the lock log", "every second"),
    "immutability.reconcile": ("Reconciling tags", "every 5 seconds"),
    "immutability.run_jobs": ("Running jobs", "every 10 seconds"),
}
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def read_status() -> list[Finding]:
    """Return what is found of each part, in at most some seconds."""
    registry = _look_at_registry()
    try:
        state = read_state()
        keys = [*describe_other_keys(), describe_unusable_keys()]
    except AnyDatabaseError:
        return [registry, Finding(Outcome.FAILED, "It cannot be used.", step="Database")]
    return [
        registry,
        *_judge_other_registries(),
        Finding(Outcome.OK, "It can be used.", step="Database"),
        _judge_keys(keys),
        *find_late_tasks(state),
        _judge_overdue(state),
        _judge_drifts(state),
        *_judge_sign_on(state.unvouched),
        _judge_sealing(state.unsealed),
        _judge_checkpoints(state.checkpoint_seconds),
        *_judge_backup(state.task_seconds.get(BACKUP_TASK)),
    ]


def find_late_tasks(state: State) -> Iterator[Finding]:
    """Yield whether each of the tasks that always run was carried out lately."""
    for task, (name, how_often) in TASKS.items():
        seconds = state.task_seconds.get(task)
        is_late = seconds is None or seconds > TASK_LATE_SECONDS
        done = "was never done" if seconds is None else f"was done {_say(seconds)} ago"
        yield Finding(
            Outcome.FAILED if is_late else Outcome.OK,
            f"{name} {done}. It runs {how_often}.",
            _ADVICE if is_late else "",
            step="Worker and scheduler",
        )


_ADVICE = "Look at the logs of worker and scheduler, and whether Redis answers."


def _look_at_registry() -> Finding:
    registry = connect(first_connection())
    if registry is None:
        return Finding(Outcome.OK, "None is connected: a registry asks.", step="Registry")
    release_database()
    began_at = time.monotonic()
    try:
        with Deadline(REGISTRY_SECONDS):
            answer = registry.ask_version()
    except RegistryUnavailableError as error:
        return Finding(
            Outcome.FAILED, f"{settings.REGISTRY_URL} gave no answer: {error}.", step="Registry"
        )
    took = f"in {(time.monotonic() - began_at) * 1000:.0f} ms"
    return Finding(
        Outcome.OK if answer.is_success else Outcome.FAILED,
        f"{settings.REGISTRY_URL} answered {answer.status} {took}.",
        "" if answer.is_success else "Check the connection on the page Registries.",
        step="Registry",
    )


def _judge_other_registries() -> Iterator[Finding]:
    """Yield when each registry that has a row last answered: a worker asks them."""
    for row in Registry.objects.order_by("name").only("name", "seen_at"):
        seconds = (timezone.now() - row.seen_at).total_seconds() if row.seen_at else None
        is_late = seconds is None or seconds > SEEN_LATE_SECONDS
        yield Finding(
            Outcome.FAILED if is_late else Outcome.OK,
            "It has never answered." if seconds is None else f"It answered {_say(seconds)} ago.",
            "Check the connection on the page Registries." if is_late else "",
            step=f"Registry {row.name}",
        )


def _judge_keys(problems: list[str]) -> Finding:
    """Judge the keys of the node that answers."""
    found = " ".join(filter(None, problems))
    return Finding(
        Outcome.FAILED if found else Outcome.OK,
        found or "This node has those of every node.",
        step="Keys",
    )


def _judge_overdue(state: State) -> Finding:
    if not state.overdue.count:
        open_count = state.writes.count + state.strays
        return Finding(
            Outcome.OK, f"None waits for a worker. {open_count} are open.", step="Unfinished tags"
        )
    is_late = state.overdue.seconds > OVERDUE_LATE_SECONDS
    return Finding(
        Outcome.FAILED if is_late else Outcome.OK,
        f"{_count(state.overdue)} wait for a worker, the first for {_say(state.overdue.seconds)}.",
        "Look whether worker and registry answer; then run: manage.py reconcile" if is_late else "",
        step="Unfinished tags",
    )


def _judge_drifts(state: State) -> Finding:
    count = sum(state.drifts.values())
    if not count:
        return Finding(Outcome.OK, "No locked tag is known to differ.", step="Drift")
    return Finding(
        Outcome.WARNING,
        f"{_count(Waiting(count))} locked tags differ from the registry.",
        "Each workspace's start page says which.",
        step="Drift",
    )


def _judge_sign_on(unvouched: Waiting) -> Iterator[Finding]:
    """Yield whether the identity provider answers about people; nothing without one."""
    if settings.PROVIDER_SECRET is None:
        return
    late = f"{_count(unvouched)} wait for a check, the first for {_say(unvouched.seconds)}."
    yield Finding(
        Outcome.FAILED if unvouched.count else Outcome.OK,
        late if unvouched.count else "Everyone was checked lately.",
        "Look whether worker and identity provider answer." if unvouched.count else "",
        step="Single sign-on",
    )


def _judge_sealing(unsealed: Waiting) -> Finding:
    is_late = unsealed.seconds > UNSEALED_LATE_SECONDS
    if not unsealed.count:
        what = "Every event of the lock logs is sealed."
    else:
        what = f"{unsealed.count} events are not sealed, the oldest for {_say(unsealed.seconds)}."
    return Finding(
        Outcome.FAILED if is_late else Outcome.OK,
        what,
        "Run: manage.py verify_lock_log" if is_late else "",
        step="Sealing",
    )


def _judge_checkpoints(seconds: float | None) -> Finding:
    if seconds is None:
        return Finding(Outcome.OK, "None has been made yet.", step="Checkpoints")
    is_late = seconds > CHECKPOINT_LATE_SECONDS
    return Finding(
        Outcome.WARNING if is_late else Outcome.OK,
        f"The newest was made {_say(seconds)} ago. One is made each day.",
        "Look at the worker's log." if is_late else "",
        step="Checkpoints",
    )


def _judge_backup(seconds: float | None) -> Iterator[Finding]:
    """Yield whether the last backup is of today; nothing where backups are taken in another way."""
    if seconds is None:
        return
    is_late = seconds > BACKUP_LATE_SECONDS
    yield Finding(
        Outcome.WARNING if is_late else Outcome.OK,
        f"The last one was taken {_say(seconds)} ago.",
        "Look why the timer took none since: manage.py backup" if is_late else "",
        step="Backup",
    )


def _count(waiting: Waiting) -> str:
    return f"{MAX_COUNTED} or more" if waiting.count >= MAX_COUNTED else str(waiting.count)


def _say(seconds: float) -> str:
    """Return how long that is, in the largest unit of which it is two or more."""
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}s"
    return "a second"
