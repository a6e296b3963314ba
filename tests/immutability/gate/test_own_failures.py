"""Pushes while the log cannot be written or the database fails."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F

from immutability.models import Attempt
from tests.immutability.actions.asking import (
    break_the_log,
    lock_of,
    tag_event_kinds,
)
from tests.immutability.gate.left_behind import open_attempts, state_of
from tests.immutability.gate.upstream import (
    GateClient,
    Upstream,
    digest_of,
    error_of,
    image,
    is_undecided,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE, TWO = image("one"), image("two")


def test_an_identical_push_that_cannot_be_logged_is_not_allowed(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.push("v1", ONE)
    upstream.calls.clear()
    break_the_log(monkeypatch)
    assert is_undecided(gate.push("v1", ONE))
    assert upstream.calls == []


def test_a_refusal_that_cannot_be_logged_is_a_try_again(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.push("v1", ONE)
    upstream.calls.clear()
    break_the_log(monkeypatch)
    assert is_undecided(gate.push("v1", TWO))
    assert upstream.calls == []


def test_an_adoption_that_cannot_be_logged_changes_nothing(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.store(ONE, "v1")
    break_the_log(monkeypatch)
    assert is_undecided(gate.push("v1", TWO))
    assert upstream.sent() == []
    assert lock_of(protected, "v1") is None
    assert open_attempts() == 0


def test_a_first_push_that_cannot_be_logged_is_not_answered_with_a_yes(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        break_the_log(broken)
        assert is_undecided(gate.push("v1", ONE))
    assert state_of(protected) == ("claimed", digest_of(ONE))
    assert error_of(gate.push("v1", TWO))[0] in (403, 503)
    assert gate.push("v1", ONE).status_code == 201
    assert tag_event_kinds(protected)[0] == "tag.locked"
    assert state_of(protected) == ("locked", digest_of(ONE))


def _break_statements(first: int, *, for_ever: bool) -> tuple[Callable[..., Any], list[str]]:
    """Return a wrapper that lets statement `first` fail, or all from there on, and a list of them.

    The statements that end a transaction or undo it work: those are the server's doing too.
    """
    seen: list[str] = []

    def fail(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        if "SAVEPOINT" not in sql:
            seen.append(sql)
            if len(seen) == first or (for_ever and len(seen) > first):
                raise OperationalError("the connection is lost")
        return execute(sql, *args)

    return fail, seen


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_a_database_that_fails_at_any_statement_lets_nothing_through_unlocked(
    protected: Workspace, gate: GateClient, upstream: Upstream, *, for_ever: bool
) -> None:
    for first in range(1, 200):
        fail, seen = _break_statements(first, for_ever=for_ever)
        tag = f"v{first}"
        with connection.execute_wrapper(fail):
            response = gate.push(tag, ONE)
        if len(seen) < first:
            assert response.status_code == 201
            break
        # A failure after everything was settled may go unnoticed, and only then.
        if response.status_code == 201:
            assert state_of(protected, tag) == ("locked", digest_of(ONE)), seen[first - 1]
        else:
            assert is_undecided(response), seen[first - 1]
        if tag in upstream.tags:
            assert lock_of(protected, tag) is not None, seen[first - 1]
        if tag in upstream.tags:
            assert gate.push(tag, TWO).status_code in (403, 503), seen[first - 1]
        # As if the time of the sender were over.
        Attempt.objects.update(expires_at=F("opened_at"))
        after = gate.push(tag, ONE)
        assert state_of(protected, tag) == ("locked", upstream.tags[tag]), seen[first - 1]
        assert after.status_code in (201, 403)
    else:
        pytest.fail("a push takes fewer statements than that")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", [ONE, TWO], ids=["same image", "other image"])
def test_a_database_that_fails_never_lets_a_locked_tag_move(
    protected: Workspace, gate: GateClient, upstream: Upstream, body: bytes
) -> None:
    gate.push("v1", ONE)
    upstream.calls.clear()
    for first in range(1, 200):
        fail, seen = _break_statements(first, for_ever=False)
        with connection.execute_wrapper(fail):
            response = gate.push("v1", body)
        assert not upstream.sent_by_tag
        if len(seen) < first:
            break
        assert is_undecided(response) or response.status_code == (201 if body == ONE else 403)
