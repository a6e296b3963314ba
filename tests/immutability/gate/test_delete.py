"""Deletes through the gate: nothing that is locked is lost, and nothing locked is hollowed out."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from immutability.actions.manage import NameAfter, delete_locked_tag
from immutability.actions.resolve import resolve_attempts

from containers.models import Manifest
from immutability.models import Attempt
from immutability.protection import Policy, PolicyRule, Protection
from tests.conftest import SEMVER
from tests.immutability.actions.asking import (
    break_the_log,
    lock_of,
    standing_lock,
    tag_event_kinds,
    tag_events,
)
from tests.immutability.gate.left_behind import age_attempts, open_attempts
from tests.immutability.gate.upstream import (
    INDEX_TYPE,
    TIMEOUT,
    GateClient,
    Upstream,
    answer,
    digest_of,
    error_of,
    image,
    index,
    is_undecided,
    lands_late,
    message_of,
)
from tests.services.accounts import make_pusher
from workspaces.access import SYSTEM
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")
PLATFORMS = index(ONE, TWO)
NESTED = index(PLATFORMS)

UNKNOWN_ENDS = [
    pytest.param(TIMEOUT, id="timeout"),
    pytest.param(lands_late, id="landed, answer lost"),
    *(pytest.param(answer(status), id=str(status)) for status in (408, 425, 429, 500, 503)),
]


def _push_index(gate: GateClient, tag: str = "v1") -> None:
    for each in (ONE, TWO):
        assert gate.push(digest_of(each), each).status_code == 201
    assert gate.push(tag, PLATFORMS, media_type=INDEX_TYPE).status_code == 201


def _resolve(upstream: Any) -> int:
    return resolve_attempts(upstream, Attempt.objects.all())


# What no lock holds.


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_what_is_not_protected_is_deleted(
    acme: Workspace, gate: GateClient, upstream: Upstream, target: str
) -> None:
    gate.push("v1", ONE)
    response = gate.delete(target)
    assert (response.status_code, response.content) == (202, b"")
    assert upstream.sent("DELETE") == [target]
    assert upstream.tags == {}
    assert open_attempts() == 0


def test_an_image_without_a_tag_is_deleted_where_all_tags_are_protected(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    gate.push(digest_of(TWO), TWO)
    assert gate.delete(digest_of(TWO)).status_code == 202
    assert upstream.tags == {"v1": digest_of(ONE)}


def test_a_deleted_unprotected_tag_can_be_pushed_once_it_is_protected(
    acme: Workspace, protect: Protect, gate: GateClient
) -> None:
    gate.push("v1", ONE)
    gate.delete(digest_of(ONE))
    protect(acme, Protection.ALL)
    assert gate.push("v1", TWO).status_code == 201


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_suspended_lock_ends_with_its_tag(
    protected: Workspace, protect: Protect, gate: GateClient, target: str
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    assert gate.delete(target).status_code == 202
    assert lock_of(protected, "v1") is None
    assert tag_event_kinds(protected)[-1] == "lock.ended"


def test_a_suspended_lock_outlives_a_delete_that_the_registry_refuses(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("DELETE", answer(405, "UNSUPPORTED"))
    assert error_of(gate.delete("v1")) == (405, "UNSUPPORTED")
    assert standing_lock(protected, "v1").state == "locked"
    assert open_attempts() == 0


def test_what_the_registry_does_not_have_is_said_in_its_own_words(
    acme: Workspace, gate: GateClient
) -> None:
    assert error_of(gate.delete(digest_of(ONE))) == (404, "MANIFEST_UNKNOWN")
    assert open_attempts() == 0


def test_a_reserved_name_stays_reserved(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    row = standing_lock(protected, "v1")
    delete_locked_tag(protected, row.id, NameAfter.RESERVE, "", actor=SYSTEM)
    assert gate.delete(digest_of(ONE)).status_code == 202
    assert standing_lock(protected, "v1").state == "reserved"
    assert error_of(gate.push("v1", TWO)) == (403, "DENIED")


def test_unknown_query_keys_are_ignored(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    assert gate.delete("v1", query="tag=v2&x=%00").status_code == 202
    assert upstream.sent("DELETE") == ["v1"]


# What a lock holds.


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_locked_tag_is_not_deleted(
    protected: Workspace, gate: GateClient, upstream: Upstream, target: str
) -> None:
    gate.push("v1", ONE)
    refused = gate.delete(target)
    assert error_of(refused) == (403, "DENIED")
    assert "cannot be deleted because the tag is immutable" in message_of(refused)
    assert message_of(refused).endswith(tag_events(protected)[-1].ref)
    assert tag_event_kinds(protected) == ["tag.locked", "delete.refused"]
    assert upstream.sent("DELETE") == []
    assert open_attempts() == 0


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_refusal_names_what_covers_the_tag_now(
    protected: Workspace, protect: Protect, gate: GateClient, target: str
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.SOME, PolicyRule("Renamed", "^v"))
    for refused in (gate.delete(target), gate.push("v1", TWO)):
        assert ' by rule "Renamed" (pushed by ' in message_of(refused)


def test_a_digest_with_one_locked_tag_among_others_is_not_deleted(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    gate.push("latest", ONE)
    gate.push("v1.0.0", ONE)
    assert error_of(gate.delete(digest_of(ONE))) == (403, "DENIED")
    assert gate.delete("latest").status_code == 202
    assert upstream.tags == {"v1.0.0": digest_of(ONE)}


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_tag_from_before_the_protection_is_covered_the_moment_it_is_saved(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream, target: str
) -> None:
    """Nobody has pushed it since, so it has no lock yet: that is no leave to delete it."""
    gate.push("v1", ONE)
    protect(acme, Protection.ALL)
    assert gate.delete(target).status_code in (403, 503)
    assert upstream.tags == {"v1": digest_of(ONE)}


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_tag_from_before_taglock_is_covered_the_moment_it_is_saved(
    protected: Workspace, gate: GateClient, upstream: Upstream, target: str
) -> None:
    upstream.store(ONE, "v1")
    assert gate.delete(target).status_code in (403, 503)
    assert upstream.tags == {"v1": digest_of(ONE)}


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_tag_whose_first_push_is_under_way_is_not_deleted(
    protected: Workspace, gate: GateClient, upstream: Upstream, target: str
) -> None:
    upstream.script("PUT", lands_late)
    gate.push("v1", ONE)
    response = gate.delete(target)
    assert error_of(response) == (503, "UNAVAILABLE")
    assert response["Retry-After"].isdigit()
    assert upstream.sent("DELETE") == []


def test_a_lock_that_appears_meanwhile_stops_the_delete(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.store(ONE)
    pushed: list[int] = []
    create = Attempt.objects.create

    def push_first(**values: Any) -> Attempt:
        if values["kind"] == Attempt.Kind.DELETE and not pushed:
            pushed.append(gate.push("v1", ONE).status_code)
        return create(**values)

    monkeypatch.setattr(Attempt.objects, "create", push_first)
    assert error_of(gate.delete(digest_of(ONE)))[0] in (403, 503)
    assert pushed == [201]
    assert upstream.sent("DELETE") == []
    assert open_attempts() == 0


def test_settings_saved_between_decision_and_sending_are_heeded(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    gate.push("v2", TWO)
    seen: list[Policy] = []
    create = Attempt.objects.create

    def protect_first(**values: Any) -> Attempt:
        if not seen:
            seen.append(protect(protected, Protection.ALL))
        return create(**values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attempt.objects, "create", protect_first)
        assert error_of(gate.delete("v1")) == (403, "DENIED")
    assert seen
    assert upstream.sent("DELETE") == []
    assert standing_lock(protected, "v1").state == "locked"


def test_a_lock_of_another_workspace_is_nothing_to_this_one(
    protected: Workspace, globex: Workspace, gate: GateClient
) -> None:
    gate.push("v1", ONE)
    make_pusher(globex)
    assert gate.delete(digest_of(ONE), repository="globex/api").status_code == 202


# What a locked index lists.


@pytest.mark.parametrize("child", [ONE, TWO])
def test_the_child_of_a_locked_index_is_not_deleted(
    protected: Workspace, gate: GateClient, upstream: Upstream, child: bytes
) -> None:
    _push_index(gate)
    refused = gate.delete(digest_of(child))
    assert error_of(refused) == (403, "DENIED")
    assert "its index" in message_of(refused)
    assert tag_event_kinds(protected) == ["tag.locked", "delete.refused"]
    assert upstream.sent("DELETE") == []


def test_nor_is_a_child_at_any_depth(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    for each, media_type in ((ONE, ""), (TWO, ""), (PLATFORMS, INDEX_TYPE)):
        gate.push(digest_of(each), each, media_type=media_type or "application/json")
    gate.push("v1", NESTED, media_type=INDEX_TYPE)
    for each in (ONE, PLATFORMS):
        assert error_of(gate.delete(digest_of(each))) == (403, "DENIED")
    assert upstream.sent("DELETE") == []


def test_the_child_of_a_suspended_index_is_deleted(
    protected: Workspace, protect: Protect, gate: GateClient
) -> None:
    _push_index(gate)
    protect(protected, Protection.NONE)
    assert gate.delete(digest_of(ONE)).status_code == 202


def test_the_child_of_an_index_without_a_lock_is_deleted(
    acme: Workspace, protect: Protect, gate: GateClient
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    _push_index(gate, tag="latest")
    assert gate.delete(digest_of(ONE)).status_code == 202


def test_a_locked_manifest_that_was_never_read_is_fetched(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    _push_index(gate)
    Manifest.objects.all().delete()
    gate.push(digest_of(image("three")), image("three"))
    assert gate.delete(digest_of(image("three"))).status_code == 202
    assert digest_of(PLATFORMS) in upstream.sent("GET")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(TIMEOUT, id="outage"),
        pytest.param(answer(404, "MANIFEST_UNKNOWN"), id="absent"),
        pytest.param(answer(500), id="500"),
        pytest.param(answer(200, body=b"no JSON"), id="unreadable"),
        pytest.param(answer(200, body=b'{"manifests": [{}]}'), id="a child without a digest"),
    ],
)
def test_where_a_locked_manifest_cannot_be_read_nothing_is_deleted(
    protected: Workspace, gate: GateClient, upstream: Upstream, said: Any
) -> None:
    _push_index(gate)
    Manifest.objects.all().delete()
    upstream.store(image("three"))
    upstream.script("GET", said)
    assert is_undecided(gate.delete(digest_of(image("three"))))
    assert upstream.sent("DELETE") == []
    assert open_attempts() == 0


# The end of a delete is unknown.


@pytest.mark.parametrize("end", UNKNOWN_ENDS)
@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_an_unknown_end_leaves_the_delete_open(
    acme: Workspace, gate: GateClient, upstream: Upstream, end: Any, target: str
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", end)
    assert is_undecided(gate.delete(target))
    attempt = Attempt.objects.get(kind=Attempt.Kind.DELETE)
    assert (attempt.outcome, attempt.sent_at is not None) == ("open", True)
    assert upstream.sent("DELETE") == [target]


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_push_that_needs_what_is_being_deleted_waits(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream, target: str
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", TIMEOUT, TIMEOUT)
    gate.delete(target)
    protect(acme, Protection.ALL)
    assert is_undecided(gate.push("v1", ONE))
    assert len(upstream.sent_by_tag) == 1
    assert lock_of(acme, "v1") is None


def test_an_index_whose_child_is_being_deleted_waits(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    for each in (ONE, TWO):
        gate.push(digest_of(each), each)
    upstream.script("DELETE", TIMEOUT, TIMEOUT)
    gate.delete(digest_of(ONE))
    assert is_undecided(gate.push("v1", PLATFORMS, media_type=INDEX_TYPE))
    assert upstream.sent_by_tag == []


def test_an_index_waits_for_the_delete_of_a_child_at_any_depth(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    for each in (ONE, TWO):
        gate.push(digest_of(each), each)
    gate.push(digest_of(PLATFORMS), PLATFORMS, media_type=INDEX_TYPE)
    upstream.script("DELETE", TIMEOUT, TIMEOUT)
    gate.delete(digest_of(ONE))
    assert is_undecided(gate.push("v1", NESTED, media_type=INDEX_TYPE))
    assert upstream.sent_by_tag == []


def test_an_existing_index_is_not_adopted_while_its_child_is_being_deleted(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    _push_index(gate)
    upstream.script("DELETE", TIMEOUT, TIMEOUT)
    gate.delete(digest_of(ONE))
    protect(acme, Protection.ALL)
    assert is_undecided(gate.push("v1", image("three")))
    assert lock_of(acme, "v1") is None


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_push_that_meets_a_delete_with_an_unknown_end_resolves_it(
    acme: Workspace, gate: GateClient, upstream: Upstream, target: str
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", TIMEOUT)
    gate.delete(target)
    # The delete that had no answer may still land, and would take what is pushed now.
    assert is_undecided(gate.push("v1", ONE))
    assert upstream.sent("DELETE") == [target, target]
    assert open_attempts() == 0
    age_attempts(16)
    assert gate.push("v1", ONE).status_code == 201
    assert upstream.tags == {"v1": digest_of(ONE)}


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_delete_of_what_is_covered_by_now_is_not_repeated(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream, target: str
) -> None:
    """There is no lock yet: a tag is covered from the moment the settings are saved."""
    gate.push("v1", ONE)
    upstream.script("DELETE", TIMEOUT)
    gate.delete(target)
    protect(acme, Protection.ALL)
    assert is_undecided(gate.push("v1", TWO))
    age_attempts(16)
    assert gate.push("v1", TWO).status_code == 403
    assert upstream.sent("DELETE") == [target]
    assert upstream.tags == {"v1": digest_of(ONE)}
    assert standing_lock(acme, "v1").state == "locked"
    assert open_attempts() == 0


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_delete_under_older_settings_is_not_repeated_where_the_lock_holds_again(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream, target: str
) -> None:
    """What was decided under one version must not be sent under the next."""
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("DELETE", TIMEOUT)
    gate.delete(target)
    protect(protected, Protection.ALL)
    assert _resolve(upstream) == 0
    assert is_undecided(gate.push("v1", TWO))
    age_attempts(16)
    assert _resolve(upstream) == 1
    assert upstream.sent("DELETE") == [target]
    assert upstream.tags == {"v1": digest_of(ONE)}
    assert standing_lock(protected, "v1").state == "locked"
    assert open_attempts() == 0


@pytest.mark.parametrize("target", ["v1", digest_of(ONE)])
def test_a_delete_under_older_settings_that_did_land_ends_the_lock(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream, target: str
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("DELETE", lands_late)
    gate.delete(target)
    protect(protected, Protection.ALL)
    age_attempts(16)
    assert _resolve(upstream) == 1
    assert lock_of(protected, "v1") is None
    assert tag_event_kinds(protected)[-1] == "lock.ended"
    assert gate.push("v1", TWO).status_code == 201


# Failures of our own.


def test_a_database_that_cannot_be_read_stops_the_delete(
    acme: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.push("v1", ONE)

    def fail(*args: Any) -> Policy:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr("immutability.actions.delete_manifest.read_policy", fail)
    assert is_undecided(gate.delete("v1"))
    assert upstream.sent("DELETE") == []


def test_a_refusal_that_cannot_be_logged_is_a_try_again(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.push("v1", ONE)
    break_the_log(monkeypatch)
    assert is_undecided(gate.delete("v1"))
    assert upstream.sent("DELETE") == []
