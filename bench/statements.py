"""How many statements and commits a database has seen, as pg_stat_statements counts them."""

from collections import Counter

import psycopg

from bench.processor import find_parent

OPTIONS = "shared_preload_libraries = 'pg_stat_statements'\n"
_TRANSACTION_CONTROL = "^(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)"
_COUNT = """
SELECT
    coalesce(sum(s.calls) FILTER (WHERE s.query !~* %s), 0),
    coalesce(sum(s.calls) FILTER (WHERE s.query ~* '^COMMIT'), 0)
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = %s AND s.toplevel
"""
# Its own statements are in another database, and so not counted.
_OWN_DATABASE = "template1"


class Statements:
    """Counts what is done in the database at an address. `postmaster` is its server's process."""

    def __init__(self, url: str) -> None:
        server, _, self._name = url.rpartition("/")
        self._session = psycopg.connect(f"{server}/{_OWN_DATABASE}", autocommit=True)
        self._session.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self.postmaster = find_parent(self._session.info.backend_pid)

    def read(self) -> Counter[str]:
        """Return how many statements there were so far, and how many of them were COMMIT.

        What begins, ends or parts a transaction is not counted among the statements.
        """
        counted = self._session.execute(_COUNT, (_TRANSACTION_CONTROL, self._name))
        ((statements, commits),) = counted.fetchall()
        return Counter(statements=int(statements), commits=int(commits))

    def close(self) -> None:
        """End its own session."""
        self._session.close()
