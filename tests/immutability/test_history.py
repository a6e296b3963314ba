"""What a tag pointed at when, out of many histories; and its story, page by page."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from containers.models import Push
from containers.names import RepositoryName, TagName
from immutability import locks
from immutability.history import HistoryPage, Place, Sort, find_history, find_pointed
from immutability.models import LockedTag
from immutability.policy.details import from_details, to_details
from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB, CC
from tests.immutability.core import Core
from tests.immutability.making import land
from tests.immutability.registry_double import digest_of, image
from tests.workspaces.log.tampering import write_at
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

REPOSITORY = RepositoryName("acme/api")
V1 = TagName("v1")
OTHERS = PolicyRule("Others", "^other$")
ONE, TWO = image("one"), image("two")


def now(workspace: Workspace) -> tuple[str, str]:
    """Return what is known of where the tag points after all that has happened."""
    pointed = find_pointed(workspace, REPOSITORY, V1, timezone.now() + timedelta(seconds=1))
    return pointed.sort.value, pointed.digest


# What each event tells. A step is the kind of an event of AA's, with its other digest and its
# reason where those matter, or the digest of a push that landed.
Step = str | tuple[str, str] | tuple[str, str, str]


def write_days(workspace: Workspace, *steps: Step) -> None:
    """Write one step a day; the last was yesterday."""
    for days_ago, step in zip(range(len(steps), 0, -1), steps, strict=True):
        moment = timezone.now() - timedelta(days=days_ago)
        if isinstance(step, str) and step.startswith("sha256:"):
            land(workspace, step, at=moment)
            continue
        kind, other, reason = (*([step] if isinstance(step, str) else step), "", "")[:3]
        write_at(moment, kind=kind, digest=AA, other_digest=other, reason=reason)


@pytest.mark.parametrize(
    ("steps", "sort", "digest"),
    [
        ([], Sort.UNKNOWN, ""),
        ([AA, BB], Sort.PUSHED, BB),
        (["tag.locked"], Sort.HELD, AA),
        (["tag.locked", AA], Sort.HELD, AA),
        (["tag.adopted"], Sort.HELD, AA),
        (["tag.locked", ("push.refused", BB), "push.identical", "delete.refused"], Sort.HELD, AA),
        (["tag.locked", "tag.deleted"], Sort.DELETED, ""),
        (["tag.locked", "tag.deleted", "lock.freed"], Sort.DELETED, ""),
        (["tag.locked", "tag.deleted", "lock.freed", CC], Sort.PUSHED, CC),
        (["tag.locked", "tag.deleted", "tag.locked"], Sort.HELD, AA),
        (["tag.locked", "lock.released"], Sort.HELD, AA),
        (["lock.released"], Sort.UNKNOWN, ""),
        # Released from what the registry had, which the lock did not say.
        (["tag.locked", ("lock.released", BB)], Sort.SEEN, BB),
        (["tag.locked", ("drift.found", BB)], Sort.SEEN, BB),
        (["tag.locked", ("drift.found", "")], Sort.MISSING, ""),
        (["tag.locked", ("drift.found", BB), "lock.released"], Sort.SEEN, BB),
        # A lock ends before the push or delete that ends it is sent.
        (["tag.locked", ("lock.ended", BB, locks.ANOTHER_IMAGE)], Sort.UNDECIDED, BB),
        (["tag.locked", ("lock.ended", BB, locks.ANOTHER_IMAGE), BB], Sort.PUSHED, BB),
        (["tag.locked", ("lock.ended", "", locks.DELETED_UNPROTECTED)], Sort.UNDECIDED, ""),
        (["tag.locked", ("lock.ended", "", locks.DELETED_UNPROTECTED), CC], Sort.PUSHED, CC),
        (["tag.locked", ("lock.ended", BB, locks.SHOWS_ANOTHER)], Sort.SEEN, BB),
        (["tag.locked", ("lock.ended", "", locks.NOT_THERE)], Sort.MISSING, ""),
        (["claim.dropped"], Sort.UNDECIDED, AA),
        (["claim.dropped", "push.identical"], Sort.HELD, AA),
        (["claim.dropped", "lock.released"], Sort.UNDECIDED, AA),
    ],
)
def test_the_latest_record_that_tells_says_where_the_tag_points(
    acme: Workspace, steps: list[Step], sort: Sort, digest: str
) -> None:
    write_days(acme, *steps)
    assert now(acme) == (sort.value, digest)


def test_what_passes_the_gate_is_told(core: Core) -> None:
    core.push("v1", image=ONE)
    assert now(core.workspace) == ("held", digest_of(ONE))
    core.push("v1", image=TWO)
    assert now(core.workspace) == ("held", digest_of(ONE))
    core.delete("v1", is_admin=True)
    assert now(core.workspace) == ("deleted", "")
    core.protect(Protection.NONE)
    core.push("v1", image=TWO)
    assert now(core.workspace) == ("pushed", digest_of(TWO))


def test_an_adopted_tag_is_told_with_who_pushed_it(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push("v1", image=ONE)
    core.protect()
    core.push("v1", image=TWO)
    assert LockedTag.objects.get().pushed_by == "dana"
    pointed = find_pointed(core.workspace, REPOSITORY, V1, timezone.now())
    assert (pointed.sort, pointed.is_adopted) == (Sort.HELD, True)


def test_other_tags_repositories_and_workspaces_tell_nothing(
    acme: Workspace, globex: Workspace
) -> None:
    yesterday = timezone.now() - timedelta(days=1)
    for place in ({"tag": "v2"}, {"repository": "acme/web"}, {"workspace": "globex"}):
        write_at(yesterday, digest=AA, **place)
    land(globex, repository="globex/api")
    land(acme, tag="v2")
    assert now(acme) == ("unknown", "")
    assert find_history(acme, REPOSITORY, V1).entries == []


# Suspension follows from the events of the settings.

ALL, NONE = Policy(protection=Protection.ALL), Policy()
SOME = Policy(protection=Protection.SOME, rules=(OTHERS,))
LOCKED = "locked"


@pytest.mark.parametrize(
    ("days", "suspended_since"),
    [
        ([ALL, LOCKED], None),
        ([ALL, LOCKED, NONE], 2),
        ([ALL, LOCKED, SOME], 2),
        ([ALL, LOCKED, NONE, SOME], 2),
        ([ALL, LOCKED, NONE, ALL], None),
        ([ALL, LOCKED, NONE, ALL, ALL, SOME, NONE], 5),
        # The push was in flight when the settings were saved.
        ([ALL, NONE, LOCKED], 2),
        ([LOCKED], None),
    ],
)
def test_since_when_a_lock_was_suspended_follows_from_the_settings(
    acme: Workspace, days: list[Policy | str], suspended_since: int | None
) -> None:
    first = timezone.now() - timedelta(days=20)
    for number, day in enumerate(days):
        at = first + timedelta(days=number)
        if isinstance(day, str):
            write_at(at, digest=AA)
        else:
            nowhere = {"repository": "", "tag": ""}
            details = {"before": to_details(ALL), "after": to_details(day)}
            write_at(at, kind="settings.changed", details=details, **nowhere)
    pointed = find_pointed(acme, REPOSITORY, V1, timezone.now())
    assert pointed.sort is Sort.HELD
    expected = None if suspended_since is None else first + timedelta(days=suspended_since)
    assert pointed.suspended_since == expected
    # Asked about the day before, the last step had not happened.
    before = first + timedelta(days=len(days) - 1, hours=-1)
    if days[-1] in (NONE, SOME) and days[-2] in (LOCKED, ALL):
        assert find_pointed(acme, REPOSITORY, V1, before).suspended_since is None


def test_saved_settings_are_read_back_from_their_event(core: Core) -> None:
    core.protect(Protection.SOME, OTHERS, refuse_identical_pushes=True)
    core.push("v1", image=ONE)
    event = LockEvent.objects.filter(kind="settings.changed").latest("id")
    assert event.details is not None
    policy = from_details(event.details["after"])
    assert (policy.protection, policy.rules) == (Protection.SOME, (OTHERS,))
    assert policy.refuse_identical_pushes


def test_a_lock_that_new_settings_do_not_cover_is_suspended(
    core: Core, protect: Callable[..., Policy]
) -> None:
    core.push("v1", image=ONE)
    protect(core.workspace, Protection.SOME, OTHERS)
    moment = timezone.now() + timedelta(seconds=1)
    saved = LockEvent.objects.filter(kind="settings.changed").latest("id")
    pointed = find_pointed(core.workspace, REPOSITORY, V1, moment)
    assert (pointed.sort, pointed.suspended_since) == (Sort.HELD, saved.at)


# A history with days between its steps.


@pytest.fixture
def story(acme: Workspace) -> list[datetime]:
    """Days on which a tag was pushed, pushed again, adopted, deleted, and came back."""
    first = datetime(2026, 3, 1, 12, tzinfo=timezone.get_default_timezone())
    days = [first + timedelta(days=10 * number) for number in range(5)]
    for at, digest in ((days[0], AA), (days[1], BB)):
        land(acme, digest, at=at)
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
    acme: Workspace, limit: int
) -> None:
    for digest in (AA, BB, CC):
        write_at(timezone.now(), digest=digest)
        land(acme, digest)
        land(acme, digest)
    pages = read_pages(acme, limit)
    whole = find_history(acme, REPOSITORY, V1).entries
    assert len(whole) == 9
    assert [entry for page in pages for entry in page.entries] == whole
    assert [entry.at for entry in whole] == sorted((entry.at for entry in whole), reverse=True)
    assert all(len(page.entries) == limit for page in pages[:-1])


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_what_happened_at_one_moment_is_shown_once_too(acme: Workspace, limit: int) -> None:
    at = datetime(2026, 3, 1, tzinfo=timezone.get_default_timezone())
    for number in range(4):
        land(acme, at=at)
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


def test_a_story_of_pushes_alone_is_paged_too(acme: Workspace) -> None:
    for _ in range(5):
        land(acme, AA)
    assert len(names_of(read_pages(acme, 2))) == 5


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_no_push_is_lost_where_times_go_another_way_than_numbers(
    acme: Workspace, limit: int
) -> None:
    first = timezone.now()
    for second in (0, 1, 3.5, 3, 2, 5):
        land(acme, at=first + timedelta(seconds=second))
        write_at(first + timedelta(seconds=second), kind="push.refused")
    pages = read_pages(acme, limit)
    shown = [entry.push.id for page in pages for entry in page.entries if entry.push]
    assert shown == list(Push.objects.order_by("-id").values_list("id", flat=True))
    assert len([entry for page in pages for entry in page.entries if entry.event]) == 6
