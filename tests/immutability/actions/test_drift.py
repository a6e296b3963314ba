"""check_drift and sync_registry: where the registry and the locks say different things."""

import io
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command

from immutability.management.commands import check_drift, sync_registry
from immutability.models import LockedTag
from immutability.protection import Policy, Protection
from tests.conftest import SEMVER
from tests.immutability.gate.conftest import gate as gate
from tests.immutability.gate.conftest import protected as protected
from tests.immutability.gate.conftest import upstream as upstream
from tests.immutability.gate.upstream import (
    TIMEOUT,
    GateClient,
    Upstream,
    digest_of,
    image,
)
from workspaces.log.models import EventRepeat, LockEvent
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    for command in (check_drift, sync_registry):
        monkeypatch.setattr(command, "find_registry", lambda: upstream)


def _call(name: str, *arguments: str) -> tuple[int, str]:
    """Return the status and what was printed."""
    output = io.StringIO()
    try:
        call_command(name, *arguments, stdout=output)
    except SystemExit as end:
        return int(end.code or 0), output.getvalue()
    return 0, output.getvalue()


def test_where_all_is_well_nothing_is_found(protected: Workspace, gate: GateClient) -> None:
    gate.push("v1", ONE)
    assert _call("check_drift") == (0, "0 differences found.\n")
    assert not LockEvent.objects.filter(kind="drift.found").exists()


def test_every_difference_is_a_line_an_event_and_a_status(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    for tag in ("moved", "gone", "back"):
        gate.push(tag, ONE)
    LockedTag.objects.filter(tag="back").update(state="reserved")
    upstream.store(TWO, "moved", "new")
    del upstream.tags["gone"]
    status, printed = _call("check_drift", "acme")
    assert status == 1
    one, two = (f"sha256:{digest_of(body)[7:19]}…" for body in (ONE, TWO))
    assert sorted(printed.splitlines()) == [
        "4 differences found.",
        "acme/api:back: its name is reserved, and the registry has the tag",
        f"acme/api:gone: locked to {one}, and the registry does not have the tag",
        f"acme/api:moved: locked to {one}, and the registry has {two}",
        "acme/api:new: protected, and not locked yet: sync_registry locks it",
    ]
    events = LockEvent.objects.filter(kind="drift.found").order_by("tag")
    assert [(event.tag, event.digest, event.other_digest) for event in events] == [
        ("back", digest_of(ONE), digest_of(ONE)),
        ("gone", digest_of(ONE), ""),
        ("moved", digest_of(ONE), digest_of(TWO)),
        ("new", "", digest_of(TWO)),
    ]
    assert {(event.actor, event.actor_kind) for event in events} == {("taglock", "system")}


def test_what_is_found_again_is_counted(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    upstream.tags.clear()
    for _ in range(3):
        assert _call("check_drift")[0] == 1
    assert LockEvent.objects.filter(kind="drift.found").count() == 1
    assert EventRepeat.objects.get().count == 2


def test_what_is_not_covered_or_has_a_write_under_way_is_no_drift(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    gate.push("v1.0.0", ONE)
    upstream.script("PUT", TIMEOUT)
    gate.push("v2.0.0", ONE)
    upstream.store(TWO, "nightly")
    assert _call("check_drift") == (0, "0 differences found.\n")
    protect(acme, Protection.NONE)
    upstream.tags.clear()
    assert _call("check_drift") == (0, "0 differences found.\n")


def test_a_registry_that_does_not_answer_is_no_drift(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    upstream.script("HEAD", TIMEOUT)
    with pytest.raises(CommandError, match="Stopped before the end"):
        _call("check_drift")
    upstream.script("LIST", TIMEOUT)
    with pytest.raises(CommandError, match="Stopped before the end"):
        _call("check_drift")
    assert not LockEvent.objects.filter(kind="drift.found").exists()


def test_a_tag_that_was_removed_behind_taglocks_back_is_forgotten_where_somebody_says_so(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(acme, Protection.ALL)
    upstream.tags.clear()
    # It might be the registry that has lost its storage.
    assert gate.push("v1", TWO).status_code == 503
    status, printed = _call("check_drift")
    assert status == 1
    assert printed.startswith("acme/api:v1: was seen there, and is gone: no push of it can be")
    assert gate.push("v1", TWO).status_code == 503
    status, printed = _call("check_drift", "--forget-gone")
    assert (status, printed.splitlines()[1:]) == (0, ["    forgotten", "0 differences found."])
    assert gate.push("v1", TWO).status_code == 201


@pytest.mark.parametrize("command", ["check_drift", "sync_registry"])
def test_an_unknown_workspace_is_named(protected: Workspace, command: str) -> None:
    with pytest.raises(CommandError, match="There is no workspace nowhere"):
        _call(command, "acme", "nowhere")


@pytest.mark.parametrize("command", ["check_drift", "sync_registry"])
def test_without_a_registry_the_setting_is_named(
    protected: Workspace, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for module in (check_drift, sync_registry):
        monkeypatch.setattr(module, "find_registry", lambda: None)
    with pytest.raises(CommandError, match="REGISTRY_URL"):
        _call(command)


def test_sync_registry_locks_what_a_restored_backup_has_forgotten(
    protected: Workspace, gate: GateClient, upstream: Upstream, globex: Workspace
) -> None:
    gate.push("v1", ONE)
    gate.push("v2", TWO)
    LockedTag.objects.all().delete()
    assert _call("check_drift")[0] == 1
    status, printed = _call("sync_registry")
    assert (status, printed) == (
        0,
        "acme: 2 tags looked at, 2 locked, 0 left to their next push.\n"
        "globex: no tags are protected.\n",
    )
    assert _call("check_drift") == (0, "0 differences found.\n")


def test_sync_registry_says_where_the_registry_does_not_answer(
    protected: Workspace, upstream: Upstream
) -> None:
    upstream.store(ONE, "v1")
    upstream.script("LIST", TIMEOUT, TIMEOUT)
    with pytest.raises(CommandError, match="does not say what it has"):
        _call("sync_registry", "acme")
