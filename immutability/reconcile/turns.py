"""Let each registry have its turn in the background, and none keep the others waiting for long."""

import time
from collections.abc import Callable, Sequence

from containers.registry.client import RegistryClient

# More than a turn takes whose registry answers: a call that gets no answer takes as long by itself.
LONG_TURN_SECONDS = 18.0
LEFT_OUT_SECONDS = 60.0

Turn = tuple[int | None, RegistryClient | None]

_left_out_until: dict[int | None, float] = {}


def take_turns(
    registries: Sequence[Turn], work: Callable[[RegistryClient | None, int | None], None]
) -> None:
    """Work for each registry, with its client and id.

    One that took long hangs: where there are others, it is left out for a minute.
    """
    for registry_id, registry in registries:
        began_at = time.monotonic()
        if len(registries) > 1 and began_at < _left_out_until.get(registry_id, 0.0):
            continue
        work(registry, registry_id)
        ended_at = time.monotonic()
        if ended_at - began_at > LONG_TURN_SECONDS:
            _left_out_until[registry_id] = ended_at + LEFT_OUT_SECONDS
