"""After the last fault: how long is a push answered "try again"?"""

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

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
Push = tuple[Place, str]


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
    freed, that somebody wanted to delete, or whose settings changed. So may one of which somebody
    wanted to delete the image that is pushed, or the one that it is locked to.
    """
    ends_at = time.monotonic() + 2 * STRAY_SECONDS
    images = [(place, _pick_image(board, place, chance)) for place in sorted(board.tried)]
    first_sent: dict[Push, float] = {}
    # From the first push of a tag to the last that was undecided.
    seconds = dict.fromkeys(images, 0.0)

    def is_still_undecided(push: Push) -> bool:
        (name, tag), digest = push
        repository = Repository(environment.cluster.ports.edge, name, board.accounts[PUSHER])
        first_sent.setdefault(push, time.monotonic())
        if not is_undecided(push_by_tag(board, repository, tag, *board.images[digest])):
            return False
        seconds[push] = time.monotonic() - first_sent[push]
        return True

    left = images
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        while left and time.monotonic() < ends_at:
            answers = threads.map(is_still_undecided, left)
            left = [push for push, is_left in zip(left, answers, strict=True) if is_left]
            time.sleep(_COME_BACK_SECONDS)
    return _judge(environment, board, began, seconds)


def _pick_image(board: Board, place: Place, chance: random.Random) -> str:
    """Choose the image that was pushed last under the tag, or another one."""
    digest = board.tried[place]
    others = sorted({board.tried[each] for each in board.tried if each[0] == place[0]})
    return digest if chance.random() < 0.5 else chance.choice(others)


def _judge(
    environment: Environment, board: Board, began: datetime, seconds: dict[Push, float]
) -> Undecided:
    told = Undecided(count=len(seconds), longest=max(seconds.values(), default=0.0))
    set_free = _find_set_free(environment, began)
    unwanted = board.unwanted | environment.records.images_deleted_since(began)
    locks = environment.records.snapshot().locks
    for (place, digest), waited in seconds.items():
        if waited <= MAX_UNDECIDED_SECONDS:
            continue
        workspace = place[0].partition("/")[0]
        images = {digest, locks[place].digest} if place in locks else {digest}
        needed = {each for image in images for each in (image, *_list_children(board, image))}
        concerned = {place, *((place[0], each) for each in needed)}
        if {place, (workspace, "")} & set_free or concerned & unwanted:
            told.changed_hands += 1
        else:
            what = f"undecided for {waited:.1f} s with no fault any more, pushed {digest}"
            told.findings.append(Finding(what, *place))
    return told


def _list_children(board: Board, digest: str) -> list[str]:
    listed = json.loads(board.images[digest][0]).get("manifests", [])
    return [each["digest"] for each in listed]


def _find_set_free(environment: Environment, began: datetime) -> set[Place]:
    """Return the tags that an event set free in this cycle, and workspaces whose settings changed.

    A workspace stands in place of a repository, without a tag.
    """
    set_free: set[Place] = set()
    for event in environment.records.events_since(began):
        if event.policy is None and event.kind not in HARMLESS:
            set_free.add(event.place)
        elif event.policy is not None and event.at >= began.timestamp():
            set_free.add((event.workspace, ""))
    return set_free
