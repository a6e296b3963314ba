"""What a registry token costs, beside a view that asks the database once. See README.md."""

import argparse
import base64
import sys
from contextlib import closing
from urllib.parse import urlencode

from bench.check import make_floor_call
from bench.command import Place, add_row_options, choose, make_parser, run
from bench.load import Clients
from bench.measure import Bench, Row, print_rows
from bench.requests import Call, make_request

_QUERY = urlencode({"service": "taglock", "scope": "repository:acme/app:pull,push"})
_PASSWORD = "correct horse battery"  # noqa: S105  (of a person who is gone with the database)


def main() -> int:
    """Measure as the command line says."""
    parser = make_parser("tokens", __doc__)
    add_row_options(parser)
    options = parser.parse_args()
    return run(options, lambda place: _measure(place, options))


def _measure(place: Place, options: argparse.Namespace) -> None:
    from bench.taglock import PUSHER, Taglock, find_user  # noqa: PLC0415  (needs the settings)

    taglock = Taglock(place, has_registry=False)
    with closing(taglock.prepare(options.locks)) as statements:
        user = find_user(PUSHER)
        user.set_password(_PASSWORD)
        user.save()
        secret = taglock.make_access_token("ci", "push")
        floor, floor_port = taglock.make_floor()
        try:
            taglock.start(floor)
            read = make_floor_call(floor_port, "read")
            rows = {
                name: Row(name, read, _log_in(taglock.site_port, *credentials))
                for name, credentials in (
                    ("access token", ("acme+ci", secret)),
                    ("password, again", (PUSHER, _PASSWORD)),
                )
            }
            postgresql = {"PostgreSQL": statements.postmaster}
            with Clients(options.clients) as clients:
                bench = Bench(
                    clients,
                    statements,
                    {"view": floor.pid, **postgresql},
                    {"site": taglock.site.pid, **postgresql},
                )
                print_rows(bench, rows, choose(list(rows), options.row), options.seconds)
        finally:
            taglock.stop()


def _log_in(port: int, username: str, password: str) -> Call:
    """Return the login of a client that wants to push."""
    basic = base64.b64encode(f"{username}:{password}".encode()).decode()
    request = make_request("GET", f"/auth/token?{_QUERY}", authorization=f"Basic {basic}")
    return Call(port, request, 200, b'"token":')


if __name__ == "__main__":
    sys.exit(main())
