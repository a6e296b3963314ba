"""Reading what the registry has into records, and locking the covered tags among them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from containers.models import Manifest
from containers.models import Repository as RepositoryRow
from containers.models import Tag as TagRecord
from containers.names import RepositoryName, TagName
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from immutability.errors import TryAgainError
from immutability.models import Job, LockedTag
from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.reconcile import inventory
from immutability.reconcile.inventory import (
    Reading,
    find_unread_digests,
    finish_repository,
    read_tags,
    require_listed,
)
from tests.conftest import SEMVER
from tests.immutability.core import Core, named
from tests.immutability.reconcile.conftest import Library, locked
from tests.immutability.registry_double import (
    INDEX_TYPE,
    NO_ANSWER,
    REPOSITORY,
    Carry,
    answer,
    digest_of,
    image,
    index,
)
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE, TWO, THREE = (named(name, image(name)) for name in ("one", "two", "three"))
LIST = index(ONE, TWO)
TOP = index(LIST)
BROKEN = answer(500)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_TURN_SECONDS", 0.0)


def _read(workspace: Workspace, client: RegistryClient, *names: str) -> Reading:
    return read_tags(workspace, REPOSITORY, [TagName(name) for name in names], client)


def _meanwhile(change: Callable[[], Any]) -> Callable[[Carry], RegistryAnswer]:
    def reply(carry: Carry) -> RegistryAnswer:
        shown = carry()
        change()
        return shown

    return reply


def test_what_is_there_is_recorded_and_what_is_covered_is_locked(
    unprotected: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1.0.0", "nightly")
    unprotected.protect(Protection.SOME, SEMVER)
    assert _read(unprotected.workspace, client, "nightly", "v1.0.0", "v2") == Reading(1, 0)
    rows = TagRecord.objects.filter(shown_at__isnull=False).order_by("name")
    one = digest_of(ONE)
    assert list(rows.values_list("name", "digest")) == [
        ("nightly", one),
        ("v1.0.0", one),
        ("v2", ""),
    ]
    assert locked() == {"v1.0.0": one}
    (event,) = LockEvent.objects.filter(kind="tag.adopted")
    assert (event.actor, event.tag, event.rule_name) == ("taglock", "v1.0.0", SEMVER.name)
    # What is as it was is not written again: looks of pushes stay good.
    before = list(TagRecord.objects.order_by("id").values())
    assert _read(unprotected.workspace, client, "nightly", "v1.0.0", "v2") == Reading(0, 0)
    assert list(TagRecord.objects.order_by("id").values()) == before


def test_who_pushed_it_is_told_where_the_push_passed_taglock(
    unprotected: Core, client: RegistryClient
) -> None:
    unprotected.push("v1", image=ONE)
    unprotected.protect()
    _read(unprotected.workspace, client, "v1")
    assert LockedTag.objects.get().pushed_by == "dana"


def test_an_image_that_came_behind_taglocks_back_is_recorded(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    assert _read(gate.workspace, client, "v1") == Reading(0, 0)
    assert gate.record().digest == digest_of(TWO)
    assert gate.lock() == "locked one"


def test_what_is_gone_is_left_to_people(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    del library.tags["v1"]
    assert _read(gate.workspace, client, "v1") == Reading(0, 1)
    assert gate.record().digest == digest_of(ONE)


@pytest.mark.parametrize(
    "change",
    [
        lambda core: core.push("v1", image=TWO),
        lambda core: core.delete("v1", is_admin=True),
        lambda core: TagRecord.objects.update_or_create(
            workspace=core.workspace,
            repository=REPOSITORY.name,
            name="v1",
            defaults={"write_id": "0" * 32, "write_kind": "push", "write_digest": digest_of(TWO)},
        ),
    ],
    ids=["pushed", "deleted", "being pushed"],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_a_look_does_not_count_if_the_tag_has_changed_since(
    unprotected: Core,
    library: Library,
    client: RegistryClient,
    change: Callable[[Core], Any],
    *,
    is_known: bool,
) -> None:
    if is_known:
        unprotected.push("v1", image=ONE)
    library.store(ONE, "v1")
    after: list[Any] = []

    def act() -> None:
        change(unprotected)
        after.extend(TagRecord.objects.values())
        unprotected.protect()

    library.script("HEAD v1", _meanwhile(act))
    assert _read(unprotected.workspace, client, "v1") == Reading(0, 1)
    assert list(TagRecord.objects.values()) == after
    assert locked() == {}


def test_a_tag_with_a_write_in_flight_is_not_looked_at(
    unprotected: Core, library: Library, client: RegistryClient
) -> None:
    unprotected.push("v1", image=ONE)
    unprotected.protect()
    TagRecord.objects.update(write_id="0" * 32, write_kind="push", write_digest=digest_of(TWO))
    library.calls.clear()
    assert _read(unprotected.workspace, client, "v1") == Reading(0, 1)
    assert library.heads() == []
    assert locked() == {}


@pytest.mark.parametrize(("stray", "adopted"), [(digest_of(ONE), 1), (digest_of(TWO), 0), ("", 0)])
@pytest.mark.parametrize("minutes", [5, -5])
def test_nothing_is_locked_while_another_image_may_land(
    unprotected: Core,
    library: Library,
    client: RegistryClient,
    stray: str,
    adopted: int,
    minutes: int,
) -> None:
    unprotected.push("v1", image=ONE)
    unprotected.protect()
    # One that is over, and was not looked at since, counts as open.
    until = Now() + timedelta(minutes=minutes)
    TagRecord.objects.update(stray_until=until, stray_digest=stray)
    assert _read(unprotected.workspace, client, "v1") == Reading(adopted, 0)
    record = unprotected.record()
    assert (record.stray_digest, record.stray_until is None) == (stray, False)


@pytest.mark.parametrize("state", ["claimed", "released", "deleting", "reserved"])
def test_a_tag_that_something_holds_is_not_locked(
    gate: Core, library: Library, client: RegistryClient, state: str
) -> None:
    gate.push("v1", image=ONE)
    LockedTag.objects.update(state=state)
    assert _read(gate.workspace, client, "v1") == Reading(0, 0)
    assert gate.lock() == f"{state} one"


def test_a_tag_that_the_registry_cannot_show_is_left_out(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1", "v2")
    library.script("HEAD v1", BROKEN)
    assert _read(gate.workspace, client, "v1", "v2") == Reading(1, 1)
    # It is known that nothing is known of it.
    assert gate.record("v1").shown_at is None


def test_a_registry_that_is_away_ends_the_reading(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1")
    library.is_down = True
    with pytest.raises(RegistryUnavailableError):
        _read(gate.workspace, client, "v1")
    assert not TagRecord.objects.exists()


def test_what_covered_images_list_is_read(
    unprotected: Core, library: Library, client: RegistryClient
) -> None:
    for body in (ONE, TWO, THREE):
        library.store(body)
    library.store(LIST, media_type=INDEX_TYPE)
    library.store(TOP, "v1.0.0", media_type=INDEX_TYPE)
    library.store(THREE, "nightly")
    unprotected.protect(Protection.SOME, SEMVER)
    _read(unprotected.workspace, client, "nightly", "v1.0.0")
    read = set(Manifest.objects.filter(is_read=True).values_list("digest", flat=True))
    assert read == {digest_of(body) for body in (ONE, TWO, LIST, TOP)}


def test_a_list_that_cannot_be_read_now_stops_nothing(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1")
    library.store(TWO, "v2")
    library.script("GET", NO_ANSWER, NO_ANSWER)
    assert _read(gate.workspace, client, "v1", "v2") == Reading(2, 0)
    assert len(library.sent("GET")) == 1
    assert _unread(gate) == {digest_of(ONE), digest_of(TWO)}
    # The delete that needs them reads them.
    library.scripts.clear()
    assert gate.delete(THREE) == "404"
    assert _unread(gate) == set()


# ---- repositories that were read wholly ---------------------------------------------------------


def _is_listed() -> bool:
    return RepositoryRow.objects.filter(name=REPOSITORY.name, listed_at__isnull=False).exists()


def test_a_repository_is_listed_once_each_of_its_tags_is_known(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1", "v2")
    library.script("HEAD v1", BROKEN)
    _read(gate.workspace, client, "v1", "v2")
    library.script("HEAD v1", *[BROKEN] * 3)
    finish_repository(gate.workspace, REPOSITORY, client)
    assert not _is_listed()
    library.script("HEAD v1", BROKEN)
    assert finish_repository(gate.workspace, REPOSITORY, client) == Reading(1, 0)
    assert _is_listed()
    assert set(locked()) == {"v1", "v2"}


def test_a_first_push_in_flight_does_not_keep_a_repository_from_being_listed(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1")
    _read(gate.workspace, client, "v1")

    def finish(carry: Carry) -> RegistryAnswer:
        finish_repository(gate.workspace, REPOSITORY, client)
        return carry()

    library.script("PUT v2", finish)
    assert gate.push("v2", image=TWO) == "201"
    assert _is_listed()


def test_the_first_delete_by_digest_of_a_small_repository_reads_it(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v2")
    library.calls.clear()
    require_listed(gate.workspace, REPOSITORY, client)
    # Only what is not known is looked at.
    assert library.heads() == ["v2"]
    assert _is_listed()
    library.calls.clear()
    require_listed(gate.workspace, REPOSITORY, client)
    assert library.calls == []
    assert not Job.objects.exists()


def test_a_repository_without_tags_is_listed_at_once(
    acme: Workspace, client: RegistryClient
) -> None:
    require_listed(acme, REPOSITORY, client)
    assert _is_listed()


def test_a_large_repository_is_read_by_a_job_and_says_how_far(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1", "v2", "v3")
    with pytest.raises(TryAgainError, match=r"still reading the tags of acme/api \(2 so far\)"):
        require_listed(gate.workspace, REPOSITORY, client)
    job = Job.objects.get()
    assert (job.done_at, job.repository) == (None, "")
    # The job is at work: it is not begun again, and no tag is looked at twice.
    Job.objects.update(repository="acme/other", tag="v9")
    library.calls.clear()
    with pytest.raises(TryAgainError):
        require_listed(gate.workspace, REPOSITORY, client)
    assert Job.objects.get().tag == "v9"
    assert library.heads() == []
    # It is done, and the repository is still not listed: this one comes first.
    Job.objects.update(done_at=Now())
    with pytest.raises(TryAgainError):
        require_listed(gate.workspace, REPOSITORY, client)
    job = Job.objects.get()
    assert (job.done_at, job.repository, job.tag) == (None, "acme/api", "")


def test_a_registry_without_pages_is_not_read_whole_within_a_request(
    gate: Core, library: Library, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "MAX_TAGS_PER_REQUEST", 3)
    library.page_size = 1000
    library.store(ONE, *[f"v{number}" for number in range(4)])
    with pytest.raises(TryAgainError, match="3 so far"):
        require_listed(gate.workspace, REPOSITORY, client)
    assert Job.objects.get().done_at is None


def test_a_request_does_not_read_for_long(
    gate: Core, library: Library, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "MAX_REQUEST_SECONDS", 0.0)
    library.store(ONE, "v1")
    with pytest.raises(TryAgainError, match='what tag "v1" of acme/api points at'):
        require_listed(gate.workspace, REPOSITORY, client)
    assert library.heads() == []


@pytest.mark.parametrize("what", ["LIST", "HEAD v1"])
def test_a_delete_waits_where_the_registry_does_not_say(
    gate: Core, library: Library, client: RegistryClient, what: str
) -> None:
    library.store(ONE, "v1")
    library.script(what, NO_ANSWER)
    with pytest.raises(TryAgainError):
        require_listed(gate.workspace, REPOSITORY, client)
    assert not _is_listed()


def test_a_tag_that_was_there_before_taglock_is_not_lost_to_a_delete_by_digest(
    gate: Core, library: Library
) -> None:
    library.store(ONE, "v1")
    assert gate.delete(ONE) == "403 locked"
    assert locked() == {"v1": digest_of(ONE)}


# ---- lists that are not known -------------------------------------------------------------------


def _unread(core: Core) -> set[str]:
    return {each.value for each in find_unread_digests(core.workspace, REPOSITORY)}


def test_lists_of_covered_tags_are_asked_for_and_no_others(
    unprotected: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1.0.0")
    library.store(TWO, "nightly")
    _read(unprotected.workspace, client, "v1.0.0", "nightly")
    assert _unread(unprotected) == set()
    unprotected.protect(Protection.SOME, SEMVER)
    assert _unread(unprotected) == {digest_of(ONE)}
    unprotected.protect(Protection.SOME, PolicyRule("Nightly", "^nightly$"))
    assert _unread(unprotected) == {digest_of(TWO)}


def test_lists_below_what_was_read_are_asked_for(gate: Core, library: Library) -> None:
    for body in (ONE, TWO):
        library.store(body)
    library.store(LIST, media_type=INDEX_TYPE)
    gate.push("v1", image=TOP)
    assert _unread(gate) == set()
    Manifest.objects.filter(digest__in=[digest_of(ONE), digest_of(LIST)]).update(is_read=False)
    assert _unread(gate) == {digest_of(LIST)}
    Manifest.objects.filter(digest=digest_of(LIST)).update(is_read=True)
    assert _unread(gate) == {digest_of(ONE)}


@pytest.mark.parametrize(
    ("state", "is_asked_for"),
    [("locked", True), ("released", True), ("claimed", True), ("reserved", False)],
)
def test_the_image_of_a_lock_counts_beside_that_of_its_record(
    gate: Core, state: str, *, is_asked_for: bool
) -> None:
    gate.push("v1", image=ONE)
    Manifest.objects.all().delete()
    TagRecord.objects.update(digest="")
    LockedTag.objects.update(state=state)
    assert _unread(gate) == ({digest_of(ONE)} if is_asked_for else set())


def test_lists_of_another_repository_or_workspace_do_not_count(
    gate: Core, globex: Workspace
) -> None:
    gate.push("v1", image=ONE)
    Manifest.objects.all().delete()
    assert find_unread_digests(gate.workspace, RepositoryName("acme/other")) == set()
    assert find_unread_digests(globex, REPOSITORY) == set()


def test_a_save_has_everything_read(
    acme: Workspace, protect: Callable[..., Policy], connected: None
) -> None:
    protect(acme, Protection.NONE, refuse_identical_pushes=True)
    assert not Job.objects.exists()
    protect(acme, Protection.ALL)
    Job.objects.update(done_at=Now(), repository="acme/api", looked_at_count=7)
    protect(acme, Protection.SOME, SEMVER)
    job = Job.objects.get()
    assert (job.done_at, job.repository, job.looked_at_count) == (None, "", 0)


def test_a_repository_is_not_read_while_more_tags_are_unknown_than_are_tried_again(
    core: Core, library: Library, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "MAX_TAGS_TRIED_AGAIN", 2)
    tags = ["v1", "v2", "v3"]
    library.store(ONE, *tags)
    library.script("HEAD", *[NO_ANSWER] * len(tags))
    _read(core.workspace, client, *tags)
    finish_repository(core.workspace, REPOSITORY, client)
    assert not RepositoryRow.objects.filter(listed_at__isnull=False).exists()
    finish_repository(core.workspace, REPOSITORY, client)
    assert RepositoryRow.objects.filter(listed_at__isnull=False).exists()
