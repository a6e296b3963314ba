"""What a push costs through the gate, beside the registry alone. See README.md."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from bench.command import Place, add_row_options, choose, make_parser, run
from bench.load import Clients
from bench.measure import Bench, Row, print_rows
from bench.requests import (
    CLIENT,
    LAYER_BYTES,
    LAYERS,
    NUMBER,
    Call,
    Connection,
    ImagePush,
    make_manifest,
    make_manifest_request,
    make_number,
)
from bench.statements import Statements

# The floor's repository is one that Taglock is never asked about.
REPOSITORY, FLOOR_REPOSITORY = "acme/app", "acme/floor"
_TOKEN_SECONDS = 8 * 60 * 60


def main() -> int:
    """Measure as the command line says."""
    parser = make_parser("push", __doc__)
    add_row_options(parser)
    options = parser.parse_args()
    return run(options, lambda place: _measure(place, options))


def _measure(place: Place, options: argparse.Namespace) -> None:
    from bench.taglock import Taglock  # noqa: PLC0415  (needs the settings above)

    taglock = Taglock(place, has_registry=True)
    with closing(taglock.prepare(options.locks)) as statements:
        try:
            taglock.start()
            _measure_rows(taglock, statements, options)
        finally:
            taglock.stop()


def _measure_rows(taglock: Any, statements: Statements, options: argparse.Namespace) -> None:
    cluster = taglock.cluster
    registry = {"registry": cluster.registry.pid}
    processes = {
        "gate": cluster.gates[0].pid,
        **registry,
        "PostgreSQL": statements.postmaster,
        "edge": cluster.edge.pid,
    }
    with Clients(options.clients) as clients:
        rows = {row.name: row for row in Pushes(taglock, options.clients).make_rows()}
        bench = Bench(clients, statements, registry, processes)
        print_rows(bench, rows, choose_with_needed(rows, options.row), options.seconds)


def choose_with_needed(rows: Mapping[str, Row], texts: list[str]) -> list[str]:
    """Return the names of the chosen rows, and of those that they come after."""
    chosen = choose(list(rows), texts)
    needed = {rows[name].after for name in chosen}
    return [name for name in rows if name in needed.union(chosen)]


def make_layers() -> list[bytes]:
    """Return the layers of every image but the whole ones, which bring their own."""
    return [bytes([number]) * LAYER_BYTES for number in range(LAYERS)]


class Pushes:
    """The pushes to measure, prepared: blobs are uploaded, and each client has a locked tag."""

    def __init__(self, taglock: Any, clients: int) -> None:
        from bench.taglock import PUSHER, find_user  # noqa: PLC0415  (as above)
        from tests.services.registry_user import Repository  # noqa: PLC0415  (as above)

        ports, account = taglock.cluster.ports, taglock.cluster.account(find_user(PUSHER))
        self._authorization: dict[str, str] = {}
        self._blobs: list[dict[str, object]] = []
        for port, name in ((ports.edge, REPOSITORY), (ports.registry, FLOOR_REPOSITORY)):
            token = account.sign(name, seconds=_TOKEN_SECONDS)
            self._authorization[name] = f"Bearer {token}"
            upload = Repository(port, name, account).upload
            self._blobs = [upload(b'{"os": "linux"}'), *map(upload, make_layers())]
        self._ports = {REPOSITORY: ports.edge, FLOOR_REPOSITORY: ports.registry}
        lock = self._put("v0.{client}", 201, same="image")
        connection = Connection(ports.edge)
        for client in range(clients):
            lock.perform(connection, make_number(client, 0))
        connection.close()

    def make_rows(self) -> Iterator[Row]:
        """Yield the rows, in the order in which they have to be measured."""
        floor = self._put("v{number}", 201, FLOOR_REPOSITORY)
        known = self._put("v2.{number}", 201, same="image")
        yield Row("first push", floor, self._put("v1.{number}", 201))
        yield Row("first push, manifest is there", floor, known)
        yield Row("unprotected, tag moves", floor, self._put("branch-{client}", 201))
        yield Row("unprotected, new tag", floor, self._put("build-{number}", 201))
        yield Row("identical", floor, known, after="first push, manifest is there")
        yield Row("identical, again", floor, self._put("v0.{client}", 201, same="image"))
        yield Row("refused", floor, self._put("v0.{client}", 403))
        yield Row("refused, again", floor, self._put("v0.{client}", 403, same="other image"))
        image_floor = self._push_image("v3.{number}", FLOOR_REPOSITORY)
        yield Row("whole image, covered", image_floor, self._push_image("v3.{number}"))
        yield Row("whole image, uncovered", image_floor, self._push_image("build-3.{number}"))

    def _put(self, tag: str, status: int, repository: str = REPOSITORY, same: str = "") -> Call:
        """Return the push of a small manifest: a new one each time, or always the same."""
        tag = tag.format(number=NUMBER.decode(), client=CLIENT.decode())
        mark = same or f"{tag} {NUMBER.decode()}"
        body = make_manifest(self._blobs[0], self._blobs[1:], mark=mark)
        request = make_manifest_request(repository, tag, body, self._authorization[repository])
        return Call(self._ports[repository], request, status)

    def _push_image(self, tag: str, repository: str = REPOSITORY) -> ImagePush:
        tag = tag.format(number=NUMBER.decode())
        return ImagePush(self._ports[repository], repository, tag, self._authorization[repository])


if __name__ == "__main__":
    sys.exit(main())
