"""Each registry has its turn in the background, and one that hangs is left out for a while."""

from types import SimpleNamespace

import pytest

from immutability.reconcile import turns
from immutability.reconcile.turns import take_turns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that turns go by, in seconds."""
    clock = [1000.0]
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(turns, "_left_out_until", {})
    return clock


@pytest.mark.parametrize(("hanging", "others"), [(7, [None]), (None, [7, 8])])
def test_one_that_hangs_is_left_out_for_a_minute(
    clock: list[float], hanging: int | None, others: list[int | None]
) -> None:
    had: list[int | None] = []

    def work(_: object, registry_id: int | None) -> None:
        had.append(registry_id)
        clock[0] += 20.0 if registry_id == hanging else 15.0

    registries = [(each, None) for each in (hanging, *others)]
    take_turns(registries, work)
    take_turns(registries, work)
    assert had == [hanging, *others, *others]
    clock[0] += 60.0
    take_turns(registries, work)
    assert had[-len(registries) :] == [hanging, *others]


def test_the_only_one_always_has_its_turn(clock: list[float]) -> None:
    had: list[int | None] = []

    def work(_: object, registry_id: int | None) -> None:
        had.append(registry_id)
        clock[0] += 20.0

    for _ in range(3):
        take_turns([(None, None)], work)
    assert had == [None] * 3
