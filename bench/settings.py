"""What saving settings costs where there are many locks, and who waits for it. See README.md."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from bench.command import Place, add_row_options, choose, make_parser, run
from bench.load import Clients, Task
from bench.measure import Bench, Row, find_percentile, print_rows
from bench.requests import (
    CLIENT,
    NUMBER,
    Call,
    Connection,
    make_request,
    send_expecting,
)

FULL, EMPTY = "acme", "empty"
_LOCKS = 1_000_000
_PUSHERS = 3
_VERSIONS = {"name": "Versions", "pattern": "^v"}
# Half of the tags of fill.py.
_FEWER = {"name": "Versions", "pattern": r"^v1\.\d*[0-4]\."}
# What is saved in turns. Each save suspends locks, or brings them back.
_TURNS: Mapping[str, list[dict[str, object]]] = {
    "other pattern": [
        {"protection": "some", "rules": [_FEWER]},
        {"protection": "some", "rules": [_VERSIONS]},
    ],
    "no tags, some tags": [
        {"protection": "none"},
        {"protection": "some", "rules": [_VERSIONS]},
    ],
    "all tags, with an exception and without": [
        {"protection": "all", "exceptions": [_FEWER]},
        {"protection": "all", "exceptions": []},
    ],
    "all tags, some tags": [
        {"protection": "all"},
        {"protection": "some", "rules": [_VERSIONS]},
    ],
}


@dataclass(frozen=True)
class Saves:
    """Saves settings, in turns: each save changes something."""

    port: int
    requests: tuple[bytes, ...]

    def perform(self, connection: Connection, number: bytes) -> None:
        """Save."""
        request = self.requests[int(number) % len(self.requests)]
        send_expecting(connection, request, 200)


def main() -> int:
    """Measure as the command line says."""
    parser = make_parser("settings", __doc__, _LOCKS)
    add_row_options(parser, clients=1)
    options = parser.parse_args()
    return run(options, lambda place: _measure(place, options))


def _measure(place: Place, options: argparse.Namespace) -> None:
    from bench.taglock import Taglock  # noqa: PLC0415  (needs the settings above)

    taglock = Taglock(place, has_registry=False)
    with closing(taglock.prepare(options.locks)) as statements:
        taglock.make_workspace(EMPTY)
        admins = {slug: taglock.make_access_token("admin", "admin", slug) for slug in (FULL, EMPTY)}
        registry = taglock.make_access_token("registry", "registry")
        try:
            taglock.start()
            processes = {"site": taglock.site.pid, "PostgreSQL": statements.postmaster}
            rows = {row.name: row for row in _make_rows(taglock.site_port, admins)}
            names = choose(list(rows), options.row)
            with Clients(options.clients) as clients:
                bench = Bench(clients, statements, processes, processes)
                print_rows(bench, rows, names, options.seconds)
            checks = _make_checks(taglock.site_port, registry)
            _print_waits(checks, [rows[name] for name in names], options.seconds)
        finally:
            taglock.stop()


def _make_rows(port: int, admins: Mapping[str, str]) -> Iterator[Row]:
    for name, turns in _TURNS.items():
        subject, floor = (
            Saves(port, tuple(_save(slug, admins[slug], each) for each in turns))
            for slug in (FULL, EMPTY)
        )
        yield Row(name, floor, subject)


def _save(slug: str, token: str, document: dict[str, object]) -> bytes:
    """Return the request that saves settings, however many locks that suspends."""
    return make_request(
        "PUT",
        f"/api/v1/workspaces/{slug}/container-settings",
        authorization=f"Bearer {token}",
        body=json.dumps({**document, "suspend_locks": True}).encode(),
        more="Content-Type: application/json\r\nIf-Match: *\r\n",
    )


def _make_checks(port: int, token: str) -> Call:
    """Return checks of first pushes in the workspace that has the locks."""
    question = {
        "repository": f"{FULL}/app",
        "tag": f"v9.{CLIENT.decode()}.{NUMBER.decode()}",
        "digest": f"sha256:{'0' * 54}{NUMBER.decode()}",
    }
    request = make_request(
        "POST",
        "/api/v1/check-push",
        authorization=f"Bearer {token}",
        body=json.dumps(question).encode(),
        more="Content-Type: application/json\r\n",
    )
    return Call(port, request, 200, b'"allowed":true')


def _print_waits(checks: Call, rows: list[Row], seconds: float) -> None:
    """Print how long checks take while settings are saved, there or in the other workspace."""
    print("\n| ms that a check takes | saved in | p50 | p99 | longest | checks |")
    print(f"|{'---|' * 6}")
    first = 0
    with Clients(_PUSHERS + 1) as clients:
        for row in rows:
            for where, saves in ((EMPTY, row.floor), (FULL, row.subject)):
                tasks = [Task(saves, seconds / 2, 0, sys.maxsize)]
                tasks += [Task(checks, seconds / 2, first, sys.maxsize)] * _PUSHERS
                _, *results = clients.run(tasks)
                # No check of a later row is of the same tag.
                first += max(map(len, results))
                took = [each for result in results for each in result]
                cells = (find_percentile(took, 50), find_percentile(took, 99), max(took) * 1000)
                print(
                    f"| {row.name} | {where} | {' | '.join(f'{each:.1f}' for each in cells)} "
                    f"| {len(took)} |",
                    flush=True,
                )


if __name__ == "__main__":
    sys.exit(main())
