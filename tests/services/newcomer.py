"""A newcomer: does what the README says, then pushes for some time while processes are killed."""

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.flows.asking import Api
from tests.services.accounts import Account
from tests.services.parts import wait_until
from tests.services.readme import read_readme
from tests.services.registry_user import IMAGE_TYPE, Repository, log_in, to_json
from tests.services.site import ROOT, Site

RULES = [{"name": "Release versions", "pattern": r"^v\d+\.\d+\.\d+$"}]
LOGIN_EVERY = 20
CATCH_UP_SECONDS = 30.0
_UNSEALED = """
    SELECT count(*) FROM workspaces_lockevent
    WHERE id NOT IN (SELECT event_id FROM workspaces_eventseal)"""


@dataclass
class Load:
    """What was pushed, and what was answered otherwise than it should have been."""

    pushes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def note(self, what: str, status: int | str, expected: int) -> None:
        """Count an answer."""
        self.pushes[f"{what}: {status}"] += 1
        if status != expected:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {what}: {status}, not {expected}")


class _Client(threading.Thread):
    """Pushes new tags, the same again, another image, and tags that no rule matches."""

    def __init__(
        self, load: Load, port: int, account: Account, number: int, pause_seconds: float
    ) -> None:
        super().__init__(daemon=True)
        self._pause_seconds = pause_seconds
        self._load = load
        self._number = number
        self._repository = Repository(port, f"acme/load-{number}-{secrets.token_hex(3)}", account)

    def run(self) -> None:
        """Push until the load is stopped."""
        config = self._repository.upload(b'{"os": "linux"}')
        count = 0
        while not self._load.stopped.is_set():
            count += 1
            one, two = (self._image(config, f"{self._number} {count} {each}") for each in "ab")
            tag = f"v{self._number}.{count}.0"
            self._put("first push", tag, one, 201)
            self._put("same image", tag, one, 201)
            self._put("another image", tag, two, 403)
            self._put("unprotected", f"branch-{count % 5}", two, 201)
            if count % LOGIN_EVERY == 1:
                self._log_in()
            self._load.stopped.wait(self._pause_seconds)

    def _image(self, config: dict[str, object], text: str) -> bytes:
        document = {"schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": []}
        return to_json({**document, "annotations": {"text": text}})

    def _put(self, what: str, tag: str, image: bytes, expected: int) -> None:
        try:
            status: int | str = self._repository.put(tag, image).status
        except Exception as error:
            status = repr(error)
        self._load.note(what, status, expected)

    def _log_in(self) -> None:
        scope = f"repository:{self._repository.name}:pull,push"
        try:
            status: int | str = log_in(self._repository.port, "bob", "demo", scope).status
        except Exception as error:
            status = repr(error)
        self._load.note("login", status, 200)


def follow_readme(site: Site, folder: Path) -> None:
    """Run every command of the README as it is written there. Raises AssertionError."""
    Api(site).protect(RULES)
    shorthands, steps = read_readme()
    assert len(steps) >= 18
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PORT": str(site.port),
        "DATA_DIR": str(site.data_dir),
        # The login of a person's own must not be touched.
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
    }
    for step in steps:
        done = subprocess.run(
            ["bash", "-c", f"{shorthands}\n{step.command}"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode != 0) is step.is_refused, (step, done)
        if step.outcome:
            assert json.loads(done.stdout)["outcome"] == step.outcome, (step, done)


@contextmanager
def pushing(site: Site, clients: int, pause_seconds: float = 0) -> Iterator[Load]:
    """Push all the while; each client pauses after four pushes."""
    Api(site, f"load-{secrets.token_hex(3)}").protect(RULES)
    load, account = Load(), site.account("bob")
    threads = [
        _Client(load, site.port, account, number, pause_seconds) for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join(CATCH_UP_SECONDS)
            if thread.is_alive():
                load.failures.append("a client got no answer")


def kill(site: Site, name: str) -> None:
    """Kill a process, and wait until another one is there in its place."""
    before = site.find_processes()[name]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: site.find_processes().get(name, before) != before, CATCH_UP_SECONDS)


def wait_until_sealed(site: Site) -> None:
    """Wait until the background work has caught up: every event is sealed."""

    def is_sealed() -> bool:
        with closing(sqlite3.connect(site.data_dir / "taglock.sqlite3")) as database:
            return bool(database.execute(_UNSEALED).fetchone() == (0,))

    wait_until(is_sealed, CATCH_UP_SECONDS)
