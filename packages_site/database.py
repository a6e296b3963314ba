"""PostgreSQL that is waited for only so long: a server that hangs must not hold pushes for ever."""

from typing import Any

import psycopg
from django.db import connection
from psycopg.abc import RV, PQGen
from psycopg.pq import ConnStatus, TransactionStatus


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is given up where the server says nothing for `patience_seconds`.

    A timeout at the server cannot do this: a server that stands still times nothing. What was under
    way is then undone by the server, or it is a commit of which nobody knows the end; attempts are
    made for that. Commands, such as migrations, may take long: they set no patience.
    """

    patience_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for the server. Raises OperationalError when patience ends."""
        try:
            return super().wait(
                gen, interval, self.patience_seconds if timeout is None else timeout
            )
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # The answer may still come, to whatever would be asked next.
                self.pgconn.finish()
            if self.pgconn.status == ConnStatus.BAD:
                # So are, most likely, those that wait in the pool: a restart breaks all of them.
                # The pool's own check replaces one after the other, with longer and longer pauses,
                # and gives up before it has found one that works.
                pool = getattr(connection, "pool", None)
                if pool is not None:
                    pool.drain()
            raise


def be_patient(seconds: float) -> None:
    """Give up, from now on in this process, what PostgreSQL does not answer within `seconds`."""
    PatientConnection.patience_seconds = seconds
