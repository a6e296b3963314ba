"""How many statements a push and a check take: nobody adds one without noticing."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from immutability.policy.protection import Protection
from tests.conftest import is_postgresql
from tests.immutability.checks import Checks
from tests.immutability.core import Core, named
from tests.immutability.registry_double import image, index

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("kept_core"),
]

ONE, TWO, THREE = (named(name, image(name)) for name in ("one", "two", "three"))
# An event with its counter: in one statement, where the database can do that.
FIRST_OF_REPEATS = 1 if is_postgresql() else 2
# What is written together is one statement: a lock and its record; that with push and event.
CLAIMED = 1 if is_postgresql() else 2
LANDED = 1 if is_postgresql() else 2
LOCKED = 1 if is_postgresql() else 4
LOCKED_NOW = 1 if is_postgresql() else 3
LIST = named("list", index(ONE, TWO))


def count(call: Callable[[], str]) -> tuple[str, int]:
    """Return what the client is told, and how many statements that took."""
    with CaptureQueriesContext(connection) as queries:
        told = call()
    kinds = [each["sql"].partition(" ")[0] for each in queries]
    return told, sum(kind in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH") for kind in kinds)


def test_statements_of_a_push(core: Core) -> None:
    core.push("v0", image=THREE)
    counts = {
        "first": count(lambda: core.push("v1", image=ONE)),
        "manifest is there": count(lambda: core.push("v2", image=ONE)),
        "identical": count(lambda: core.push("v1", image=ONE)),
        "identical again": count(lambda: core.push("v1", image=ONE)),
        "refused": count(lambda: core.push("v1", image=TWO)),
        "refused again": count(lambda: core.push("v1", image=TWO)),
        "two tags": count(lambda: core.push("v3", "v4", image=ONE)),
    }
    assert counts == {
        # Read; manifest, record, policy, claim and record; records, then all that has landed.
        "first": ("201", 5 + CLAIMED + LOCKED),
        "manifest is there": ("201", 5 + CLAIMED + LOCKED),
        # Read, read again after the registry was asked; count, event.
        "identical": ("201", 3 + FIRST_OF_REPEATS),
        "identical again": ("201", 3),
        # Read; count, event.
        "refused": ("403 locked", 2 + FIRST_OF_REPEATS),
        "refused again": ("403 locked", 2),
        # What follows is written tag by tag.
        "two tags": ("201", 5 + 2 * (CLAIMED + LOCKED)),
    }


def test_statements_of_an_unprotected_push(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push("latest", image=THREE)
    counts = {
        "new tag": count(lambda: core.push("edge", image=ONE)),
        "tag moves": count(lambda: core.push("latest", image=ONE)),
    }
    assert counts == {"new tag": ("201", 7 + LANDED), "tag moves": ("201", 7 + LANDED)}


def test_statements_of_a_push_do_not_grow_with_what_an_index_lists(core: Core) -> None:
    core.push("one", image=ONE)
    core.push("two", image=TWO)
    told, few = count(lambda: core.push("v1", image=LIST))
    long = named("long", index(*(named(f"i{n}", image(f"i{n}")) for n in range(30))))
    for number in range(30):
        core.push(f"i{number}", image=image(f"i{number}"))
    assert (told, few) == count(lambda: core.push("v2", image=long))


def test_statements_of_a_check(core: Core) -> None:
    checks = Checks(core)
    checks.push("v0", image=THREE)
    counts = {
        "locked now": count(lambda: checks.push("v1", image=ONE)),
        "unchanged": count(lambda: checks.push("v1", image=ONE)),
        "unchanged again": count(lambda: checks.push("v1", image=ONE)),
        "refused": count(lambda: checks.push("v1", image=TWO)),
        "refused again": count(lambda: checks.push("v1", image=TWO)),
    }
    core.let_pass(seconds=61)
    counts["unchanged later"] = count(lambda: checks.push("v1", image=ONE))
    assert counts == {
        "locked now": ("locked_now", 4 + LOCKED_NOW),
        # Until its stray has to end later, a check that is repeated reads, and counts its event.
        "unchanged": ("unchanged", 2 + FIRST_OF_REPEATS),
        "unchanged again": ("unchanged", 2),
        "unchanged later": ("unchanged", 6),
        "refused": ("locked", 2 + FIRST_OF_REPEATS),
        "refused again": ("locked", 2),
    }
