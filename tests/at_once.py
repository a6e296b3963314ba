"""Many calls at the same moment, each in a thread with a database connection of its own."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import connection

Result = TypeVar("Result")

# How many calls a race has.
THREADS = 16
WAIT_SECONDS = 60


def at_once(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run all of `calls` at once, and return their results.

    All have a connection before the first starts. What one raises, "the database is locked" or a
    deadlock included, is raised here.
    """
    barrier = threading.Barrier(len(calls))
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    def run(number: int, call: Callable[[], Result]) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(WAIT_SECONDS)
            results[number] = call()
        except BaseException as error:
            errors.append(error)
            barrier.abort()
        finally:
            connection.close()

    # So that the pool has as many connections as there are threads.
    connection.close()
    threads = [
        threading.Thread(target=run, args=(number, call), daemon=True)
        for number, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert not any(thread.is_alive() for thread in threads), "a thread waits forever"
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(calls))]
