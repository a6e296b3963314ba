"""What must never be seen: a locked tag that points elsewhere, at any moment of a soak."""

import http.client
import json
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from bench.chaos import LONGEST_HANG_SECONDS
from bench.clients import Push, code_of
from bench.records import Event, Lock, Policy, Records, Snapshot
from tests.services.registry_user import Repository, send

ABSENT = "absent"
_PAUSE_SECONDS = 0.05
# An event bears the time of its statement, and what hangs commits it this much later at most.
_SLACK_SECONDS = 2 * LONGEST_HANG_SECONDS
# What happens to a tag without setting it free. Any other event, known here or not, may do that.
HARMLESS = {
    "tag.locked",
    "tag.adopted",
    "push.refused",
    "push.identical",
    "delete.refused",
    "repeats.counted",
}


@dataclass(frozen=True)
class Finding:
    """Something that must not be: a violation, or a burned name."""

    what: str
    repository: str
    tag: str


def look(repository: Repository, tag: str) -> str:
    """Return the digest that the registry has under a tag, ABSENT, or another answer as it came.

    Raises OSError or HTTPException where it does not answer.
    """
    target = f"/v2/{repository.name}/manifests/{tag}"
    answer = send(repository.port, "GET", target, headers=repository.login)
    if answer.status == 200:
        return answer.headers.get("docker-content-digest", "no digest")
    if answer.status == 404 and code_of(answer) in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN"):
        return ABSENT
    return f"{answer.status} {code_of(answer)}"


def is_evidence(there: str) -> bool:
    """Whether the registry has said what it has."""
    return there == ABSENT or there.startswith("sha256:")


@dataclass(frozen=True)
class Sighting:
    """What a covered tag pointed at, with no open write that could have moved it."""

    there: str
    version: int
    at: float


class Watcher(threading.Thread):
    """Holds every covered tag against the registry, over and over.

    The database is read before and after the registry is asked. Only where lock and settings are
    the same both times must the registry have had the lock's image in between. And what a covered
    tag points at, locked or not yet, stays the same from one look to the next, unless the settings
    change or an event says why.
    """

    def __init__(
        self, behind: Callable[[str], Repository], url: str, repositories: list[str]
    ) -> None:
        super().__init__(daemon=True)
        self._behind = behind
        self._records = Records(url)
        self._repositories = repositories
        self._sightings: dict[tuple[str, str], Sighting] = {}
        self.stopped = threading.Event()
        self.findings: list[Finding] = []
        self.looks = 0

    def run(self) -> None:
        """Watch."""
        while not self.stopped.wait(_PAUSE_SECONDS):
            try:
                self._watch_once()
            except psycopg.Error:
                continue
        self._records.close()

    def _watch_once(self) -> None:
        began = time.time()
        before = self._records.snapshot()
        seen: dict[tuple[str, str], str] = {}
        try:
            for place in self._list_places(before):
                repository, tag = self._behind(place[0]), place[1]
                there = look(repository, tag)
                if there == ABSENT:
                    there = look(repository, tag)
                if is_evidence(there):
                    seen[place] = there
        except (OSError, http.client.HTTPException, ValueError):
            pass  # A registry that is down says nothing about those that are left.
        after = self._records.snapshot()
        for place, there in seen.items():
            policy = before.policy_of(place)
            if policy == after.policy_of(place):
                self.looks += 1
                self._compare_lock(place, there, before, after)
                if is_at_rest(place, before) and is_at_rest(place, after):
                    self._compare_sighting(place, Sighting(there, policy.version, began))

    def _list_places(self, snapshot: Snapshot) -> list[tuple[str, str]]:
        """Return the covered tags that have a lock or are in the registry."""
        places = {lock.place for lock in snapshot.locks.values()}
        for repository in self._repositories:
            behind = self._behind(repository)
            target = f"/v2/{repository}/tags/list"
            answer = send(behind.port, "GET", target, headers=behind.login)
            if answer.status == 200:
                places |= {(repository, tag) for tag in json.loads(answer.body)["tags"] or []}
        return sorted(place for place in places if snapshot.policy_of(place).covers(place[1]))

    def _compare_lock(
        self, place: tuple[str, str], there: str, before: Snapshot, after: Snapshot
    ) -> None:
        lock = before.locks.get(place)
        is_kept = lock is not None and lock.state == "locked" and after.locks.get(place) == lock
        if is_kept and lock is not None and there != lock.digest:
            self._note(f"locked to {lock.digest}, and the registry had {there}", place)

    def _compare_sighting(self, place: tuple[str, str], now: Sighting) -> None:
        earlier = self._sightings.get(place)
        self._sightings[place] = now
        if earlier is None or earlier.version != now.version:
            return
        if earlier.there not in (ABSENT, now.there) and not self._is_set_free(place, earlier.at):
            self._note(f"covered at {earlier.there}, then the registry had {now.there}", place)

    def _note(self, what: str, place: tuple[str, str]) -> None:
        """Put down a finding, once."""
        finding = Finding(what, *place)
        if finding not in self.findings:
            self.findings.append(finding)

    def _is_set_free(self, place: tuple[str, str], since: float) -> bool:
        """Whether an event since then, or one that was about to be written, freed the tag."""
        moment = datetime.fromtimestamp(since - _SLACK_SECONDS, UTC)
        events = self._records.events_since(moment)
        return any(event.place == place and event.kind not in HARMLESS for event in events)


