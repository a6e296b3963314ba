"""Finding tags where there are many, beside the first page of them. See README.md."""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from bench.command import Place, add_row_options, choose, make_parser, run
from bench.fill import TAGS_PER_REPOSITORY, fill_repository
from bench.load import Clients
from bench.measure import Bench, Row, print_rows
from bench.requests import Call, Connection, make_request, send_expecting

_LOCKS = 1_000_000
_PAGE, _LIST, _OVERVIEW = "/acme/locked-tags/", "/api/v1/workspaces/acme/locked-tags", "/acme/"
_REPOSITORY = "/acme/repositories/acme/big/"
_TAGS = "/api/v1/workspaces/acme/repositories/acme/big/tags"
_ROW_OF_PAGE, _ROW_OF_LIST = b'data-label="Digest"', b'"digest":'


def main() -> int:
    """Measure as the command line says."""
    parser = make_parser("pages", __doc__, _LOCKS)
    add_row_options(parser, seconds=10, clients=1)
    options = parser.parse_args()
    return run(options, lambda place: _measure(place, options))


def _measure(place: Place, options: argparse.Namespace) -> None:
    # Needs Django's settings, which are made above.
    from django.core.management import call_command  # noqa: PLC0415

    from bench.taglock import WORKSPACE, Taglock  # noqa: PLC0415

    taglock = Taglock(place, has_registry=False)
    with closing(taglock.prepare(options.locks)) as statements:
        fill_repository(WORKSPACE, options.locks)
        call_command("collectstatic", interactive=False, verbosity=0)
        finder = Finder(taglock, options.locks)
        try:
            taglock.start()
            processes = {"site": taglock.site.pid, "PostgreSQL": statements.postmaster}
            rows = {row.name: row for row in finder.make_rows()}
            with Clients(options.clients) as clients:
                bench = Bench(clients, statements, processes, processes)
                print_rows(bench, rows, choose(list(rows), options.row), options.seconds)
        finally:
            taglock.stop()


class Finder:
    """An admin's browser, and a program with an admin's access token."""

    def __init__(self, taglock: Any, locks: int) -> None:
        from django.test import Client  # noqa: PLC0415  (as above)

        from bench.taglock import ADMIN, find_user  # noqa: PLC0415  (as above)

        browser = Client()
        browser.force_login(find_user(ADMIN))
        cookie = "; ".join(f"{name}={each.value}" for name, each in browser.cookies.items())
        self._cookie = f"Cookie: {cookie}\r\n"
        self._authorization = f"Bearer {taglock.make_access_token('audit', 'audit')}"
        self._port = taglock.site_port
        self._locks = locks

    def make_rows(self) -> Iterator[Row]:
        """Yield the rows, each with the number of locks that it shows."""
        pages, lists = self._get(_PAGE), self._list(_LIST)
        for name, query in self._page_queries().items():
            yield self._row(name, pages, self._get(f"{_PAGE}?{query}"), _ROW_OF_PAGE)
        for name, query in self._list_queries().items():
            yield self._row(f"API, {name}", lists, self._list(f"{_LIST}?{query}"), _ROW_OF_LIST)
        tags = self._get(_REPOSITORY)
        for name, query in self._tag_queries().items():
            subject = self._get(f"{_REPOSITORY}?{query}")
            yield self._row(f"repository, {name}", tags, subject, _ROW_OF_PAGE)
        yield self._row("API, tags", lists, self._list(f"{_TAGS}?"), _ROW_OF_LIST)
        yield Row("overview", pages, self._get(_OVERVIEW))

    def _page_queries(self) -> dict[str, str]:
        middle = self._locks // 2
        repository = middle // TAGS_PER_REPOSITORY
        return {
            "first page": "",
            "text of every tag": "q=v1",
            "text of a repository": f"q=r{repository}",
            "text of one tag": f"q=v1.{middle}.0",
            "text of no tag": "q=no-such-thing",
            "locked": "state=locked",
            "released, one in a hundred": "state=released",
            "claimed, none": "state=claimed",
            "suspended, none": "state=suspended",
            "oldest first": "sort=oldest",
            "a digest": "q=sha256:" + hashlib.sha256(str(middle).encode()).hexdigest()[:12],
            "text of a repository, released": f"q=r{repository}&state=released",
            "far back": f"before={middle}",
            "far back, text of a repository": f"q=r{repository // 2}&before={middle}",
        }

    def _tag_queries(self) -> dict[str, str]:
        middle = self._locks // 2
        digest = hashlib.sha256(f"big{middle}".encode()).hexdigest()
        return {
            "first page": "",
            "by name": "sort=name",
            "far back": f"after=-{middle}",
            "far back by name": f"sort=name&after=build-{middle}",
            "text of every tag": "q=build",
            "text of no tag": "q=no-such-thing",
            "a digest": f"q=sha256:{digest[:12]}",
            "reserved, none": "state=reserved",
            "mutable": "state=mutable",
        }

    def _list_queries(self) -> dict[str, str]:
        middle = self._locks // 2
        repository = f"repository=acme/r{middle // TAGS_PER_REPOSITORY}"
        return {
            "first page": "",
            "a repository": repository,
            "a tag": f"tag=v1.{middle}.0",
            "a repository and tag": f"{repository}&tag=v1.{middle}.0",
            "text of no tag": "q=no-such-thing",
            "released, one in a hundred": "state=released",
        }

    def _row(self, name: str, floor: Call, subject: Call, mark: bytes) -> Row:
        connection = Connection(self._port)
        shown = send_expecting(connection, subject.request, 200).body.count(mark)
        connection.close()
        return Row(f"{name} ({shown})", floor, subject)

    def _get(self, target: str) -> Call:
        return Call(self._port, make_request("GET", target, more=self._cookie), 200, b"</html>")

    def _list(self, target: str) -> Call:
        request = make_request("GET", target, authorization=self._authorization)
        return Call(self._port, request, 200, b'"results":')


if __name__ == "__main__":
    sys.exit(main())
