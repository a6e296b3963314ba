"""What a push or delete leaves behind, and the ends after which nobody knows."""

from datetime import timedelta

import pytest
from django.db.models import F

from immutability.models import Attempt
from tests.immutability.actions.asking import lock_of
from tests.immutability.gate.upstream import TIMEOUT, answer, digest_of, image, lands_late
from workspaces.models import Workspace

# After these nobody knows whether the write landed.
UNKNOWN_ENDS = [
    pytest.param(TIMEOUT, id="timeout"),
    pytest.param(lands_late, id="landed, answer lost"),
    *(pytest.param(answer(status), id=str(status)) for status in (408, 425, 429, 500, 502, 503)),
    pytest.param(answer(307), id="redirect"),
    pytest.param(answer(201), id="201 without a digest"),
    pytest.param(
        answer(201, headers={"Docker-Content-Digest": digest_of(image("two"))}),
        id="201, other digest",
    ),
]


def state_of(workspace: Workspace, tag: str = "v1") -> tuple[str, str] | None:
    """Return state and digest of a tag's lock, or None."""
    lock = lock_of(workspace, tag)
    return (lock.state, lock.digest) if lock else None


def open_attempts() -> int:
    """Return how many attempts are open."""
    return Attempt.objects.filter(outcome=Attempt.Outcome.OPEN).count()


def age_attempts(minutes: int) -> None:
    """Let so much time pass for every attempt."""
    age = timedelta(minutes=minutes)
    Attempt.objects.update(
        **{name: F(name) - age for name in ("opened_at", "sent_at", "expires_at", "ended_at")}
    )
