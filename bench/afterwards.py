"""After the last fault: how long is a push answered "try again"?"""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bench.clients import Board, is_undecided, push_by_tag
from bench.environment import Environment
from bench.short_timeouts import DEADLINE_SECONDS, STRAY_SECONDS
from bench.watch import HARMLESS, Finding
from tests.services.accounts import PUSHER
from tests.services.registry_user import Repository

# A minute in production, where a call may take twenty seconds; and then some for a slow machine.
MAX_UNDECIDED_SECONDS = 60 * DEADLINE_SECONDS / 20 + 9
_AT_ONCE = 8
_COME_BACK_SECONDS = 0.2

Place = tuple[str, str]


@dataclass
class Undecided:
    """What came of the pushes: those that were undecided for too long, and why that may be."""

    findings: list[Finding] = field(default_factory=list)
    changed_hands: int = 0
    longest: float = 0.0
    count: int = 0


def push_everything(
    environment: Environment, board: Board, began: datetime, chance: random.Random
) -> Undecided:
    """Push every tag that was pushed in this cycle, until it is decided.

    A tag that changed hands may take as long as a stray lives: one that was released, deleted or
    freed, that the settings came to cover or covered no more, or whose image was being deleted.
    """
    started = time.monotonic()
    images = [(place, _pick_image(board, place, chance)) for place in sorted(board.tried)]

    def push(each: tuple[Place, str]) -> float:
        (name, tag), digest = each
        repository = Repository(environment.cluster.ports.edge, name, board.accounts[PUSHER])
        body, media_type = board.images[digest]
        while is_undecided(push_by_tag(board, repository, tag, body, media_type)):
            if time.monotonic() - started > 2 * STRAY_SECONDS:
                break
            time.sleep(_COME_BACK_SECONDS)
        return time.monotonic() - started

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        seconds = list(threads.map(push, images))
    return _judge(environment, began, dict(zip(images, seconds, strict=True)))


def _pick_image(board: Board, place: Place, chance: random.Random) -> str:
    """Choose the image that was pushed last under the tag, or another one."""
    digest = board.tried[place]
    others = sorted({board.tried[each] for each in board.tried if each[0] == place[0]})
    return digest if chance.random() < 0.5 else chance.choice(others)


def _judge(
    environment: Environment, began: datetime, seconds: dict[tuple[Place, str], float]
) -> Undecided:
    told = Undecided(count=len(seconds), longest=max(seconds.values(), default=0.0))
    has_changed_hands = _changes_of_hands(environment, began)
    for (place, digest), waited in seconds.items():
        if waited <= MAX_UNDECIDED_SECONDS:
            continue
        if has_changed_hands(place, digest):
            told.changed_hands += 1
        else:
            what = f"undecided for {waited:.1f} s after the last fault, pushed {digest}"
            told.findings.append(Finding(what, *place))
    return told


def _changes_of_hands(environment: Environment, began: datetime) -> Callable[[Place, str], bool]:
    """Return a function that says whether a tag changed hands, as far as a stray reaches back."""
    since = began - timedelta(seconds=STRAY_SECONDS)
    events = environment.records.events_since(since)
    deleted = environment.records.find_deleted()
    places = {
        event.place for event in events if event.policy is None and event.kind not in HARMLESS
    }
    settings = {
        event.workspace
        for event in events
        if event.policy is not None and event.at >= since.timestamp()
    }

    def has_changed_hands(place: Place, digest: str) -> bool:
        repository = place[0]
        return (
            place in places
            or repository.partition("/")[0] in settings
            or (repository, digest) in deleted
        )

    return has_changed_hands
