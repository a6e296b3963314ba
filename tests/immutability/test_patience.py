"""A request waits some seconds at most, whatever it tries meanwhile."""

from collections.abc import Callable
from typing import NoReturn

import pytest

from immutability import patience
from immutability.policy.protection import Protection
from tests.immutability.checks import Checks
from tests.immutability.core import Core, named
from tests.immutability.registry_double import NO_ANSWER, Carry, image

pytestmark = pytest.mark.django_db

ONE, TWO = (named(name, image(name)) for name in ("one", "two"))
CALL_SECONDS = 20.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by itself only while someone sleeps."""
    clock = [1000.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("immutability.patience.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("immutability.patience.time.sleep", sleep)
    monkeypatch.setattr(patience, "MAX_WAIT_SECONDS", 10.0)
    return clock


def hang(clock: list[float]) -> Callable[[Carry], NoReturn]:
    def reply(carry: Carry) -> NoReturn:
        clock[0] += CALL_SECONDS
        raise NO_ANSWER

    return reply


@pytest.mark.parametrize("tags", [["v1"], ["v1", "v2", "v3", "v4"]])
def test_a_registry_that_hangs_is_not_asked_again_and_again(
    core: Core, clock: list[float], tags: list[str]
) -> None:
    for tag in tags:
        core.registry.script(f"PUT {tag}", *[hang(clock)] * 9)
        assert core.push(tag, image=ONE) == "503"
    begun = clock[0]
    assert core.push(*tags, image=TWO) == "503 CLAIM_PENDING"
    assert clock[0] - begun < CALL_SECONDS + 10.0


def test_a_check_ends_only_as_many_strays_as_there_is_time_for(
    core: Core, clock: list[float]
) -> None:
    checks, tags = Checks(core), ["v1", "v2", "v3", "v4"]
    core.protect(Protection.NONE)
    assert checks.push(*tags, image=ONE) == "unprotected"
    core.protect()
    core.let_pass(minutes=17)
    core.registry.script("HEAD", *[hang(clock)] * 9)
    begun = clock[0]
    assert checks.push(*tags, image=TWO) == "claim_pending"
    assert clock[0] - begun < CALL_SECONDS + 10.0
