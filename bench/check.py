"""What check-push costs, beside the least that a view in Django can do. See README.md."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing

from bench.command import Place, add_row_options, choose, make_parser, run
from bench.load import Clients
from bench.measure import Bench, Row, print_rows
from bench.requests import CLIENT, NUMBER, Call, Connection, make_number, make_request

REPOSITORY = "acme/app"
_PATH = "/api/v1/check-push"
_JSON = "Content-Type: application/json\r\n"
# The digests of two images, a digit repeated.
_LOCKED, _OTHER = "a", "b"


def main() -> int:
    """Measure as the command line says."""
    parser = make_parser("check", __doc__)
    add_row_options(parser)
    options = parser.parse_args()
    return run(options, lambda place: _measure(place, options))


def _measure(place: Place, options: argparse.Namespace) -> None:
    from bench.taglock import Taglock  # noqa: PLC0415  (needs the settings above)

    taglock = Taglock(place, has_registry=False)
    with closing(taglock.prepare(options.locks)) as statements:
        token = taglock.make_access_token("registry", "registry")
        floor, floor_port = taglock.make_floor()
        try:
            taglock.start(floor)
            checks = Checks(taglock.site_port, floor_port, token)
            checks.lock_tags(options.clients)
            postgresql = {"PostgreSQL": statements.postmaster}
            with Clients(options.clients) as clients:
                bench = Bench(
                    clients,
                    statements,
                    {"view": floor.pid, **postgresql},
                    {"site": taglock.site.pid, **postgresql},
                )
                rows = {row.name: row for row in checks.make_rows()}
                print_rows(bench, rows, choose(list(rows), options.row), options.seconds)
        finally:
            taglock.stop()


class Checks:
    """The checks to measure, and their floors."""

    def __init__(self, port: int, floor_port: int, token: str) -> None:
        self._port = port
        self._floor_port = floor_port
        self._authorization = f"Bearer {token}"

    def lock_tags(self, clients: int) -> None:
        """Lock a tag for each client. Raises WrongAnswerError."""
        connection = Connection(self._port)
        for client in range(clients):
            check = self._check("v0.{client}", "locked_now", _LOCKED)
            check.perform(connection, make_number(client, 0))
        connection.close()

    def make_rows(self) -> Iterator[Row]:
        """Yield the rows."""
        read, write = (make_floor_call(self._floor_port, name) for name in ("read", "write"))
        yield Row("dry run", read, self._check("v1.{number}", "free", dry_run=True))
        yield Row("unprotected", read, self._check("branch-{client}", "unprotected"))
        yield Row("unchanged", read, self._check("v0.{client}", "unchanged", _LOCKED))
        yield Row("locked_now", write, self._check("v2.{number}", "locked_now"))
        yield Row("refused", write, self._check("v0.{client}", "locked"))
        yield Row("refused, again", write, self._check("v0.{client}", "locked", _OTHER))

    def _check(self, tag: str, outcome: str, image: str = "", **more: object) -> Call:
        """Return the check of a push of a new image, or of always the same one."""
        body = _make_body(tag, image, actor="dana", **more)
        request = make_request(
            "POST", _PATH, authorization=self._authorization, body=body, more=_JSON
        )
        return Call(self._port, request, 200, f'"outcome":"{outcome}"'.encode())


def make_floor_call(port: int, name: str, lock: str = "v0.{client}") -> Call:
    """Return the call of a view of floors.py, by a tag that has a lock or not."""
    request = make_request("POST", f"/{name}", body=_make_body(lock, ""), more=_JSON)
    return Call(port, request, 200, b'"lock":')


def _make_body(tag: str, image: str, **more: object) -> bytes:
    """Return a question. `image` is a hexadecimal digit, or empty for a new image each time."""
    digest = image * 64 or NUMBER.decode().rjust(64, "0")
    tag = tag.format(number=NUMBER.decode(), client=CLIENT.decode())
    question = {"repository": REPOSITORY, "tag": tag, "digest": f"sha256:{digest}"}
    return json.dumps({**question, **more}).encode()


if __name__ == "__main__":
    sys.exit(main())
