"""The pool of connections to the database."""

from django.db import connection


def release_database() -> None:
    """Give the database connection back to its pool, before something else is waited for.

    Within a transaction it stays, and if there is no pool there is nothing to give back.
    """
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        connection.close()
