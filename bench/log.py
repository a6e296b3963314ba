"""The lock log as it grows: `python -m bench.log --events 1000000`. See README.md."""

import argparse
import importlib
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.services.guards import without_guards
from tests.services.postgresql import find_bin, postgresql

SMALL = 1000
PAGES = 40
# Asked for in between, so that what else the machine does is in both and falls out of the ratio.
PLAIN_PAGE = "/acme/settings/"
APPENDED = 5000
EXPORTED = 1_000_000

# Tags, people and digests are few or many as in a real log; what happened when is spread over a
# year. Every 97th event of another workspace stands between them.
_FILL = """
INSERT INTO workspaces_lockevent (ref, at, workspace, kind, repository, tag, digest, other_digest,
    actor, actor_kind, rule_name, rule_pattern, settings_version, reason, details, origin_hash)
SELECT lpad(upper(to_hex(n)), 12, '0'),
    now() - interval '365 days' * (1 - n::float / %(last)s),
    CASE WHEN n %% 97 = 0 THEN 'globex' ELSE 'acme' END,
    CASE WHEN n %% 10007 = 0 THEN 'tag.deleted' WHEN n %% 4 = 0 THEN 'push.refused'
         WHEN n %% 4 = 1 THEN 'push.identical' ELSE 'tag.locked' END,
    'acme/r' || (n * 7919 %% 300), 'v' || (n * 104729 %% 50000),
    'sha256:' || encode(sha256((n %% %(digests)s)::text::bytea), 'hex'),
    CASE WHEN n %% 4 = 0 THEN 'sha256:' || encode(sha256(('o' || n)::bytea), 'hex') ELSE '' END,
    'person' || (n * 31 %% 2000), 'person',
    CASE WHEN n %% 3 = 0 THEN '' ELSE 'Rule ' || (n %% 7) END, '^v', 3, '', NULL, ''
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
# What is measured of an export is reading and writing it: its hashes need not be right.
_SEAL = """
INSERT INTO workspaces_eventseal (workspace, sequence, event_id, hash, sealed_at)
SELECT workspace, row_number() OVER (PARTITION BY workspace ORDER BY id), id,
    encode(sha256(id::text::bytea), 'hex'), now()