def is_at_rest(place: tuple[str, str], snapshot: Snapshot) -> bool:
    """Whether nothing that is known of can move a tag: no open write, and no unfinished lock."""
    lock = snapshot.locks.get(place)
    repository, tag = place
    return (lock is None or lock.state == "locked") and not any(
        write in ((repository, tag), (repository, None)) for write in snapshot.writes
    )


def check_at_rest(
    behind: Callable[[str], Repository],
    snapshot: Snapshot,
    push_again: Callable[[Lock], None],
) -> tuple[list[Finding], list[Finding], int]:
    """Return violations, burned names, and how many locks were healed.

    With nothing on its way and everything running. A suspended lock counts like one in force: it
    would hold again with the next settings. docker-registry writes its files in place, so one that
    is killed can leave an image that it cannot read; to push it again has to heal that.
    """
    violations: list[Finding] = []
    burned: list[Finding] = []
    healed = 0
    for lock in snapshot.locks.values():
        if lock.state in ("claimed", "deleting") and lock.place not in snapshot.writes:
            burned.append(Finding(f"{lock.state} with no open write", *lock.place))
        if lock.state != "locked":
            continue
        repository, tag = behind(lock.place[0]), lock.place[1]
        there = look(repository, tag)
        if not is_evidence(there):
            push_again(lock)
            there = look(repository, tag)
            healed += there == lock.digest
        what = f"locked to {lock.digest}, and the registry has {there}"
        if there != lock.digest:
            is_elsewhere = is_evidence(there) and there != ABSENT
            (violations if is_elsewhere else burned).append(Finding(what, *lock.place))
    return violations, burned, healed


def check_history(landed: list[Push], events: list[Event]) -> list[Finding]:
    """Return the tags of which two images were accepted, one after the other, without a reason.

    Of two pushes that were answered 201, the second one sent after the first one was answered, the
    images must be the same, if from the first one's start to the second one's end the settings
    were the same and covered the tag, and nothing happened to it that could have set it free. The
    released image may be pushed again and again: the release stands until another one is.
    """
    changes: dict[str, list[Event]] = defaultdict(list)
    released = find_releases(events)
    freed: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.policy is not None:
            changes[event.workspace].append(event)
        elif event.kind not in HARMLESS:
            freed[event.place].append(event.at)
    by_place: dict[tuple[str, str], list[Push]] = defaultdict(list)
    for push in landed:
        by_place[push.place].append(push)
    findings = []
    for place, pushes in by_place.items():
        workspace = place[0].partition("/")[0]
        for first, second in _overwrites(pushes):
            since, until = first.sent - _SLACK_SECONDS, second.answered
            policy = _policy_throughout(changes[workspace], since, until)
            if policy is None or not policy.covers(place[1]):
                continue
            is_released = any(
                begins <= first.sent and first.answered <= ends for begins, ends in released[place]
            )
            if not is_released and not any(since <= at <= until for at in freed[place]):
                what = f"201 for {first.digest} ({_time(first)}), then {second.digest}"
                findings.append(Finding(f"{what} ({_time(second)})", *place))
    return findings


def find_releases(events: list[Event]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return from when to when each tag was released: until it was locked again."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        of_tag = found[event.place]
        is_released = bool(of_tag) and of_tag[-1][1] == math.inf
        if event.kind == "lock.released" and not is_released:
            of_tag.append((event.at, math.inf))
        elif event.kind == "tag.locked" and is_released:
            of_tag[-1] = (of_tag[-1][0], event.at)
    return found


def _overwrites(pushes: list[Push]) -> Iterable[tuple[Push, Push]]:
    for second in pushes:
        for first in pushes:
            if first.answered < second.sent and first.digest != second.digest:
                yield first, second


def _policy_throughout(changes: list[Event], since: float, until: float) -> Policy | None:
    """Return the settings of that time, or None where they changed meanwhile."""
    if any(since <= change.at <= until for change in changes):
        return None
    earlier = [change.policy for change in changes if change.at < since]
    return earlier[-1] if earlier else Policy()


def _time(push: Push) -> str:
    return f"{datetime.fromtimestamp(push.sent, UTC):%H:%M:%S.%f}"
