"""Many write and many seal, some die or stand still: every event is sealed once, in one chain."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from django.db import connection, transaction

from tests.at_once import at_once
from tests.conftest import is_postgresql
from tests.services.cluster import test_database_url as database_url
from tests.services.parts import wait_until
from tests.services.site import ROOT
from tests.workspaces.log.conftest import Verify
from workspaces.access import SYSTEM
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.log.models import EventSeal, LockEvent, SealProgress
from workspaces.log.seal import count_unsealed, seal_events, seal_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("log_files"),
    pytest.mark.both_databases,
]

WRITERS = 6
SEALERS = 3
TRANSACTIONS = 12 if is_postgresql() else 6


def write(workspace: str, count: int = 1) -> None:
    append_events(
        [Event(EventKind.TAG_LOCKED, workspace, f"{workspace}/api", f"v{n}") for n in range(count)],
        actor=SYSTEM,
    )


def assert_sealed_once(verify: Verify) -> None:
    """Every event has one seal; every chain is contiguous and right."""
    assert list(EventSeal.objects.order_by("event_id").values_list("event_id", flat=True)) == list(
        LockEvent.objects.order_by("id").values_list("id", flat=True)
    )
    for slug in ("acme", "globex"):
        assert verify(slug=slug) == []


def test_writers_and_sealers_at_once_make_one_chain_a_workspace(verify: Verify) -> None:
    writing = threading.Semaphore(0)

    def keep_writing(seed: int) -> int:
        """Write in transactions that end in another order than they begin in."""
        chance = random.Random(seed)  # noqa: S311
        for _ in range(TRANSACTIONS):
            with transaction.atomic():
                write(chance.choice(["acme", "globex"]), chance.randint(1, 5))
                # On SQLite nobody else could begin meanwhile.
                time.sleep(chance.choice([0, 0.01, 0.05]) if is_postgresql() else 0)
                write("acme")
                transaction.set_rollback(chance.random() < 0.2)
        writing.release()
        return 0

    def keep_sealing() -> int:
        total = 0
        while writing._value < WRITERS:
            total += seal_events(7)
            time.sleep(0.005)
        return total

    writers = [partial(keep_writing, seed) for seed in range(WRITERS)]
    sealed = at_once([*writers, *[partial(keep_sealing)] * SEALERS])
    rest = seal_for()
    assert sum(sealed) + rest == LockEvent.objects.count() > WRITERS * TRANSACTIONS
    assert_sealed_once(verify)


def test_sealers_that_start_together_on_an_empty_table_agree(verify: Verify) -> None:
    with transaction.atomic():
        write("acme", 100)
    sealed = at_once([seal_events] * 8)
    assert sorted(sealed) == [0] * 7 + [100]
    assert SealProgress.objects.count() == 1
    assert_sealed_once(verify)


@contextmanager
def hapless_sealer(folder: Path, seconds: int = 60) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that has inserted its seals, and has not committed them."""
    reached = folder / "reached"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.workspaces.log.hapless_sealer", reached, str(seconds)],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "DATA_DIR": str(folder),
            "DJANGO_SETTINGS_MODULE": "packages_site.settings",
            "PYTHONWARNINGS": "ignore",
        },
    )
    try:
        wait_until(reached.exists, 60)
        yield process
    finally:
        process.kill()
        process.wait()


def seal_in_the_end() -> None:
    """Seal as soon as the database lets go of what was held."""
    wait_until(lambda: bool(seal_events()), 20)


@pytest.mark.cluster
def test_a_sealer_that_is_killed_before_it_commits_leaves_nothing_behind(
    tmp_path: Path, verify: Verify
) -> None:
    with transaction.atomic():
        write("acme", 5)
    connection.close()
    with hapless_sealer(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        seal_in_the_end()
    assert count_unsealed("acme").count == 0
    assert_sealed_once(verify)


if is_postgresql():

    @pytest.mark.cluster
    def test_a_sealer_that_stands_still_stops_the_others_for_a_while_only(
        tmp_path: Path, verify: Verify
    ) -> None:
        with transaction.atomic():
            write("acme", 5)
        with hapless_sealer(tmp_path, seconds=2) as process:
            process.send_signal(signal.SIGSTOP)
            begun = time.monotonic()
            assert seal_events() == 0
            assert time.monotonic() - begun < 1
            seal_in_the_end()
            process.send_signal(signal.SIGCONT)
        assert_sealed_once(verify)

    def test_who_finds_another_at_it_goes_away_at_once_and_writing_goes_on() -> None:
        with transaction.atomic():
            write("acme")
        seal_events()
        is_held, is_over = threading.Event(), threading.Event()

        def hold() -> int:
            with transaction.atomic():
                SealProgress.objects.select_for_update().get()
                is_held.set()
                is_over.wait(30)
            return 0

        def look() -> int:
            is_held.wait(30)
            try:
                with transaction.atomic():
                    write("acme")
                return seal_events()
            finally:
                is_over.set()

        assert at_once([hold, look]) == [0, 0]
        assert seal_events() == 1

    def test_an_event_that_is_committed_late_gets_the_next_place(verify: Verify) -> None:
        has_written, may_commit = threading.Event(), threading.Event()

        def write_late() -> int:
            with transaction.atomic():
                write("acme")
                has_written.set()
                may_commit.wait(30)
            return 0

        def seal_meanwhile() -> int:
            has_written.wait(30)
            with transaction.atomic():
                write("acme")
            try:
                return seal_events()
            finally:
                may_commit.set()

        assert at_once([write_late, seal_meanwhile]) == [0, 1]
        assert seal_events() == 1
        late, early = LockEvent.objects.order_by("id")
        assert list(EventSeal.objects.order_by("sequence").values_list("event_id", flat=True)) == [
            early.id,
            late.id,
        ]
        assert_sealed_once(verify)


def test_a_sealer_beside_the_lock_is_stopped_by_the_database(
    monkeypatch: pytest.MonkeyPatch, verify: Verify
) -> None:
    """The unique constraints are the backstop: a chain does not fork where the lock fails."""
    monkeypatch.setattr(
        "workspaces.log.seal._take_progress",
        lambda: SealProgress.objects.get_or_create(id=1)[0],
    )
    with transaction.atomic():
        write("acme", 50)

    def seal_or_fail() -> int:
        with suppress(Exception):
            return seal_events()
        return 0

    at_once([seal_or_fail] * 6)
    assert_sealed_once(verify)
