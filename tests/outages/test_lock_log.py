"""The lock log cannot be written: nothing that it would have to record happens."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from immutability.models import LockedTag
from tests.conftest import AA, is_postgresql
from tests.outages.asking import (
    Person,
    assert_try_again,
    assert_undecided,
    read_json,
)
from tests.outages.conftest import end_leases
from tests.services.parts import wait_until
from tests.services.registry_user import Repository, digest_of
from workspaces.models import LockEvent

pytestmark = pytest.mark.cluster

BREAK: tuple[str, ...]
MEND: tuple[str, ...]
if is_postgresql():
    BREAK = (
        "CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the log is full'; END $$",
        "CREATE TRIGGER refuse_event BEFORE INSERT ON workspaces_lockevent "
        "FOR EACH ROW EXECUTE FUNCTION refuse_event()",
    )
    MEND = (
        "DROP TRIGGER refuse_event ON workspaces_lockevent",
        "DROP FUNCTION refuse_event",
    )
else:
    BREAK = (
        "CREATE TRIGGER refuse_event BEFORE INSERT ON workspaces_lockevent "
        "BEGIN SELECT RAISE(ABORT, 'the log is full'); END",
    )
    MEND = ("DROP TRIGGER refuse_event",)


@contextmanager
def _broken_log() -> Iterator[None]:
    _run(BREAK)
    try:
        yield
    finally:
        _run(MEND)


def _run(statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_without_the_log_no_push_is_allowed_and_none_is_refused_for_good(
    repository: Repository, person: Person
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    assert repository.put("v1.0.0", one).status == 201
    events = LockEvent.objects.count()
    with _broken_log():
        assert_try_again(repository.put("v1.0.0", two))
        assert_try_again(repository.put("v1.0.0", one))
        assert_try_again(repository.put("v1.1.0", two))
        assert_try_again(repository.delete(f"manifests/{digest_of(one)}"))
        assert_undecided(person.check_push(repository.name, "v3.0.0", AA))
        assert repository.read("v1.0.0") == digest_of(one)
        assert person.open("/acme/lock-log/").status == 200
    assert LockEvent.objects.count() == events
    # What had landed is settled by the one that comes next.
    assert repository.put("v1.1.0", two).status == 201
    assert repository.put("v1.0.0", two).status == 403
    assert repository.tags == {"v1.0.0": digest_of(one), "v1.1.0": digest_of(two)}
    kinds = LockEvent.objects.filter(repository=repository.name).order_by("id")
    assert [(event.kind, event.tag) for event in kinds] == [
        ("tag.locked", "v1.0.0"),
        ("tag.locked", "v1.1.0"),
        ("push.refused", "v1.0.0"),
    ]


def test_what_had_landed_is_recorded_once_the_log_can_be_written(repository: Repository) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    with _broken_log():
        assert_try_again(repository.put("v1.0.0", one))
    # It landed, and could not be settled.
    end_leases()
    wait_until(lambda: repository.put("v1.0.0", two).status == 403)
    assert LockedTag.objects.get(repository=repository.name).digest == digest_of(one)
    assert LockEvent.objects.filter(kind="tag.locked", tag="v1.0.0").count() == 1
    assert repository.tags == {"v1.0.0": digest_of(one)}


def test_without_the_log_no_setting_is_saved(person: Person, repository: Repository) -> None:
    path = "workspaces/acme/container-settings"
    before = person.call("GET", path)
    body = {"protection": "none", "rules": [], "suspend_locks": True}
    with _broken_log():
        refused = person.call("PUT", path, body, "If-Match: *\r\n")
        assert refused.status >= 400, refused
    assert read_json(person.call("GET", path)) == read_json(before)
    assert repository.put("v1.0.0", repository.make_image("one")).status == 201
    assert person.call("PUT", path, body, "If-Match: *\r\n").status == 200
