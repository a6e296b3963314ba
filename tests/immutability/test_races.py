"""Sixteen clients at once, each with a database connection of its own."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from django.db import transaction

from containers import writes
from containers.inventory import record_facts, record_manifest
from containers.models import ManifestReference
from containers.names import Digest
from containers.registry.client import RegistryAnswer
from containers.registry.manifest import read_manifest
from immutability import patience
from immutability.actions.free import free_name
from immutability.actions.hold import LockChange
from immutability.actions.release import release_locked_tag
from immutability.actions.save_settings import StaleSettingsError, save_container_settings
from immutability.errors import ConflictError, TryAgainError
from immutability.models import LockedTag, Rule
from immutability.patience import WaitSlots
from immutability.policy.drafts import Draft
from immutability.policy.protection import PolicyRule, Protection
from immutability.reading import read_policy
from tests.at_once import at_once
from tests.immutability.core import ALICE, Core, named
from tests.immutability.registry_double import (
    INDEX_TYPE,
    Carry,
    RegistryDouble,
    digest_of,
    image,
    index,
)
from tests.immutability.registry_double import Call as RegistryCall
from workspaces.access import SYSTEM
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.both_databases,
    pytest.mark.slow,
]

CLIENTS = 16
TIMES = 4
CALL_SECONDS = 0.005
IMAGES = [named(f"image {number}", image(f"image {number}")) for number in range(CLIENTS)]
ONE, TWO = named("one", image("one")), named("two", image("two"))


Call = Callable[[], str | None]


class SlowRegistry(RegistryDouble):
    """Its calls take a moment, in which others are at work."""

    def _reply(self, call: RegistryCall, carry: Carry) -> RegistryAnswer:
        time.sleep(CALL_SECONDS)
        return super()._reply(call, carry)


@pytest.fixture
def clients(core: Core, monkeypatch: pytest.MonkeyPatch) -> Core:
    """Acme with all tags protected. Whatever waits, waits until it is decided."""
    monkeypatch.setattr(patience, "MAX_WAIT_SECONDS", 40.0)
    core.registry = SlowRegistry()
    core.slots = WaitSlots(CLIENTS)
    return core


def push_each(core: Core, *tags: str, images: list[bytes] = IMAGES) -> list[Call]:
    return [partial(core.push, *tags, image=each) for each in images]


def won(told: list[str | None], images: list[bytes] = IMAGES) -> bytes:
    """Return the only image that was accepted; all others were refused."""
    assert Counter(told) == {"201": 1, "403 locked": len(images) - 1}
    return images[told.index("201")]


def assert_locked(core: Core, tag: str, image: bytes) -> None:
    """Assert that lock, record and registry agree."""
    name = core.name_of(digest_of(image))
    assert (core.lock(tag), core.shown(tag)) == (f"locked {name}", name)
    assert core.name_of(core.record(tag).digest) == name


# Pushes.


def test_of_many_images_exactly_one_gets_a_new_tag(clients: Core) -> None:
    winner = won(at_once(push_each(clients, "v1")))
    assert_locked(clients, "v1", winner)
    assert clients.registry.sent_by_tag == ["v1"]
    assert clients.events().count("tag.locked") == 1


def test_the_same_image_is_accepted_from_everyone_and_locked_once(clients: Core) -> None:
    told = at_once(push_each(clients, "v1", images=[ONE] * CLIENTS))
    assert Counter(told) == {"201": CLIENTS}
    assert_locked(clients, "v1", ONE)
    assert clients.registry.sent_by_tag == ["v1"]
    assert clients.events().count("tag.locked") == 1


def test_a_tag_that_was_there_before_is_adopted_once_and_moved_by_nobody(clients: Core) -> None:
    clients.registry.store(ONE, "v1")
    images = [ONE, *IMAGES[1:]]
    assert won(at_once(push_each(clients, "v1", images=images)), images) == ONE
    assert clients.registry.sent_by_tag == []
    assert clients.events().count("tag.adopted") == 1


def test_pushes_that_share_tags_are_accepted_whole_or_not_at_all(clients: Core) -> None:
    """In every order: no deadlock of the database reaches a client."""
    for number in range(TIMES):
        a, b, c = (f"v{number}{letter}" for letter in "abc")
        groups = [(a, b), (b, c), (c, a), (c, b, a)] * (CLIENTS // 4)
        pushes = [
            partial(clients.push, *group, image=each)
            for group, each in zip(groups, IMAGES, strict=True)
        ]
        told = at_once(pushes)
        assert Counter(told) == {"201": 1, "403 locked": CLIENTS - 1}
        winner = told.index("201")
        for tag in groups[winner]:
            assert_locked(clients, tag, IMAGES[winner])
        locked = LockedTag.objects.filter(tag__startswith=f"v{number}")
        assert {row.tag for row in locked} == set(groups[winner])


def test_unprotected_pushes_are_all_accepted_one_after_the_other(clients: Core) -> None:
    clients.protect(Protection.NONE)
    told = at_once(push_each(clients, "latest"))
    assert Counter(told) == {"201": CLIENTS}
    assert clients.shown("latest") == clients.name_of(clients.record("latest").digest)


# Settings.


def test_a_push_comes_before_a_save_or_after_it(clients: Core) -> None:
    """Before: the suspended lock has ended. After: the push is refused."""
    for number in range(TIMES):
        tag = f"v{number}"
        clients.protect()
        assert clients.push(tag, image=ONE) == "201"
        clients.protect(Protection.NONE)
        calls: list[Call] = [partial(clients.push, tag, image=TWO), clients.protect]
        told, _ = at_once(calls)
        if told == "403 locked":
            assert_locked(clients, tag, ONE)
        else:
            assert (told, clients.lock(tag), clients.shown(tag)) == ("201", "none", "two")


def test_settings_are_saved_again_and_again_while_everyone_pushes(clients: Core) -> None:
    def save() -> None:
        for protection in (Protection.NONE, Protection.ALL) * TIMES:
            clients.protect(protection)

    calls: list[Call] = [save, *push_each(clients, "v1", images=IMAGES[1:])]
    at_once(calls)
    there = clients.shown("v1")
    assert clients.push("v1", image=ONE) == "403 locked"
    assert (clients.shown("v1"), clients.lock("v1")) == (there, f"locked {there}")


def _save(workspace: Workspace, version: int, number: int) -> int | StaleSettingsError:
    rules = tuple(PolicyRule(f"{number} {each}", f"^{number}") for each in range(1 + number % 7))
    draft = Draft(Protection.ALL, rules)
    try:
        save_container_settings(
            workspace, draft, expected_version=version, may_suspend_locks=True, actor=SYSTEM
        )
    except StaleSettingsError as error:
        return error
    return number


def test_of_many_saves_over_one_version_exactly_one_wins(clients: Core) -> None:
    version = read_policy(clients.workspace).version
    told = at_once([partial(_save, clients.workspace, version, number) for number in range(8)])
    winners = [each for each in told if isinstance(each, int)]
    stale = [each for each in told if isinstance(each, StaleSettingsError)]
    assert (len(winners), len(stale)) == (1, 7)
    policy = read_policy(clients.workspace)
    assert policy.version == version + 1
    assert {rule.name.split()[0] for rule in policy.rules} <= {str(winners[0])}
    assert Rule.objects.count() == 1 + winners[0] % 7
    assert {error.current for error in stale} == {policy}
    saved = LockEvent.objects.filter(kind="settings.changed", settings_version=version + 1)
    assert saved.count() == 1


# Deletes.


def test_what_was_accepted_is_there_although_its_image_is_deleted_meanwhile(clients: Core) -> None:
    """Deletes by digest against pushes that need the image, under a tag and in an index."""
    for number in range(TIMES):
        child = named(f"child {number}", image(f"child {number}"))
        parent = named(f"parent {number}", index(child))
        tags = [f"v{number}-{each}" for each in range(8)]
        assert clients.push(image=child) == "201"
        pushes = [
            partial(clients.push, tag, image=parent if each % 2 else child)
            for each, tag in enumerate(tags)
        ]
        calls: list[Call] = [*pushes, *[partial(clients.delete, child)] * 8]
        told = at_once(calls)
        accepted = {tag for tag, status in zip(tags, told, strict=False) if status == "201"}
        assert set(told[:8]) <= {"201", "400", "400 MANIFEST_MISSING", "503"}
        assert set(told[8:]) <= {"202", "404", "403 locked", "503"}
        locked = LockedTag.objects.filter(tag__in=tags, state="locked")
        assert {row.tag for row in locked} == accepted
        if accepted:
            assert digest_of(child) in clients.registry.manifests
        for row in locked:
            assert clients.registry.tags[row.tag] == row.digest


def test_of_many_admins_who_delete_a_tag_one_reserves_its_name(clients: Core) -> None:
    clients.push("v1", image=ONE)
    told = at_once([partial(clients.delete, "v1", is_admin=True)] * CLIENTS)
    assert Counter(told) == {"202": 1, "404 None": CLIENTS - 1}
    assert (clients.lock(), clients.shown()) == ("reserved one", "nothing")
    assert clients.events().count("tag.deleted") == 1


def test_a_delete_among_pushes_leaves_the_name_to_its_image(clients: Core) -> None:
    for number in range(TIMES):
        tag = f"v{number}"
        clients.push(tag, image=ONE)
        calls: list[Call] = [
            partial(clients.delete, tag, is_admin=True),
            *push_each(clients, tag, images=[ONE, *IMAGES[:6]]),
        ]
        deleted, *told = at_once(calls)
        assert (deleted, told[0]) == ("202", "201")
        assert set(told[1:]) <= {"403 locked", "403 reserved"}
        assert clients.lock(tag) in ("locked one", "reserved one")
        assert clients.shown(tag) == ("one" if clients.lock(tag) == "locked one" else "nothing")


# Admins.


def _change(core: Core, tag: str, apply: Callable[..., object]) -> str:
    row = LockedTag.objects.filter(tag=tag).first()
    if row is None:
        return "gone"
    try:
        apply(LockChange(core.workspace, row.id, "because", ALICE), core.registry)
    except LockedTag.DoesNotExist:
        return "gone"
    except (ConflictError, TryAgainError) as error:
        return type(error).__name__
    return "done"


def test_a_released_tag_goes_to_one_of_many_pushes(clients: Core) -> None:
    for number in range(TIMES):
        tag = f"v{number}"
        clients.push(tag, image=ONE)
        calls: list[Call] = [
            partial(_change, clients, tag, release_locked_tag),
            *push_each(clients, tag, images=IMAGES[1:]),
        ]
        released, *told = at_once(calls)
        assert released == "done"
        assert Counter(told)["201"] <= 1
        assert set(told) <= {"201", "403 locked"}
        if "201" in told:
            assert_locked(clients, tag, IMAGES[1:][told.index("201")])
        else:
            assert (clients.lock(tag), clients.shown(tag)) == ("released one", "one")


def test_a_name_is_freed_once_and_goes_to_one_push(clients: Core) -> None:
    for number in range(TIMES):
        tag = f"v{number}"
        clients.push(tag, image=ONE)
        assert clients.delete(tag, is_admin=True) == "202"
        calls: list[Call] = [
            *[partial(_change, clients, tag, free_name)] * 4,
            *push_each(clients, tag, images=IMAGES[:8]),
        ]
        told = at_once(calls)
        assert told[:4].count("done") == 1
        assert told[4:].count("201") <= 1
        assert set(told[4:]) <= {"201", "403 locked", "403 reserved"}
        freed = LockEvent.objects.filter(kind="lock.freed", tag=tag)
        assert freed.count() == 1


def test_a_list_is_read_and_pushed_at_once(core: Core) -> None:
    """A deadlock, where the list is written before the row that it belongs to is held."""
    place, digest = (core.workspace, core.repository), Digest(digest_of(index(ONE)))
    facts = read_manifest(index(ONE), INDEX_TYPE)
    writes.insert_missing(*place, (), [digest])
    is_held = threading.Event()

    @transaction.atomic
    def push() -> None:
        row = writes.lock_manifests(*place, [digest])[digest]
        is_held.set()
        time.sleep(0.3)
        record_facts(row, facts)
        row.save()

    @transaction.atomic
    def read() -> None:
        record_manifest(*place, digest, facts)

    def read_meanwhile() -> None:
        is_held.wait(5)
        read()

    at_once([push, read_meanwhile])
    assert ManifestReference.objects.count() == 1
