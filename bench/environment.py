"""What a soak runs on: gates, site, edge and registry of its own, and how they come to rest."""

import io
import json
import logging
import random
import shutil
import threading
import time
import traceback
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import Error as AnyDatabaseError
from django.db import connection

from bench.clients import ADMIN, PUSHES_ONLY, SETTINGS, SHIFTING, STEADY
from bench.records import Records
from bench.short_timeouts import LEASE_SECONDS, STRAY_SECONDS
from bench.wire import Wire
from tests.services.accounts import PUSHER, Account, OneKey, account_of
from tests.services.cluster import Cluster
from tests.services.registry_user import Repository, send
from workspaces.models import User

APPLICATION = "bench.short_timeouts:application"
RECONCILE_SECONDS = 3.0
# Everything that was open has been answered or has lapsed by then, twice over.
_REST_SECONDS = 2 * (STRAY_SECONDS + LEASE_SECONDS)
_UNSETTLED = """
    SELECT
        (SELECT count(*) FROM containers_tag
            WHERE write_id IS NOT NULL OR stray_until IS NOT NULL),
        (SELECT count(*) FROM immutability_lockedtag WHERE state IN ('claimed', 'deleting'))"""
_TABLES = """
    SELECT table_name FROM information_schema.columns
    WHERE column_name = 'repository' AND table_schema = 'public'
    AND table_name <> 'workspaces_lockevent'"""
_MOST_LOG_BYTES = 10_000_000


class Environment:
    """Everything that runs, prepared: two workspaces, each with an admin's access token.

    Two people have accounts at the registry: a member of both, who pushes, and an admin of both.
    """

    def __init__(self, folder: Path, url: str, chance: random.Random) -> None:
        self.url = url
        self.folder = folder
        self.wire = Wire(chance)
        self.cluster = Cluster(
            folder, url, gates=2, application=APPLICATION, registry_url=self.wire.url
        )
        self.wire.registry_port = self.cluster.ports.registry
        self.records = Records(url)
        self.tokens: dict[str, str] = {}
        self.accounts: dict[str, Account] = {}
        settings.REGISTRY_URL = self.cluster.registry_url
        # Lost connections are the point.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

    def start(self) -> None:
        """Make the database, start everything, and protect the versions."""
        call_command("migrate", verbosity=0)
        for slug in (STEADY, SHIFTING):
            call_command("create_workspace", slug, name=slug, stderr=io.StringIO())
            printed = io.StringIO()
            call_command("create_access_token", slug, "soak", "--scope", "admin", stdout=printed)
            self.tokens[slug] = printed.getvalue().strip()
            for username, role in ((PUSHER, "member"), (ADMIN, "admin")):
                call_command("add_member", slug, username, role=role, stderr=io.StringIO())
        keys = OneKey(self.cluster.keys.find_signing_key())
        for user in User.objects.filter(username__in=(PUSHER, ADMIN)):
            self.accounts[user.username] = account_of(user, keys)
        connection.close()
        self.cluster.start()
        for slug, token in self.tokens.items():
            answer = send(
                self.cluster.ports.site,
                "PUT",
                f"/api/v1/workspaces/{slug}/container-settings",
                json.dumps(SETTINGS[2]).encode(),
                "application/json",
                f"Authorization: Bearer {token}\r\nIf-Match: *\r\n",
            )
            if answer.status != 200:
                raise RuntimeError(f"the settings were not saved: {answer}")

    def stop(self) -> None:
        """Stop everything."""
        self.records.close()
        connection.close()
        self.cluster.stop()
        self.wire.stop()

    def begin_generation(self, number: int) -> tuple[list[str], dict[str, object]]:
        """Begin with empty repositories; return their names, and the blob that each of them has.

        What the ones before had is thrown away, so that a soak of hours needs no more room.
        """
        self.cluster.registry.kill()
        shutil.rmtree(self.folder / "registry", ignore_errors=True)
        self.cluster.registry.start()
        (tables,) = self.records.read((_TABLES, ()))
        self.records.execute(*(f'DELETE FROM "{name}"' for (name,) in tables))  # noqa: S608
        repositories = [f"{slug}/g{number}-{n}" for slug in (STEADY, SHIFTING) for n in (1, 2)]
        repositories.append(f"{STEADY}/g{number}{PUSHES_ONLY}")
        blobs = [self.behind(name).upload(b'{"os": "linux"}') for name in repositories]
        return repositories, blobs[0]

    def behind(self, name: str) -> Repository:
        """Return a repository as the registry has it, with nobody in front."""
        return Repository(self.cluster.ports.registry, name, self.accounts[PUSHER])

    def come_to_rest(self) -> int:
        """Reconcile until nothing is open; return how many writes stay open all the same."""
        ends_at = time.monotonic() + _REST_SECONDS
        while True:
            reconcile()
            try:
                ((writes, locks),) = self.records.read((_UNSETTLED, ()))[0]
            except psycopg.Error:
                writes = locks = 1
            if not writes + locks or time.monotonic() > ends_at:
                return writes
            time.sleep(0.5)

    def trim_logs(self) -> None:
        """Empty the logs that have grown long."""
        for log in (*self.folder.glob("*.out"), *self.folder.glob("*.log")):
            if log.stat().st_size > _MOST_LOG_BYTES:
                log.write_bytes(b"")


def reconcile() -> None:
    """Do what `manage.py reconcile` does. A lost database is no news here."""
    try:
        call_command("reconcile", stdout=io.StringIO())
    except AnyDatabaseError:
        pass
    finally:
        connection.close()


class Scheduler(threading.Thread):
    """Reconciles every few seconds, as worker and beat do."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.failures: list[str] = []

    def run(self) -> None:
        """Reconcile."""
        while not self.stopped.wait(RECONCILE_SECONDS):
            try:
                reconcile()
            except Exception:
                self.failures.append(traceback.format_exc())
