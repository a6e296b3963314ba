"""Pushes and deletes while the log, the database, a rule or the key files fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection

from containers.registry.exchange import Cause, RegistryUnavailableError
from immutability.models import TagException
from immutability.policy.patterns import PatternEvaluationError
from immutability.policy.protection import PolicyRule, Protection
from packages_site import request_log
from tests.conftest import CACHES, LATEST
from tests.immutability.core import Core, named
from tests.immutability.gate.client import GateClient, is_undecided, message_of
from tests.immutability.making import break_the_log
from tests.immutability.registry_double import NO_ANSWER, digest_of, image

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

ONE, TWO = named("one", image("one")), named("two", image("two"))
MAX_STATEMENTS = 200


# ---- the log ---------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [ONE, TWO], ids=["identical", "refused"])
def test_what_cannot_be_logged_is_not_answered(
    core: Core, gate: GateClient, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    gate.push("v1", ONE)
    core.registry.calls.clear()
    break_the_log(monkeypatch)
    assert is_undecided(gate.push("v1", body))
    assert is_undecided(gate.delete("v1"))
    assert core.registry.sent() == []


def test_an_adoption_that_cannot_be_logged_changes_nothing(
    core: Core, gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    core.registry.store(ONE, "v1")
    break_the_log(monkeypatch)
    assert is_undecided(gate.push("v1", TWO))
    assert core.registry.sent() == []
    assert core.lock() == "none"


def test_a_first_push_that_cannot_be_logged_is_finished_later(
    core: Core, gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        break_the_log(broken)
        assert is_undecided(gate.push("v1", ONE))
    assert (core.lock(), core.shown()) == ("claimed one", "one")
    assert is_undecided(gate.push("v1", TWO))
    core.let_pass(seconds=6)
    assert gate.push("v1", ONE).status_code == 201
    assert (core.lock(), core.events()) == ("locked one", ["tag.locked"])


def test_a_delete_that_cannot_be_logged_is_finished_later(
    core: Core, admin_gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin_gate.push("v1", ONE)
    with monkeypatch.context() as broken:
        break_the_log(broken)
        assert is_undecided(admin_gate.delete("v1"))
    assert (core.lock(), core.shown()) == ("deleting one", "nothing")
    core.let_pass(minutes=17)
    core.reconcile()
    assert core.lock() == "reserved one"
    assert core.events() == ["tag.locked", "tag.deleted"]


# ---- rules and registry ----------------------------------------------------------------------


def test_a_rule_that_cannot_be_evaluated_is_no_answer(
    core: Core, gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    core.protect(Protection.SOME, PolicyRule("Versions", r"^v\d+$"))

    def fail(pattern: str) -> None:
        raise PatternEvaluationError("out of memory")

    monkeypatch.setattr("immutability.policy.protection.compile_pattern", fail)
    assert is_undecided(gate.push("feature-x", ONE))
    assert is_undecided(gate.delete("feature-x"))
    assert core.registry.sent() == []


@pytest.mark.parametrize("pattern", ["(", "(?!x)"])
def test_an_exception_that_cannot_be_evaluated_is_no_answer(
    core: Core, gate: GateClient, pattern: str
) -> None:
    core.protect(exceptions=(CACHES, LATEST))
    TagException.objects.filter(name=CACHES.name).update(pattern=pattern)
    for tag in ("latest", "v1"):
        assert is_undecided(gate.push(tag, ONE))
        assert is_undecided(gate.delete(tag))
    assert core.registry.sent() == []
    assert core.events() == []


@pytest.mark.parametrize("reference", ["v1", "v2"], ids=["identical", "first"])
def test_a_registry_that_is_away_is_a_try_again(
    core: Core, gate: GateClient, reference: str
) -> None:
    gate.push("v1", ONE)
    core.registry.is_down = True
    assert is_undecided(gate.push(reference, ONE))
    core.registry.is_down = False
    assert gate.push(reference, ONE).status_code == 201


def test_an_unprotected_push_without_an_answer_is_a_try_again(core: Core, gate: GateClient) -> None:
    core.protect(Protection.NONE)
    core.registry.script("PUT", NO_ANSWER)
    assert is_undecided(gate.push("v1", ONE))


@pytest.mark.parametrize("call", ["HEAD v1", f"PUT {digest_of(ONE)}", "PUT v1", "DELETE v1"])
def test_clients_are_not_told_where_the_registry_is_but_the_log_is(
    core: Core, admin_gate: GateClient, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    lost = RegistryUnavailableError("PUT: HTTPConnectionPool(10.0.0.7)", cause=Cause.TOO_LATE)
    if call.startswith("DELETE"):
        admin_gate.push("v1", ONE)
    core.registry.script(call, lost)
    send = admin_gate.delete("v1") if call.startswith("DELETE") else admin_gate.push("v1", ONE)
    assert is_undecided(send)
    assert "the registry did not answer in time. Try again." in message_of(send)
    assert b"10.0.0.7" not in send.content
    (line,) = [each for each in caplog.records if each.name == request_log.__name__]
    assert line.fields["detail"] == str(lost)  # type: ignore[attr-defined]


# ---- the database ----------------------------------------------------------------------------


@contextmanager
def failing_from(first: int, *, for_ever: bool) -> Iterator[list[str]]:
    """Let statement `first` fail, or all from there on; give a list of them.

    The statements that end a transaction or undo it work: those are the server's doing too.
    """
    seen: list[str] = []

    def fail(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        if "SAVEPOINT" not in sql:
            seen.append(sql)
            if len(seen) == first or (for_ever and len(seen) > first):
                raise OperationalError("the connection is lost")
        return execute(sql, *args)

    with connection.execute_wrapper(fail):
        yield seen


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_a_database_that_fails_at_any_statement_lets_nothing_through_unlocked(
    core: Core, gate: GateClient, *, for_ever: bool
) -> None:
    for first in range(1, MAX_STATEMENTS):
        tag = f"v{first}"
        with failing_from(first, for_ever=for_ever) as seen:
            told = gate.push(tag, ONE)
        if len(seen) < first:
            assert told.status_code == 201
            return
        at = seen[first - 1]
        # A failure after everything was settled may go unnoticed, and only then.
        if told.status_code == 201:
            assert core.lock(tag) == "locked one", at
        else:
            assert is_undecided(told), at
        if core.shown(tag) != "nothing":
            assert core.lock(tag) in ("claimed one", "locked one"), at
            assert gate.push(tag, TWO).status_code in (403, 503), at
        core.let_pass(minutes=1)
        assert gate.push(tag, ONE).status_code == 201, at
        assert (core.lock(tag), core.shown(tag)) == ("locked one", "one"), at
    pytest.fail("a push takes fewer statements than that")


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", [ONE, TWO], ids=["same image", "other image"])
def test_a_database_that_fails_never_lets_a_locked_tag_move(
    core: Core, gate: GateClient, body: bytes
) -> None:
    gate.push("v1", ONE)
    core.registry.calls.clear()
    for first in range(1, MAX_STATEMENTS):
        with failing_from(first, for_ever=False) as seen:
            told = gate.push("v1", body)
        assert core.registry.sent_by_tag == []
        if len(seen) < first:
            return
        assert is_undecided(told) or told.status_code == (201 if body == ONE else 403)
    pytest.fail("a push takes fewer statements than that")


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_database_that_fails_never_lets_a_deleted_name_go(
    core: Core, admin_gate: GateClient
) -> None:
    for first in range(1, MAX_STATEMENTS):
        tag = f"v{first}"
        admin_gate.push(tag, ONE)
        with failing_from(first, for_ever=False) as seen:
            told = admin_gate.delete(tag)
        if len(seen) < first:
            assert told.status_code == 202
            return
        at = seen[first - 1]
        assert told.status_code == 202 or is_undecided(told), at
        assert core.lock(tag) in ("locked one", "deleting one", "reserved one"), at
        core.let_pass(minutes=17)
        while core.reconcile(tag):
            pass
        expected = "locked one" if core.shown(tag) == "one" else "reserved one"
        assert core.lock(tag) == expected, at
        assert admin_gate.push(tag, TWO).status_code == 403, at
    pytest.fail("a delete takes fewer statements than that")
