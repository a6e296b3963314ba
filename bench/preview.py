"""What the preview of a change of settings costs where there are many tags. See README.md."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing

from bench.command import Place, add_row_options, choose, make_parser, run
from bench.load import Clients
from bench.measure import Bench, Row, print_rows
from bench.requests import Call, make_request

_LOCKS = 100_000
# Each has been pushed twice.
_PUSHED = 5_000
_SETTINGS = "/api/v1/workspaces/acme/container-settings"
_SEVEN = (
    r"^v1\.\d*[0-4]\.",
    r"^release-\d{4}-\d{2}$",
    "^prod$",
    r"^hotfix-\d+$",
    "^(staging|prod)$",
    "rc",
    r"^v?\d+\.\d+\.\d+([-_].*)?$",
)
_DRAFTS: Mapping[str, dict[str, object]] = {
    "no tags": {"protection": "none"},
    "all tags": {"protection": "all"},
    "one rule": {"protection": "some", "rules": [{"name": "Some", "pattern": _SEVEN[0]}]},
    "seven rules": {
        "protection": "some",
        "rules": [
            {"name": f"Rule {number}", "pattern": pattern} for number, pattern in enumerate(_SEVEN)
        ],
    },
}
# What is saved covers half of the tags.
_SAVED = r"^v1\.\d*[13579]\."


def main() -> int:
    """Measure as the command line says."""
    parser = make_parser("preview", __doc__, _LOCKS)
    add_row_options(parser, clients=1)
    options = parser.parse_args()
    return run(options, lambda place: _measure(place, options))


def _measure(place: Place, options: argparse.Namespace) -> None:
    # Need Django's settings, which are made above.
    from bench.fill import push_and_unlock  # noqa: PLC0415
    from bench.taglock import Taglock, protect  # noqa: PLC0415

    taglock = Taglock(place, has_registry=False)
    with closing(taglock.prepare(options.locks)) as statements:
        push_and_unlock("acme", _PUSHED)
        protect("acme", _SAVED)
        admin = f"Bearer {taglock.make_access_token('admin', 'admin')}"
        try:
            taglock.start()
            processes = {"site": taglock.site.pid, "PostgreSQL": statements.postmaster}
            rows = {row.name: row for row in _make_rows(taglock.site_port, admin)}
            with Clients(options.clients) as clients:
                bench = Bench(clients, statements, processes, processes)
                print_rows(bench, rows, choose(list(rows), options.row), options.seconds)
        finally:
            taglock.stop()


def _make_rows(port: int, authorization: str) -> Iterator[Row]:
    """Yield the rows, each beside a read of the saved settings."""
    read = make_request("GET", _SETTINGS, authorization=authorization)
    floor = Call(port, read, 200, b'"version":')
    for name, draft in _DRAFTS.items():
        request = make_request(
            "POST",
            f"{_SETTINGS}/preview",
            authorization=authorization,
            body=json.dumps(draft).encode(),
            more="Content-Type: application/json\r\n",
        )
        yield Row(name, floor, Call(port, request, 200, b'"checked_tags":'))


if __name__ == "__main__":
    sys.exit(main())
