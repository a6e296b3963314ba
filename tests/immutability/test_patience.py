"""A request waits some seconds at most, whatever it tries meanwhile."""

from typing import NoReturn

import pytest

from immutability import patience
from tests.immutability.core import Core, named
from tests.immutability.registry_double import NO_ANSWER, Carry, image

pytestmark = pytest.mark.django_db

ONE, TWO = (named(name, image(name)) for name in ("one", "two"))
CALL_SECONDS = 20.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by itself only while somebody sleeps."""
    clock = [1000.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("immutability.patience.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("immutability.patience.time.sleep", sleep)
    monkeypatch.setattr(patience, "MAX_WAIT_SECONDS", 10.0)
    return clock


@pytest.mark.parametrize("tags", [["v1"], ["v1", "v2", "v3", "v4"]])
def test_a_registry_that_hangs_is_not_asked_again_and_again(
    core: Core, clock: list[float], tags: list[str]
) -> None:
    def hang(carry: Carry) -> NoReturn:
        clock[0] += CALL_SECONDS
        raise NO_ANSWER

    for tag in tags:
        core.registry.script(f"PUT {tag}", *[hang] * 9)
        assert core.push(tag, image=ONE) == "503"
    begun = clock[0]
    assert core.push(*tags, image=TWO) == "503 CLAIM_PENDING"
    assert clock[0] - begun < CALL_SECONDS + 10.0
