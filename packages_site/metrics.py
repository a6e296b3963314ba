"""/metrics: what this process has counted, and the state of the whole installation.

docs/watch.md has every metric. The names are those of Prometheus's text format.
"""

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from packages_site.state import State, Waiting, read_state


class _Figure(NamedTuple):
    """A figure of the database: its name, what it says, and its label, if it has one."""

    name: str
    help: str
    label: str = ""


WRITES = _Figure("taglock_writes_in_flight", "Writes of the gate that are in flight.")
OLDEST_WRITE = _Figure("taglock_oldest_write_seconds", "Age of the oldest of them.")
CHECKS = _Figure("taglock_checks_open", "Two-phase checks that were not reported yet.")
OLDEST_CHECK = _Figure("taglock_oldest_check_seconds", "Age of the oldest of them.")
STRAYS = _Figure("taglock_strays", "Tags that a write without an answer may still change.")
OVERDUE = _Figure("taglock_overdue_tags", "Tags that wait for a worker to finish them.")
OLDEST_OVERDUE = _Figure("taglock_oldest_overdue_seconds", "How long the first has waited.")
PENDING = _Figure("taglock_pending_locks", "Locks that the registry has not shown or given up yet.")
OLDEST_PENDING = _Figure("taglock_oldest_pending_lock_seconds", "Age of the oldest of them.")
JOBS = _Figure("taglock_jobs_open", "Jobs of the background that are not done.")
OLDEST_JOB = _Figure("taglock_oldest_job_seconds", "Age of the oldest of them.")
INVENTORIES = _Figure("taglock_inventories_open", "Inventories of the registry that are not done.")
INVENTORY_TAGS = _Figure("taglock_inventory_tags", "How far these are, in tags.", "result")
DRIFTS = _Figure("taglock_drifts", "Locked tags that differ from the registry.", "kind")
UNVOUCHED = _Figure(
    "taglock_unvouched_people",
    "People whom the identity provider has not vouched for since two checks.",
)
OLDEST_VOUCHING = _Figure(
    "taglock_oldest_vouching_seconds", "Time since it vouched for the first of them."
)
UNSEALED = _Figure("taglock_unsealed_events", "Events of the lock log without a seal.")
OLDEST_UNSEALED = _Figure("taglock_oldest_unsealed_event_seconds", "Age of the oldest of them.")
CHECKPOINT = _Figure("taglock_checkpoint_age_seconds", "Age of the newest checkpoint.")
TASK = _Figure("taglock_task_age_seconds", "Time since a task was last carried out.", "task")
DATABASE_UP = _Figure("taglock_database_up", "1: the database has answered; 0: it has not.")
CONNECTIONS = _Figure("taglock_database_connections", "Connections in the pool.", "state")
MAX_CONNECTIONS = _Figure("taglock_database_connections_max", "The most that the pool may have.")
WAITING_THREADS = _Figure("taglock_database_waiting", "Requests that wait for a connection.")


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer those who send METRICS_TOKEN; without that setting there is nothing here."""
    if not settings.METRICS_TOKEN:
        return HttpResponse("not found\n", "text/plain", status=404)
    if not sends_metrics_token(request):
        response = HttpResponse("send METRICS_TOKEN as a bearer token\n", "text/plain", status=401)
        response["WWW-Authenticate"] = 'Bearer realm="taglock metrics"'
        return response
    text = b"".join(generate_latest(each) for each in (_find_counted(), _ASKED))
    return HttpResponse(text, CONTENT_TYPE_LATEST)


def sends_metrics_token(request: HttpRequest) -> bool:
    """Whether a request carries METRICS_TOKEN, where that is set."""
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    token: str = settings.METRICS_TOKEN
    return bool(token) and scheme.lower() == "bearer" and constant_time_compare(sent.strip(), token)


def _find_counted() -> CollectorRegistry:
    """Return what this process has counted; where several share a port, what all of them have."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    return shared


class _StateCollector(Collector):
    """Reads the database at each scrape. One that cannot be used is a figure, too."""

    def describe(self) -> list[Metric]:
        """Return nothing: the database is not asked before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of the moment."""
        try:
            state = read_state()
        except Error:
            yield _gauge(DATABASE_UP, 0)
            return
        yield _gauge(DATABASE_UP, 1)
        yield from _show(state)


class _PoolCollector(Collector):
    """The pool of connections of this process, where there is one."""

    def describe(self) -> list[Metric]:
        """Return nothing: there is no pool before the first request."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of the moment."""
        pool = getattr(connection, "pool", None)
        if pool is None:
            return
        stats = pool.get_stats()
        idle = stats["pool_available"]
        used = stats["pool_size"] - idle
        yield _gauges(CONNECTIONS, {"idle": idle, "used": used})
        yield _gauge(MAX_CONNECTIONS, stats["pool_max"])
        yield _gauge(WAITING_THREADS, stats["requests_waiting"])


def _show(state: State) -> Iterator[Metric]:
    yield from _pair(WRITES, OLDEST_WRITE, state.writes)
    yield from _pair(CHECKS, OLDEST_CHECK, state.checks)
    yield _gauge(STRAYS, state.strays)
    yield from _pair(OVERDUE, OLDEST_OVERDUE, state.overdue)
    yield from _pair(PENDING, OLDEST_PENDING, state.pending)
    yield from _pair(JOBS, OLDEST_JOB, state.jobs)
    found = state.inventories
    yield _gauge(INVENTORIES, found.open)
    yield _gauges(
        INVENTORY_TAGS,
        {"looked_at": found.looked_at, "adopted": found.adopted, "left_out": found.left_out},
    )
    yield _gauges(DRIFTS, state.drifts)
    yield from _pair(UNVOUCHED, OLDEST_VOUCHING, state.unvouched)
    yield from _pair(UNSEALED, OLDEST_UNSEALED, state.unsealed)
    if state.checkpoint_seconds is not None:
        yield _gauge(CHECKPOINT, state.checkpoint_seconds)
    yield _gauges(TASK, state.task_seconds)


def _pair(count: _Figure, oldest: _Figure, waiting: Waiting) -> Iterator[Metric]:
    yield _gauge(count, waiting.count)
    yield _gauge(oldest, waiting.seconds)


def _gauge(figure: _Figure, value: float) -> Metric:
    return GaugeMetricFamily(figure.name, figure.help, value=value)


def _gauges(figure: _Figure, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(figure.name, figure.help, labels=[figure.label])
    for label, value in values.items():
        family.add_metric([label], value)
    return family


# What is asked for at each scrape, and counted by no process.
_ASKED = CollectorRegistry()
_ASKED.register(_StateCollector())
_ASKED.register(_PoolCollector())
