"""What a tag pointed at when, out of many histories; and its story, page by page."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from containers.inventory import record_pushes
from containers.models import Push
from containers.reference import Digest, Repository, Tag
from immutability.actions.claims import drop_claim
from immutability.actions.drift import Drift, record_drift
from immutability.actions.manage import NameAfter, delete_locked_tag, release_locked_tag
from immutability.history import HistoryPage, Place, Sort, find_history, find_pointed
from immutability.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB, CC
from tests.immutability.actions.asking import claim, delete, push, standing_lock
from tests.workspaces.log.tampering import write_at
from workspaces.access import SYSTEM
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

REPOSITORY = Repository("acme/api")
V1 = Tag("v1")
OTHERS = PolicyRule("Others", "^other$")

OF_THE_LOCK = ["lock.suspended", "lock.resumed", "lock.released"]

Protect = Callable[..., Policy]


def now(workspace: Workspace) -> tuple[str, str]:
    """Return what is known of where the tag points after all that has happened."""
    pointed = find_pointed(workspace, REPOSITORY, V1, timezone.now() + timedelta(seconds=1))
    return pointed.sort.value, pointed.digest


def land(workspace: Workspace, digest: str) -> Push:
    """Let a push land, as the gate records it."""
    with transaction.atomic():
        record_pushes(workspace, REPOSITORY, [V1], Digest(digest), "dana")
    return Push.objects.latest("id")


def land_at(workspace: Workspace, at: datetime, digest: str = AA) -> None:
    """Let a push have landed at a moment."""
    place = {"repository": "acme/api", "tag": "v1", "digest": digest, "actor": "dana"}
    Push.objects.create(workspace=workspace, at=at, **place)


def write_days(*steps: str | tuple[str, str, str], days_ago: int = 9) -> None:
    """Write an event a day: a kind of AA's, or a kind with both digests."""
    for step in steps:
        kind, digest, other = (step, AA, "") if isinstance(step, str) else step
        moment = timezone.now() - timedelta(days=days_ago)
        write_at(moment, kind=kind, digest=digest, other_digest=other)
        days_ago -= 1


@pytest.fixture
def protected(acme: Workspace, protect: Protect) -> Workspace:
    protect(acme, Protection.ALL)
    return acme


# Histories.


def test_a_tag_of_which_nothing_was_recorded_is_not_known(acme: Workspace) -> None:
    assert now(acme) == ("unknown", "")
    assert find_pointed(acme, REPOSITORY, V1, timezone.now()).first is None


def test_an_unprotected_tag_points_at_its_last_push(acme: Workspace) -> None:
    land(acme, AA)
    land(acme, BB)
    assert now(acme) == ("pushed", BB)


def test_a_locked_tag_was_held_where_it_was_locked(protected: Workspace) -> None:
    push(protected, "v1", digest=AA)
    assert now(protected) == ("held", AA)


def test_a_locked_tag_whose_push_landed_is_held_all_the_same(protected: Workspace) -> None:
    push(protected, "v1", digest=AA)
    land(protected, AA)
    assert now(protected) == ("held", AA)


def test_refusals_and_identical_pushes_move_nothing(protected: Workspace) -> None:
    push(protected, "v1", digest=AA)
    push(protected, "v1", digest=BB)
    push(protected, "v1", digest=AA)
    delete(protected, "v1")
    assert now(protected) == ("held", AA)


def test_an_adopted_tag_was_there_from_then_on(acme: Workspace, protect: Protect) -> None:
    push(acme, "v1", digest=AA)
    protect(acme, Protection.ALL)
    push(acme, "v1", digest=BB)
    pointed = find_pointed(acme, REPOSITORY, V1, timezone.now() + timedelta(seconds=1))
    assert (pointed.sort, pointed.digest, pointed.is_adopted) == (Sort.HELD, AA, True)


