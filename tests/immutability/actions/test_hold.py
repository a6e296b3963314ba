"""What release, free and delete have in common: when they wait, and when they change nothing."""

from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone

from containers.models import Tag as TagRecord
from immutability import patience
from immutability.actions.hold import LockChange
from immutability.errors import ConflictError, PermissionRevokedError, TryAgainError
from immutability.models import LockedTag
from immutability.policy.protection import LockState
from tests.conftest import AA, BB
from tests.immutability.actions.conftest import ACTIONS, Act
from tests.immutability.making import break_the_log, make_lock, put_in_flight, put_stray
from tests.immutability.registry_double import RegistryDouble, image
from tests.problems import nothing_written
from workspaces.access import Actor, ActorKind, Scope
from workspaces.actions.access_tokens import create_access_token, revoke_access_token
from workspaces.models import AccessToken, Membership, User, Workspace

# A state in which each action may be done.
STATES = {"release": "locked", "free": "reserved", "reserve": "locked", "delete and free": "locked"}
SOON = timedelta(minutes=12)


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]


@pytest.fixture(autouse=True)
def _nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "MAX_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(patience, "_SHORT_TURN_SECONDS", 0.0)


@pytest.fixture(params=[False, True], ids=["no registry", "registry"])
def registry(request: pytest.FixtureRequest) -> RegistryDouble | None:
    return RegistryDouble() if request.param else None


every_action = pytest.mark.parametrize("what", list(STATES))


@every_action
def test_a_push_in_flight_is_waited_for(
    acme: Workspace, act: Act, registry: RegistryDouble | None, what: str
) -> None:
    row = make_lock(acme, "v1", STATES[what])
    put_in_flight(row)
    with nothing_written(), pytest.raises(TryAgainError, match="is being pushed right now"):
        act(what, row, registry)


@every_action
@pytest.mark.parametrize("digest", [BB, ""], ids=["another image", "a delete"])
def test_a_foreign_stray_is_waited_for_and_the_answer_says_how_long(
    acme: Workspace, act: Act, registry: RegistryDouble | None, what: str, digest: str
) -> None:
    row = make_lock(acme, "v1", STATES[what])
    put_stray(row, timezone.now() + SOON, digest)
    with nothing_written(), pytest.raises(TryAgainError, match="Try again in 12 minutes") as caught:
        act(what, row, registry)
    assert 700 < caught.value.seconds <= 720


@every_action
def test_a_stray_of_the_same_image_is_not_waited_for(
    acme: Workspace, act: Act, registry: RegistryDouble | None, what: str
) -> None:
    row = make_lock(acme, "v1", STATES[what])
    put_stray(row, timezone.now() + SOON, AA)
    act(what, row, registry)
    assert TagRecord.objects.get().stray_digest in (AA, "")


@every_action
def test_a_stray_that_is_over_is_looked_at_first(acme: Workspace, act: Act, what: str) -> None:
    registry = RegistryDouble()
    digest = registry.store(image("one"), "v1")
    row = make_lock(acme, "v1", STATES[what], digest)
    if what == "free":
        registry.tags.clear()
    put_stray(row, timezone.now() - SOON)
    act(what, row, registry)
    assert TagRecord.objects.get().stray_until is None


@pytest.mark.parametrize("state", ["claimed", "deleting"])
@pytest.mark.parametrize("what", ["release", "free"])
def test_what_is_undecided_is_waited_for(acme: Workspace, act: Act, what: str, state: str) -> None:
    row = make_lock(acme, "v1", state)
    with nothing_written(), pytest.raises(TryAgainError, match="right now"):
        act(what, row)


@pytest.mark.parametrize("what", ["reserve", "delete and free"])
def test_a_delete_waits_for_another(acme: Workspace, act: Act, what: str) -> None:
    registry = RegistryDouble(is_down=True)
    row = make_lock(acme, "v1", "deleting")
    with pytest.raises(TryAgainError, match="is being deleted right now"):
        act(what, row, registry)
    assert LockedTag.objects.get().state == LockState.DELETING


@pytest.mark.parametrize(
    ("what", "state"),
    [
        *(("release", state) for state in ("reserved", "released")),
        *(("free", state) for state in ("locked", "released")),
    ],
)
def test_a_state_that_does_not_allow_it_is_named(
    acme: Workspace, act: Act, what: str, state: str
) -> None:
    row = make_lock(acme, "v1", state)
    with nothing_written(), pytest.raises(ConflictError) as caught:
        act(what, row)
    assert str(caught.value).endswith(f"This lock is now {state}; nothing was changed.")


@every_action
def test_what_was_agreed_to_in_another_state_is_not_done(
    acme: Workspace, act: Act, registry: RegistryDouble | None, what: str
) -> None:
    row = make_lock(acme, "v1", STATES[what])
    with nothing_written(), pytest.raises(ConflictError, match=f"This lock is now {row.state}; "):
        act(what, row, registry, expected_state="claimed")


@every_action
def test_an_admin_who_was_demoted_changes_nothing(
    acme: Workspace, act: Act, registry: RegistryDouble | None, what: str
) -> None:
    row = make_lock(acme, "v1", STATES[what])
    Membership.objects.update(role="member")
    with nothing_written(), pytest.raises(PermissionRevokedError):
        act(what, row, registry)


@every_action
def test_an_access_token_that_was_revoked_changes_nothing(acme: Workspace, what: str) -> None:
    create_access_token(acme, "deploy", [Scope.ADMIN], actor=Actor("a", ActorKind.SYSTEM))
    token = AccessToken.objects.get()
    actor = Actor("deploy", ActorKind.TOKEN, token_id=token.id)
    revoke_access_token(acme, token.id, actor=Actor("a", ActorKind.SYSTEM))
    row = make_lock(acme, "v1", STATES[what])
    with nothing_written(), pytest.raises(PermissionRevokedError):
        ACTIONS[what](LockChange(acme, row.id, "", actor), None)


@every_action
def test_a_lock_of_another_workspace_does_not_exist(
    globex: Workspace, mallory: User, act: Act, registry: RegistryDouble | None, what: str
) -> None:
    row = make_lock(globex, "v1", STATES[what])
    with nothing_written(), pytest.raises(LockedTag.DoesNotExist):
        act(what, row, registry)


@every_action
def test_what_cannot_be_recorded_does_not_happen(
    acme: Workspace, act: Act, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    row = make_lock(acme, "v1", STATES[what])
    break_the_log(monkeypatch)
    with nothing_written(), pytest.raises(DatabaseError, match="disk full"):
        act(what, row)
