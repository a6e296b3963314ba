"""Who pushes, deletes and administers during a soak: each a thread with chances of its own."""

import http.client
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import psycopg

from bench.records import Lock, Records
from tests.services.accounts import PUSHER, Account
from tests.services.registry_user import (
    IMAGE_TYPE,
    INDEX_TYPE,
    Answer,
    Repository,
    digest_of,
    make_index,
    send,
    to_json,
)

# A new tag comes up this often, and everybody wants it.
TAG_SECONDS = 1.0
# The settings of the first workspace stay; those of the second one are changed again and again.
STEADY, SHIFTING = "steady", "shifting"
# Nobody deletes or administers in a repository whose name ends so: no tag there changes hands.
PUSHES_ONLY = "-pushes"
# Who deletes what is locked, through the gate as through the API.
ADMIN = "alice"
VERSIONS = {"name": "Versions", "pattern": "^v"}
SETTINGS: list[dict[str, object]] = [
    {"protection": "none"},
    {"protection": "all"},
    {"protection": "all", "exceptions": [{"name": "Development", "pattern": "^dev-[01]$"}]},
    {"protection": "some", "rules": [VERSIONS]},
    {"protection": "some", "rules": [VERSIONS, {"name": "Development", "pattern": "^dev-[01]$"}]},
]
_COME_BACK_SECONDS = 0.2
_LOST = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True)
class Push:
    """A push by tag that was answered 201, and when it was sent and answered."""

    repository: str
    tag: str
    digest: str
    sent: float
    answered: float

    @property
    def place(self) -> tuple[str, str]:
        return self.repository, self.tag


@dataclass
class Board:
    """What is pushed in this cycle, and what came of it."""

    repositories: list[str]
    # Every repository has this blob, and every image lists it.
    config: dict[str, object]
    number: int
    first_number: int
    # Manifests and their media types by digest, for who has to push one again.
    images: dict[str, tuple[bytes, str]]
    # Places where a write may land late.
    late: deque[tuple[str, str]]
    # Those who have an account at the registry, by name.
    accounts: dict[str, Account]
    started: float = field(default_factory=time.monotonic)
    pushes: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    landed: list[Push] = field(default_factory=list)
    # Every push by tag, by its place: the last image of it.
    tried: dict[tuple[str, str], str] = field(default_factory=dict)
    # Every tag or digest that somebody wanted to delete, after its repository.
    unwanted: set[tuple[str, str]] = field(default_factory=set)
    stopped: threading.Event = field(default_factory=threading.Event)

    def image(self, text: str) -> bytes:
        """Return the manifest of an image; another text, another digest."""
        return to_json(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE_TYPE,
                "config": self.config,
                "layers": [],
                "annotations": {"text": text},
            }
        )

    def pick_place(self, chance: random.Random) -> tuple[str, str]:
        """Choose a tag: the newest, an older one, one that is no version, or one in trouble."""
        draw = chance.random()
        late = [place for place in list(self.late) if ":" not in place[1]]
        if draw < 0.1 and late:
            return chance.choice(late)
        return chance.choice(self.repositories), self._pick_tag(chance)

    def _pick_tag(self, chance: random.Random) -> str:
        draw = chance.random()
        newest = int((time.monotonic() - self.started) / TAG_SECONDS)
        if draw < 0.15:
            return f"dev-{chance.randrange(3)}"
        if draw < 0.3 and self.number > self.first_number:
            return f"v{chance.randrange(self.first_number, self.number)}.{chance.randrange(25)}"
        return f"v{self.number}.{newest if draw < 0.7 else chance.randint(0, newest)}"