def test_before_a_tag_was_adopted_nobody_knows_what_it_pointed_at(
    acme: Workspace, protect: Protect
) -> None:
    push(acme, "v1", digest=AA)
    protect(acme, Protection.ALL)
    push(acme, "v1", digest=BB)
    adopted = LockEvent.objects.get(kind="tag.adopted")
    pointed = find_pointed(acme, REPOSITORY, V1, adopted.at - timedelta(seconds=1))
    assert pointed.sort is Sort.UNKNOWN
    assert pointed.first is not None
    assert pointed.first.event == adopted


def test_a_suspended_lock_that_nobody_overwrote_still_tells(
    protected: Workspace, protect: Protect
) -> None:
    push(protected, "v1", digest=AA)
    protect(protected, Protection.SOME, OTHERS)
    pointed = find_pointed(protected, REPOSITORY, V1, timezone.now() + timedelta(seconds=1))
    suspended = LockEvent.objects.get(kind="lock.suspended")
    locked = LockEvent.objects.get(kind="tag.locked")
    assert (pointed.sort, pointed.digest, pointed.event) == (Sort.HELD, AA, locked)
    assert pointed.suspended_since == suspended.at
    protect(protected, Protection.ALL)
    pointed = find_pointed(protected, REPOSITORY, V1, timezone.now() + timedelta(seconds=1))
    assert (pointed.sort, pointed.digest, pointed.suspended_since) == (Sort.HELD, AA, None)


def test_a_suspended_lock_that_was_overwritten_does_not(
    protected: Workspace, protect: Protect
) -> None:
    push(protected, "v1", digest=AA)
    protect(protected, Protection.SOME, OTHERS)
    push(protected, "v1", digest=BB)
    assert now(protected) == ("pushed", BB)
    land(protected, BB)
    land(protected, CC)
    assert now(protected) == ("pushed", CC)


def test_a_deleted_tag_is_gone_and_its_image_may_come_back(protected: Workspace) -> None:
    push(protected, "v1", digest=AA)
    delete(protected, "v1", is_admin=True)
    assert now(protected) == ("deleted", "")
    push(protected, "v1", digest=BB)
    assert now(protected) == ("deleted", "")
    push(protected, "v1", digest=AA)
    assert now(protected) == ("held", AA)


def test_a_freed_name_is_gone_until_something_is_pushed(protected: Workspace) -> None:
    push(protected, "v1", digest=AA)
    lock = standing_lock(protected, "v1")
    delete_locked_tag(protected, lock.id, NameAfter.FREE, "because", actor=SYSTEM)
    assert now(protected) == ("deleted", "")
    push(protected, "v1", digest=BB)
    assert now(protected) == ("held", BB)


def test_a_tag_that_was_deleted_while_suspended_is_gone(
    protected: Workspace, protect: Protect
) -> None:
    push(protected, "v1", digest=AA)
    protect(protected, Protection.NONE)
    delete(protected, "v1")
    assert now(protected) == ("deleted", "")
    land(protected, CC)
    assert now(protected) == ("pushed", CC)


def test_a_released_tag_points_where_it_did_until_it_is_pushed(protected: Workspace) -> None:
    push(protected, "v1", digest=AA)
    release_locked_tag(protected, standing_lock(protected, "v1").id, "rebuild", actor=SYSTEM)
    assert now(protected) == ("held", AA)
    push(protected, "v1", digest=BB)
    assert now(protected) == ("held", BB)


def test_a_deleted_tag_stays_gone_whatever_new_settings_say_of_its_lock(
    protected: Workspace, protect: Protect
) -> None:
    push(protected, "v1", digest=AA)
    delete(protected, "v1", is_admin=True)
    protect(protected, Protection.NONE)
    assert LockEvent.objects.latest("id").kind == "lock.suspended"
    assert now(protected) == ("deleted", "")
    protect(protected, Protection.ALL)
    assert LockEvent.objects.latest("id").kind == "lock.resumed"
    assert now(protected) == ("deleted", "")


