"""What moved while a change of settings was in force: a table of what happened meanwhile."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from containers.models import Push
from immutability import moved
from immutability.moved import MOVES_PER_PAGE, MovedPage, Place, find_moved
from immutability.policy.details import to_details
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection
from tests.conftest import AA, BB, CC, SEMVER
from tests.immutability.core import Core
from tests.immutability.making import land
from tests.immutability.registry_double import RegistryDouble, digest_of, image
from tests.workspaces.log.tampering import write_at
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = pytest.mark.both_databases

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SOME = Policy(1, Protection.SOME, (SEMVER,))
NONE = Policy(2, Protection.NONE, (SEMVER,))
ALL = Policy(2, Protection.ALL)
PRODUCTION = Policy(2, Protection.SOME, (PolicyRule("Production", "^prod$"),))
EXCEPTED = Policy(2, Protection.ALL, exceptions=(PolicyException("Versions", "^v"),))
ENDED = "another image was pushed while the tag was not protected"
DELETED = "the tag was deleted while it was not protected"


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def save(before: Policy, now: Policy, minutes: float = 0, workspace: str = "acme") -> LockEvent:
    """Let settings have been saved, by the log."""
    return write_at(
        after(minutes),
        workspace=workspace,
        kind="settings.changed",
        repository="",
        tag="",
        details={"before": to_details(before), "after": to_details(now)},
    )


def push(workspace: Workspace, digest: str, minutes: float, tag: str = "v1.0.0") -> Push:
    """Let a push have landed."""
    return land(workspace, digest, tag, after(minutes), repository=f"{workspace.slug}/api")


def end(minutes: float, reason: str, other: str = "", tag: str = "v1.0.0") -> LockEvent:
    """Let a lock of AA have ended."""
    fields = {"kind": "lock.ended", "reason": reason, "digest": AA, "other_digest": other}
    return write_at(after(minutes), tag=tag, **fields)


def read(page: MovedPage) -> list[tuple[str, str, str]]:
    return [(move.tag, move.before, move.after) for move in page.moves]


Happened = Callable[[Workspace], Any]


@pytest.mark.parametrize(
    ("before", "now", "happened", "expected"),
    [
        # What the settings before covered, and those after it did not.
        (SOME, NONE, [(BB, 5)], [("v1.0.0", AA, BB)]),
        (ALL, NONE, [(BB, 5)], [("v1.0.0", AA, BB)]),
        (SOME, PRODUCTION, [(BB, 5)], [("v1.0.0", AA, BB)]),
        (ALL, EXCEPTED, [(BB, 5)], [("v1.0.0", AA, BB)]),
        (EXCEPTED, ALL, [(BB, 5)], []),
        (SOME, NONE, [(BB, 5), (CC, 6)], [("v1.0.0", AA, BB), ("v1.0.0", BB, CC)]),
        # There and back is two moves.
        (SOME, NONE, [(BB, 5), (AA, 6)], [("v1.0.0", AA, BB), ("v1.0.0", BB, AA)]),
        (SOME, NONE, [(AA, 5)], []),
        (NONE, SOME, [(BB, 5)], []),
        (NONE, NONE, [(BB, 5)], []),
        (PRODUCTION, NONE, [(BB, 5)], []),
        (SOME, ALL, [(BB, 5)], []),
    ],
)
def test_a_push_of_another_image_is_a_move(
    acme: Workspace,
    before: Policy,
    now: Policy,
    happened: Sequence[tuple[str, float]],
    expected: list[tuple[str, str, str]],
) -> None:
    push(acme, AA, -60)
    saved = save(before, now)
    for digest, minutes in happened:
        push(acme, digest, minutes)
    assert read(find_moved(acme, saved)) == expected


def test_what_was_pushed_before_and_after_the_change_is_left_out(acme: Workspace) -> None:
    for digest, minutes in ((AA, -60), (BB, -1)):
        push(acme, digest, minutes)
    saved = save(SOME, NONE)
    push(acme, CC, 5)
    later = save(NONE, SOME, 10)
    push(acme, AA, 15)
    page = find_moved(acme, saved)
    assert read(page) == [("v1.0.0", BB, CC)]
    assert page.until == later.at
    assert page.following is None


def test_the_latest_change_goes_on(acme: Workspace) -> None:
    saved = save(SOME, NONE)
    assert find_moved(acme, saved) == MovedPage([], None)


def test_who_moved_it_and_when_is_told(acme: Workspace) -> None:
    push(acme, AA, -60)
    saved = save(SOME, NONE)
    moved_by = push(acme, BB, 5)
    [move] = find_moved(acme, saved).moves
    assert (move.actor, move.at, move.repository) == ("dana", moved_by.at, "acme/api")


def test_a_first_push_is_no_move(acme: Workspace) -> None:
    saved = save(SOME, NONE)
    push(acme, AA, 5)
    assert read(find_moved(acme, saved)) == []


def test_what_a_lock_held_counts_where_no_push_is_known(acme: Workspace) -> None:
    write_at(after(-60), kind="tag.adopted", tag="v1.0.0", digest=AA)
    saved = save(SOME, NONE)
    push(acme, BB, 5)
    assert read(find_moved(acme, saved)) == [("v1.0.0", AA, BB)]


def test_a_lock_that_a_push_ended_is_told_once(acme: Workspace) -> None:
    push(acme, AA, -60)
    saved = save(SOME, NONE)
    end(5, ENDED, BB)
    push(acme, BB, 5.1)
    assert read(find_moved(acme, saved)) == [("v1.0.0", AA, BB)]


def test_without_the_gate_the_locks_that_ended_tell(acme: Workspace) -> None:
    saved = save(SOME, NONE)
    end(5, ENDED, BB)
    assert read(find_moved(acme, saved)) == [("v1.0.0", AA, BB)]


def test_a_delete_is_a_move_and_so_is_what_comes_after_it(acme: Workspace) -> None:
    push(acme, AA, -60)
    saved = save(SOME, NONE)
    end(5, DELETED)
    push(acme, CC, 6)
    assert read(find_moved(acme, saved)) == [("v1.0.0", AA, ""), ("v1.0.0", "", CC)]


def test_the_pushes_of_another_workspace_are_left_out(acme: Workspace, globex: Workspace) -> None:
    for workspace in (acme, globex):
        push(workspace, AA, -60)
    saved = save(SOME, NONE)
    save(NONE, SOME, 1, workspace="globex")
    push(globex, BB, 5)
    write_at(
        after(6),
        workspace="globex",
        repository="globex/api",
        tag="v1.0.0",
        kind="lock.ended",
        reason=ENDED,
        digest=AA,
        other_digest=CC,
    )
    # What another workspace knows of a repository of this name is nothing of ours.
    Push.objects.create(
        workspace=globex, repository="acme/api", tag="v2.0.0", digest=AA, actor="m", at=after(-5)
    )
    push(acme, BB, 7, tag="v2.0.0")
    page = find_moved(acme, saved)
    assert (page.moves, page.until) == ([], None)


def test_details_of_another_form_say_nothing(acme: Workspace) -> None:
    push(acme, AA, -60)
    odd: list[Any] = [None, {}, {"before": 1, "after": {}}, {"before": {}, "after": {}}]
    for details in odd:
        saved = write_at(NOON, kind="settings.changed", details=details)
        push(acme, BB, 5)
        assert find_moved(acme, saved).moves == []


def test_a_push_through_the_gate_is_found(acme: Workspace, protect: Callable[..., Policy]) -> None:
    core = Core(acme, RegistryDouble(), protect)
    core.protect(Protection.SOME, SEMVER)
    core.push("v1.0.0", "v1.0.1", image=image("one"))
    core.protect(Protection.NONE)
    core.push("v1.0.0", image=image("two"))
    core.delete("v1.0.1", is_admin=True)
    saved = LockEvent.objects.filter(kind="settings.changed").latest("id")
    one, two = digest_of(image("one")), digest_of(image("two"))
    assert read(find_moved(acme, saved)) == [("v1.0.0", one, two), ("v1.0.1", one, "")]


def read_all(workspace: Workspace, saved: LockEvent, limit: int) -> list[str]:
    """Return the tags of every page, in order."""
    tags: list[str] = []
    place: Place | None = Place()
    while place is not None:
        page = find_moved(workspace, saved, place, limit)
        assert len(page.moves) <= limit
        tags += [move.tag for move in page.moves]
        place = page.following
    return tags


@pytest.mark.parametrize("seconds", [0.0, 10.0])
@pytest.mark.parametrize("scanned", [2, 3, moved.MAX_SCANNED])
@pytest.mark.parametrize("limit", [1, 2, 7, MOVES_PER_PAGE])
def test_pages_miss_nothing_and_repeat_nothing(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch, scanned: int, limit: int, seconds: float
) -> None:
    monkeypatch.setattr(moved, "MAX_SCANNED", scanned)
    monkeypatch.setattr(moved, "MAX_MATCH_SECONDS", seconds)
    names = [f"v{number}.0.0" for number in range(8)]
    for name in names:
        push(acme, AA, -60, tag=name)
    saved = save(SOME, NONE)
    for number, name in enumerate(names):
        push(acme, BB, number, tag="latest")
        if number % 3:
            push(acme, BB, number, tag=name)
        else:
            end(number, DELETED, tag=name)
    assert read_all(acme, saved, limit) == names


def test_a_page_takes_as_many_queries_however_much_moved(
    acme: Workspace, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    names = [f"v{number}.0.0" for number in range(20)]
    for name in names:
        push(acme, AA, -60, tag=name)
    saved = save(SOME, NONE)
    for name in names:
        push(acme, BB, 5, tag=name)
    with django_assert_max_num_queries(7):
        assert len(find_moved(acme, saved).moves) == 20
