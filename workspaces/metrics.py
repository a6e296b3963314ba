"""What each process counts of its own work, for Prometheus. docs/watch.md has them all.

The names of labels are few, and so are their values: nothing that a client writes is one.
"""

from prometheus_client import Counter, Histogram, disable_created_metrics

# When each counter began: Prometheus sees that by itself.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Workspaces beyond these, in the order of their first refusal, are counted as one.
MAX_WORKSPACES_NAMED = 200
# No workspace can have this name.
OTHER_WORKSPACES = "_other"

DECISIONS = Histogram(
    "taglock_decision_seconds",
    "How long pushes, deletes and checks took until they were answered.",
    ["kind", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
REFUSALS = Counter(
    "taglock_refusals",
    "Pushes, deletes and checks that a lock has refused.",
    ["workspace"],
)
REGISTRY_CALLS = Histogram(
    "taglock_registry_call_seconds",
    "How long the registry, and its token service, took to answer, or to give no answer.",
    ["method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
REGISTRY_ANSWERS = Counter(
    "taglock_registry_answers",
    "Answers of the registry, and of its token service, by status; none: there was no answer.",
    ["method", "status"],
)
LOGIN_FAILURES = Counter(
    "taglock_login_failures",
    "Passwords, access tokens and registry tokens that were not accepted.",
    ["at"],
)

_named: set[str] = set()


def count_refusal(workspace: str) -> None:
    """Count a refusal in a workspace, by its slug where not too many have one already."""
    if workspace not in _named:
        if len(_named) >= MAX_WORKSPACES_NAMED:
            workspace = OTHER_WORKSPACES
        else:
            _named.add(workspace)
    REFUSALS.labels(workspace).inc()