@pytest.mark.parametrize("kind", OF_THE_LOCK)
@pytest.mark.parametrize("found", [BB, ""], ids=["other", "nothing"])
def test_what_the_registry_was_seen_to_have_is_not_what_the_lock_holds(
    acme: Workspace, kind: str, found: str
) -> None:
    write_days("tag.locked", ("drift.found", AA, found), kind)
    assert now(acme) == (("seen", BB) if found else ("missing", ""))


@pytest.mark.parametrize("kind", OF_THE_LOCK)
def test_a_doubt_stays_whatever_becomes_of_the_lock(acme: Workspace, kind: str) -> None:
    write_days("tag.locked", "lock.released", ("claim.dropped", BB, ""), kind)
    assert now(acme) == ("doubtful", BB)
    write_days("push.identical", days_ago=3)
    assert now(acme) == ("held", AA)


@pytest.mark.parametrize("kind", OF_THE_LOCK)
def test_of_a_tag_with_no_other_record_nothing_is_known(acme: Workspace, kind: str) -> None:
    write_days(kind)
    assert now(acme) == ("unknown", "")


def test_a_claim_that_is_open_tells_nothing_yet(protected: Workspace) -> None:
    claim(protected, "v1", digest=AA)
    assert now(protected) == ("unknown", "")


def test_a_dropped_claim_may_have_landed(protected: Workspace) -> None:
    claim(protected, "v1", digest=AA)
    with transaction.atomic():
        drop_claim(standing_lock(protected, "v1"), "the build was killed", actor=SYSTEM)
    assert now(protected) == ("doubtful", AA)


def test_a_lock_that_ended_by_a_dropped_push_leaves_doubt(protected: Workspace) -> None:
    push(protected, "v1", digest=AA)
    place: dict[str, Any] = {"workspace": "acme", "repository": "acme/api", "tag": "v1"}
    reason = "another image was pushed while the tag was not protected"
    with transaction.atomic():
        append_event(Event(EventKind.CLAIM_DROPPED, **place, digest=BB), actor=SYSTEM)
        append_event(
            Event(EventKind.LOCK_ENDED, **place, digest=AA, other_digest=BB, reason=reason),
            actor=SYSTEM,
        )
    assert now(protected) == ("doubtful", BB)


@pytest.mark.parametrize(
    ("found", "expected"), [(BB, ("seen", BB)), ("", ("missing", ""))], ids=["other", "nothing"]
)
def test_what_the_registry_was_seen_to_have_counts_more_than_the_lock(
    protected: Workspace, found: str, expected: tuple[str, str]
) -> None:
    push(protected, "v1", digest=AA)
    record_drift(protected, Drift("acme/api", "v1", AA, found, "it differs"), actor=SYSTEM)
    assert now(protected) == expected


def test_other_tags_repositories_and_workspaces_tell_nothing(
    protected: Workspace, globex: Workspace
) -> None:
    push(protected, "v2", digest=AA)
    push(globex, "v1", digest=AA)
    record_pushes(globex, REPOSITORY, [V1], Digest(AA), "dana")
    record_pushes(protected, Repository("acme/web"), [V1], Digest(AA), "dana")
    assert now(protected) == ("unknown", "")
    assert find_history(protected, REPOSITORY, V1).entries == []


# A history with days between its steps.


@pytest.fixture
def story(acme: Workspace) -> list[datetime]:
    """Days on which a tag was pushed, pushed again, adopted, deleted, and came back."""
    first = datetime(2026, 3, 1, 12, tzinfo=timezone.get_default_timezone())
    days = [first + timedelta(days=10 * number) for number in range(5)]
    for at, digest in ((days[0], AA), (days[1], BB)):
        land_at(acme, at, digest)
    kinds = (EventKind.TAG_ADOPTED, EventKind.TAG_DELETED, EventKind.TAG_LOCKED)
    for at, kind in zip(days[2:], kinds, strict=True):
        LockEvent.objects.create(
            ref=f"{kind:>12}"[-12:],
            at=at,
            workspace="acme",
            kind=kind,
            repository="acme/api",
            tag="v1",
            digest=BB,
            actor="dana",
            actor_kind="person",
        )
    return days