FROM workspaces_lockevent ORDER BY id
"""


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.log", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    bin_dir = find_bin()
    if bin_dir is None:
        print("bench: MISSING: PostgreSQL's server (Debian: postgresql)", file=sys.stderr)
        return 3
    # Its server is stopped and its data go, however it ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="taglock-bench-") as name, postgresql(bin_dir) as url:
        os.environ |= {"DATABASE_URL": url, "DATA_DIR": name, "LOG_LEVEL": "ERROR"}
        os.environ["DJANGO_SETTINGS_MODULE"] = "packages_site.settings"
        for other in ("REDIS_URL", "REGISTRY_URL", "PUBLIC_URL", "ALLOWED_HOSTS"):
            os.environ.pop(other, None)
        (Path(name) / "static").mkdir()
        # Django reads its settings from the environment when it is imported: only now, then.
        importlib.import_module("django").setup()
        management = importlib.import_module("django.core.management")
        management.call_command("migrate", verbosity=0)
        management.call_command("collectstatic", interactive=False, verbosity=0)
        _measure(options.events)
    return 0


class _Timed(NamedTuple):
    """A page: milliseconds, how many times as long as a plain page, and how many events."""

    milliseconds: float
    by_plain: float
    shown: int


class _Log:
    """A workspace's log, and an auditor's browser."""

    def __init__(self) -> None:
        self.connection = importlib.import_module("django.db").connection
        self.models = importlib.import_module("workspaces.log.models")
        workspaces = importlib.import_module("workspaces.models")
        access = importlib.import_module("workspaces.access")
        workspace = workspaces.Workspace.objects.create(slug="acme", name="Acme")
        user = workspaces.User.objects.create_user("olga")
        workspaces.Membership.objects.create(workspace=workspace, user=user, role="auditor")
        self.client: Any = importlib.import_module("django.test").Client(
            headers={"Host": "localhost"}
        )
        self.client.force_login(user)
        self.actor = access.SYSTEM
        self.count = 0

    def execute(self, sql: str, **values: int) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)

    def fill(self, count: int) -> None:
        """Let there be so many events, all of them sealed."""
        first, self.count = self.count + 1, count
        with self._without_guards():
            self._refill(first, count)
        self.execute("DELETE FROM workspaces_sealprogress")
        self.execute(
            "INSERT INTO workspaces_sealprogress (id, settled_id, swept_at) "
            "SELECT 1, max(id), now() FROM workspaces_lockevent"
        )
        self.execute("VACUUM ANALYZE")

    def _refill(self, first: int, count: int) -> None:
        self.execute("SET maintenance_work_mem = '512MB'")
        indexes = self._drop_indexes()
        self.execute(_FILL, first=first, last=count, digests=max(count // 20, 50))
        self.execute("TRUNCATE workspaces_eventseal")
        self.execute(_SEAL)
        for index in indexes:
            self.execute(index)

    def forget_newer_than(self, last: int) -> None:
        """Remove the events behind an id, and every seal."""
        with self._without_guards():
            self.execute("DELETE FROM workspaces_eventseal")
            self.execute("DELETE FROM workspaces_lockevent WHERE id > %(last)s", last=last)

    @contextmanager
    def _without_guards(self) -> Iterator[None]:
        with self.connection.cursor() as cursor, without_guards(cursor, is_postgresql=True):
            yield

    def _drop_indexes(self) -> list[str]:
        """Drop what can be made again in one go, many times faster; return how."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'event\\_by\\_%'"
            )
            found = cursor.fetchall()
        for name, _ in found:
            self.execute(f"DROP INDEX {name}")
        return [how for _, how in found]

    def queries(self) -> dict[str, str]:
        """Return what is asked of the page: a name, and the query of the address."""
        middle = self.models.LockEvent.objects.filter(workspace="acme").order_by("id")
        some = middle[int(self.count * 0.3)]
        refused = middle.filter(kind="push.refused", id__gte=some.id).first()
        return {
            "first page": "",
            "far back": f"before={some.ref}",
            "back to newer": f"after={some.ref}",
            "repository": f"repository={some.repository}",
            "tag": f"tag={some.tag}",
            "repository and tag": f"repository={some.repository}&tag={some.tag}",
            "kind, of many": "kind=push.refused",
            "kind, of few": "kind=tag.deleted",
            "actor": f"actor={some.actor}",
            "rule": "rule=Rule+3",
            "digest": f"digest={some.digest}",
            "digest, 12 characters": f"digest={some.digest[7:19]}",
            "digest, 3 characters": f"digest={some.digest[7:10]}",
            "digest, 1 character": f"digest={some.digest[7]}",
            "other digest": f"digest={refused.other_digest}",
            "no such digest": f"digest={'0123456789abcdef' * 4}",
            "ref": f"ref={some.ref}",
            "a day": f"since={some.at:%Y-%m-%d}&until={some.at:%Y-%m-%d}",
        }

    def time_pages(self) -> dict[str, _Timed]:
        """Return how long each page takes, HTML and all."""
        return {name: self._time(query) for name, query in self.queries().items()}

    def _time(self, query: str) -> _Timed:
        path = f"/acme/lock-log/?{query}"
        shown = self._ask(path).count(b'data-label="Event"')
        pages, plain = [], []
        for _ in range(PAGES):
            pages.append(_time_once(lambda: self._ask(path)))
            plain.append(_time_once(lambda: self._ask(PLAIN_PAGE)))
        page = statistics.median(pages)
        return _Timed(page * 1000, page / statistics.median(plain), shown)

    def _ask(self, path: str) -> bytes:
        response = self.client.get(path)
        if response.status_code != 200:
            raise RuntimeError(f"{path}: {response.status_code}")
        return bytes(response.content)

    def append(self) -> float:
        """Return how many events are appended in a second, each in a transaction of its own."""
        append = importlib.import_module("workspaces.log.append")
        kinds = importlib.import_module("workspaces.log.kinds")
        transaction = importlib.import_module("django.db").transaction

        def write() -> None:
            for number in range(APPENDED):
                with transaction.atomic():
                    append.append_event(
                        append.Event(
                            kinds.EventKind.PUSH_REFUSED, "acme", "acme/r1", f"v{number}",
                            digest="sha256:" + "a" * 64, other_digest="sha256:" + "b" * 64,
                        ),
                        actor=self.actor,
                    )  # fmt: skip

        return APPENDED / _time_once(write)

    def seal(self) -> float:
        """Return how many events are sealed in a second."""
        seal = importlib.import_module("workspaces.log.seal")
        sealed = 0
        began = time.perf_counter()
        while found := seal.seal_events():
            sealed += found
        return sealed / (time.perf_counter() - began)

    def export(self, file_format: str) -> tuple[float, float]:
        """Return how many events are exported in a second, and by how many MiB memory grew.

        Ends after so many events: the rest would be the same.
        """
        before = _peak_mib()
        began = time.perf_counter()
        response = self.client.get(f"/acme/lock-log/export/download/?format={file_format}")
        lines = 0
        for chunk in response.streaming_content:
            lines += chunk.count(b"\n")
            if lines > EXPORTED:
                break
        took = time.perf_counter() - began
        response.close()
        return lines / took, _peak_mib() - before


def _measure(count: int) -> None:
    log = _Log()
    pages: list[dict[str, _Timed]] = []
    appends: list[float] = []
    for each in (SMALL, count):
        print(f"filling: {each:,} events", flush=True)
        took = _time_once(lambda each=each: log.fill(each))  # type: ignore[misc]
        print(f"filled in {took:.0f} s", flush=True)
        log.time_pages()
        pages.append(log.time_pages())
        if each != SMALL:
            for file_format in ("jsonl", "csv"):
                rate, grown = log.export(file_format)
                print(f"export {file_format}: {rate:,.0f} events/s, memory grew by {grown:.1f} MiB")
        appends.append(log.append())
        print(f"append: {appends[-1]:,.0f} events/s; seal: {log.seal():,.0f} events/s", flush=True)
        # So that the next filling goes on where this one ended.
        log.forget_newer_than(_last_filled(log))
    print(f"\n| page | {SMALL:,} events | {count:,} events | ratio |\n|---|---|---|---|")
    for name, few in pages[0].items():
        many = pages[1][name]
        cells = [f"{each.milliseconds:.1f} ms, shows {each.shown}" for each in (few, many)]
        print(f"| {name} | {' | '.join(cells)} | {many.by_plain / few.by_plain:.2f} |")
    print(f"\nappend, ratio of rates: {appends[1] / appends[0]:.2f}")


def _last_filled(log: _Log) -> int:
    ref = f"{log.count:012X}"
    found = log.models.LockEvent.objects.filter(ref=ref).values_list("id", flat=True).first()
    return int(found)


def _time_once(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
