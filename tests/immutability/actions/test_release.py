"""Release: the next push may bring any image, from what the registry has."""

from datetime import timedelta

import pytest
from django.utils import timezone

from immutability.errors import TryAgainError
from immutability.models import LockedTag
from immutability.policy.protection import Protection
from tests.conftest import AA, BB
from tests.immutability.actions.conftest import Act
from tests.immutability.core import Core
from tests.immutability.making import land, make_lock, put_stray, set_record, tag_events
from tests.immutability.registry_double import RegistryDouble, image
from tests.problems import nothing_written
from workspaces.models import Workspace

ONE, TWO = image("one"), image("two")


def test_a_released_tag_takes_one_more_push_of_any_image(core: Core, act: Act) -> None:
    core.push("v1", image=ONE)
    act("release", LockedTag.objects.get(), core.registry, reason="rebuild")
    event = tag_events(core.workspace)[-1]
    assert (event.kind, event.actor, event.reason) == ("lock.released", "alice", "rebuild")
    assert core.push("v1", image=TWO) == "201"
    assert core.push("v1", image=ONE) == "403 locked"


def test_a_suspended_lock_can_be_released(core: Core, act: Act) -> None:
    core.push("v1", image=ONE)
    core.protect(Protection.NONE)
    act("release", LockedTag.objects.get(), core.registry)
    core.protect()
    assert core.push("v1", image=TWO) == "201"


# ---- a lock that the registry was never seen with --------------------------------------------


@pytest.fixture
def never_shown(acme: Workspace) -> LockedTag:
    """A check locked the tag to BB; the registry had AA, which dana pushed through the gate."""
    land(acme, AA)
    row = make_lock(acme, "v1", "locked", BB, pushed_by="ci", pushed_by_kind="registry")
    set_record(row, digest=AA)
    return row


def test_it_waits_for_the_stray_of_its_check(act: Act, never_shown: LockedTag) -> None:
    put_stray(never_shown, timezone.now() + timedelta(minutes=3), BB)
    with nothing_written(), pytest.raises(TryAgainError, match="Try again in 3 minutes"):
        act("release", never_shown, RegistryDouble())


def test_then_it_is_released_from_what_the_registry_has(
    acme: Workspace, act: Act, never_shown: LockedTag
) -> None:
    left = act("release", never_shown, RegistryDouble())
    assert left is not None
    never_shown.refresh_from_db()
    assert (never_shown.state, never_shown.digest) == ("released", AA)
    assert (never_shown.pushed_by, never_shown.pushed_by_kind) == ("dana", "person")
    event = tag_events(acme)[-1]
    assert (event.kind, event.digest, event.other_digest) == ("lock.released", BB, AA)


def test_where_the_registry_has_nothing_the_name_is_free(
    acme: Workspace, act: Act, never_shown: LockedTag
) -> None:
    set_record(never_shown, digest="")
    assert act("release", never_shown, RegistryDouble(), reason="typo") is None
    assert not LockedTag.objects.exists()
    event = tag_events(acme)[-1]
    assert (event.kind, event.digest, event.reason) == ("lock.freed", BB, "typo")


def test_without_a_registry_what_was_allowed_counts_as_there(
    act: Act, never_shown: LockedTag
) -> None:
    left = act("release", never_shown)
    assert left is not None
    assert (left.state, left.digest) == ("released", BB)