class Client(threading.Thread):
    """Pushes and deletes through the edge until the cycle ends."""

    def __init__(self, board: Board, port: int, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._board = board
        self._port = port
        self._chance = chance

    def run(self) -> None:
        """Push and delete."""
        while not self._board.stopped.wait(self._chance.uniform(0, 0.1)):
            repository, tag = self._board.pick_place(self._chance)
            pusher = self._board.accounts[PUSHER]
            self._act(Repository(self._port, repository, pusher), tag)

    def _act(self, repository: Repository, tag: str) -> None:
        draw = self._chance.random()
        image = self._pick_image(tag)
        if repository.name.endswith(PUSHES_ONLY):
            self._push(repository, tag, image, IMAGE_TYPE)
        elif draw < 0.03:
            self._send_delete("delete", repository, digest_of(image))
        elif draw < 0.04:
            self._send_delete("delete", repository, tag)
        elif draw < 0.055:
            admins = Repository(self._port, repository.name, self._board.accounts[ADMIN])
            reference = self._chance.choice([tag, digest_of(image)])
            self._send_delete("admin: delete at the gate", admins, reference)
        elif draw < 0.075:
            # Its tags stand in the query: Taglock points each of them by a request of its own.
            put = partial(repository.put, digest_of(image), image, query=f"?tag={tag}&tag=dev-0")
            self._note_other("query", put)
        elif draw < 0.155:
            self._push_index(repository, tag)
        else:
            self._push(repository, tag, image, IMAGE_TYPE)

    def _pick_image(self, tag: str) -> bytes:
        """Choose one of the tag's own images, or of those that other tags have too."""
        own = f"{tag} {self._chance.randrange(3)}"
        shared = f"shared {self._chance.randrange(3)}"
        return self._board.image(own if self._chance.random() < 0.8 else shared)

    def _push(self, repository: Repository, tag: str, body: bytes, media_type: str) -> None:
        self._board.images[digest_of(body)] = body, media_type
        self._board.tried[(repository.name, tag)] = digest_of(body)
        answer = push_by_tag(self._board, repository, tag, body, media_type)
        self._wait_after(answer)

    def _push_index(self, repository: Repository, tag: str) -> None:
        children = [self._board.image(f"{tag} {number}") for number in (0, 1)]
        for child in children:
            self._note_other("child", partial(repository.put, digest_of(child), child))
        self._push(repository, tag, make_index(*children), INDEX_TYPE)

    def _send_delete(self, what: str, repository: Repository, reference: str) -> None:
        self._board.unwanted.add((repository.name, reference))
        self._note_other(what, partial(repository.delete, f"manifests/{reference}"))

    def _note_other(self, what: str, request: Callable[[], Answer]) -> None:
        self._wait_after(_note(self._board.others, what, request))

    def _wait_after(self, answer: Answer | None) -> None:
        """Where the answer is "try again", wait a little."""
        if is_undecided(answer):
            self._board.stopped.wait(_COME_BACK_SECONDS)


class Admin(threading.Thread):
    """Releases, deletes, frees, drops claims and changes settings over the API."""

    def __init__(
        self, board: Board, port: int, url: str, tokens: dict[str, str], chance: random.Random
    ) -> None:
        super().__init__(daemon=True)
        self._board = board
        self._port = port
        self._records = Records(url)
        self._tokens = tokens
        self._chance = chance

    def run(self) -> None:
        """Administer."""
        while not self._board.stopped.wait(self._chance.uniform(0.02, 0.4)):
            try:
                if self._chance.random() < 0.12:
                    self._change_settings()
                else:
                    self._change_lock()
            except psycopg.Error:
                continue
        self._records.close()

    def _change_settings(self) -> None:
        settings = self._chance.choice(SETTINGS)
        body = {"rules": [], "exceptions": [], "suspend_locks": True, **settings}
        self._call(SHIFTING, "PUT", "container-settings", "settings", body)

    def _change_lock(self) -> None:
        locks = [
            lock
            for lock in self._records.snapshot().locks.values()
            if not lock.repository.endswith(PUSHES_ONLY)
        ]
        locks.sort(key=lambda lock: lock.id)
        late = [lock for lock in locks if lock.place in self._board.late]
        # Those in trouble, the newest ones, which everybody is pushing, and any.
        among = self._chance.choice([late, locks[-12:], locks]) or locks
        if not among:
            return
        lock = self._chance.choice(among)
        address = f"locked-tags/{lock.id}"
        if lock.state == "locked" and self._chance.random() < 0.4:
            body = {"reason": "soak"}
            self._call(lock.workspace, "POST", f"{address}/release", "release", body)
        elif lock.state == "claimed":
            self._delete_lock(lock, address, "drop", "free")
        elif lock.state == "reserved" and self._chance.random() < 0.7:
            self._delete_lock(lock, address, "free", "free")
        elif lock.state in ("locked", "released"):
            self._delete_lock(lock, address, "delete", self._chance.choice(["free", "reserve"]))

    def _delete_lock(self, lock: Lock, address: str, what: str, name: str) -> None:
        self._board.unwanted.add(lock.place)
        body = {"name": name, "reason": "soak"}
        self._call(lock.workspace, "DELETE", address, what, body)

    def _call(
        self, workspace: str, method: str, address: str, what: str, body: Mapping[str, object]
    ) -> None:
        request = partial(
            send,
            self._port,
            method,
            f"/api/v1/workspaces/{workspace}/{address}",
            json.dumps(body).encode(),
            "application/json",
            f"Authorization: Bearer {self._tokens[workspace]}\r\nIf-Match: *\r\n",
        )
        _note(self._board.others, f"admin: {what}", request)


def push_by_tag(
    board: Board, repository: Repository, tag: str, body: bytes, media_type: str
) -> Answer | None:
    """Push an image under a tag, and keep it where it was accepted."""
    sent = time.time()
    push = partial(repository.put, tag, body, media_type)
    answer = _note(board.pushes, "", push)
    if answer is not None and answer.status == 201:
        board.landed.append(Push(repository.name, tag, digest_of(body), sent, time.time()))
    return answer


def is_undecided(answer: Answer | None) -> bool:
    """Whether the client has to come back."""
    return answer is None or answer.status in (502, 503)


def _note(counter: Counter[str], what: str, request: Callable[[], Answer]) -> Answer | None:
    """Send the request and count its answer; return it, or None where there is none."""
    try:
        answer = request()
    except _LOST as error:
        counter[f"{what} no answer ({type(error).__name__})".strip()] += 1
        return None
    label = f"{what} {answer.status}".strip()
    if answer.status not in (200, 201, 202, 403, 503):
        label = f"{label} {code_of(answer)}".strip()
    counter[label] += 1
    return answer


def code_of(answer: Answer) -> str:
    """Return the OCI code of an error, or nothing where it is none."""
    try:
        return answer.code
    except (ValueError, LookupError, TypeError):
        return ""