def test_each_day_has_its_own_answer(acme: Workspace, story: list[datetime]) -> None:
    def on(moment: datetime) -> tuple[str, str]:
        pointed = find_pointed(acme, REPOSITORY, V1, moment)
        return pointed.sort.value, pointed.digest

    a_moment = timedelta(microseconds=1)
    expected = [
        (("unknown", ""), ("pushed", AA)),
        (("pushed", AA), ("pushed", BB)),
        (("pushed", BB), ("held", BB)),
        (("held", BB), ("deleted", "")),
        (("deleted", ""), ("held", BB)),
    ]
    assert [(on(day - a_moment), on(day + a_moment)) for day in story] == expected


def test_before_the_first_record_the_answer_names_it(
    acme: Workspace, story: list[datetime]
) -> None:
    pointed = find_pointed(acme, REPOSITORY, V1, story[0] - timedelta(days=1))
    assert pointed.first is not None
    assert pointed.first.at == story[0]
    assert pointed.first.push is not None


# The story.


def read_pages(workspace: Workspace, limit: int) -> list[HistoryPage]:
    """Follow every page to the end."""
    pages: list[HistoryPage] = []
    below: Place | None = Place()
    while below is not None:
        assert len(pages) < 100, "the pages never end"
        pages.append(find_history(workspace, REPOSITORY, V1, below, limit))
        below = pages[-1].older
    return pages


def names_of(pages: list[HistoryPage]) -> list[str]:
    return [
        entry.event.kind if entry.event else f"push {entry.push.id if entry.push else ''}"
        for page in pages
        for entry in page.entries
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
def test_paging_gives_every_event_and_every_push_once_newest_first(
    protected: Workspace, limit: int
) -> None:
    for digest in (AA, BB, CC):
        push(protected, "v1", digest=digest)
        land(protected, digest)
        land(protected, digest)
    pages = read_pages(protected, limit)
    whole = find_history(protected, REPOSITORY, V1).entries
    assert len(whole) == 9
    assert [entry for page in pages for entry in page.entries] == whole
    assert [entry.at for entry in whole] == sorted((entry.at for entry in whole), reverse=True)
    assert all(len(page.entries) == limit for page in pages[:-1])


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_what_happened_at_one_moment_is_shown_once_too(acme: Workspace, limit: int) -> None:
    at = datetime(2026, 3, 1, tzinfo=timezone.get_default_timezone())
    for number in range(4):
        land_at(acme, at)
        LockEvent.objects.create(
            ref=f"{number:012}",
            at=at,
            workspace="acme",
            kind="push.refused",
            repository="acme/api",
            tag="v1",
            actor="dana",
            actor_kind="person",
        )
    names = names_of(read_pages(acme, limit))
    assert len(names) == 8
    assert names.count("push.refused") == 4
    assert len(set(names)) == 5


def test_a_story_of_pushes_alone_or_of_events_alone_is_paged_too(protected: Workspace) -> None:
    for _ in range(5):
        land(protected, AA)
    assert len(names_of(read_pages(protected, 2))) == 5


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_no_push_is_lost_where_times_go_another_way_than_numbers(
    acme: Workspace, limit: int
) -> None:
    first = timezone.now()
    for second in (0, 1, 3.5, 3, 2, 5):
        land_at(acme, first + timedelta(seconds=second))
        write_at(first + timedelta(seconds=second), kind="push.refused")
    pages = read_pages(acme, limit)
    shown = [entry.push.id for page in pages for entry in page.entries if entry.push]
    assert shown == list(Push.objects.order_by("-id").values_list("id", flat=True))
    assert len([entry for page in pages for entry in page.entries if entry.event]) == 6
