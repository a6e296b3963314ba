"""Many at once, each with a database connection of its own: who wins is decided once."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import pytest
from django.db import connection
from immutability.actions.claims import abandon_claim, confirm_claim
from immutability.actions.manage import NameAfter, delete_locked_tag, release_locked_tag
from immutability.actions.read import read_policy

from containers.reference import Digest
from immutability.actions.save_settings import StaleSettingsError, save_container_settings
from immutability.answers import DeleteAnswer, PushAnswer
from immutability.drafts import Draft
from immutability.models import Attempt, LockedTag, Rule
from immutability.protection import Outcome, Policy, PolicyRule, Protection
from tests.conftest import AA, BB, is_postgresql
from tests.immutability.actions.asking import (
    attempt_of,
    claim,
    delete,
    lock_of,
    push,
    standing_lock,
    tag_event_kinds,
)
from workspaces.access import SYSTEM
from workspaces.log.models import EventRepeat, LockEvent
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)

Protect = Callable[..., Policy]
Result = TypeVar("Result")

THREADS = 16
ROUNDS = 8
WAIT_SECONDS = 60

DIGESTS = [f"sha256:{number:064x}" for number in range(1, THREADS + 1)]


def at_once(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run all of `calls` at the same moment, each in a thread of its own; return their results.

    Everybody has a connection before anybody starts. Where a call raises anything at all, "the
    database is locked" or a deadlock too, the test fails with it.
    """
    barrier = threading.Barrier(len(calls))
    results: dict[int, Result] = {}
    errors: list[BaseException] = []

    def run(number: int, call: Callable[[], Result]) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(WAIT_SECONDS)
            results[number] = call()
        except BaseException as error:
            errors.append(error)
            barrier.abort()
        finally:
            connection.close()

    # The pool has as many connections as there are threads: it begins anew, with all of them.
    connection.close()
    if is_postgresql():
        connection.close_pool()  # type: ignore[attr-defined]
    threads = [
        threading.Thread(target=run, args=(number, call), daemon=True)
        for number, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(calls))]


def pushes(
    workspace: Workspace, tags: Sequence[str], digests: Sequence[str]
) -> list[Callable[[], PushAnswer]]:
    return [partial(push, workspace, *tags, digest=digest) for digest in digests]


def claims(
    workspace: Workspace, tags: Sequence[str], digests: Sequence[str]
) -> list[Callable[[], PushAnswer]]:
    return [partial(claim, workspace, *tags, digest=digest) for digest in digests]


# First pushes.


def test_of_sixteen_images_exactly_one_gets_a_new_tag(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    answers = at_once(pushes(acme, ["v1"], DIGESTS))
    won = [digest for digest, answer in zip(DIGESTS, answers, strict=True) if answer.is_allowed]
    assert len(won) == 1
    assert standing_lock(acme, "v1").digest == won[0]
    assert LockedTag.objects.count() == 1
    for answer in answers:
        assert answer.outcome is (Outcome.LOCKED_NOW if answer.is_allowed else Outcome.LOCKED)
        assert answer.tags[0].locked_digest == Digest(won[0])
    assert sorted(tag_event_kinds(acme)) == ["push.refused"] * 15 + ["tag.locked"]


def test_sixteen_pushes_of_one_image_all_succeed_and_lock_once(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    answers = at_once(pushes(acme, ["v1"], [AA] * THREADS))
    assert all(answer.is_allowed for answer in answers)
    outcomes = sorted(answer.outcome for answer in answers)
    assert outcomes == [Outcome.LOCKED_NOW] + [Outcome.UNCHANGED] * 15
    assert sorted(tag_event_kinds(acme)) == ["push.identical", "tag.locked"]
    assert EventRepeat.objects.get().count == 14


def test_the_answer_to_everybody_else_is_true_the_moment_it_is_given(
    acme: Workspace, protect: Protect
) -> None:
    """Whoever is refused can read the lock that stood in the way, and it never moves again."""
    protect(acme, Protection.ALL)

    def push_and_look(digest: str) -> tuple[PushAnswer, str]:
        answer = push(acme, "v1", digest=digest)
        return answer, standing_lock(acme, "v1").digest

    seen = at_once([partial(push_and_look, digest) for digest in DIGESTS])
    assert len({digest for _, digest in seen}) == 1
    for answer, digest in seen:
        assert answer.tags[0].locked_digest == Digest(digest)


def test_several_tags_in_opposite_orders_go_to_one_push_or_another(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    for number in range(ROUNDS):
        tags = [f"v{number}.{letter}" for letter in "abcde"]
        orders = [tags if each % 2 else tags[::-1] for each in range(8)]
        answers = at_once(
            [
                partial(push, acme, *order, digest=digest)
                for order, digest in zip(orders, DIGESTS, strict=False)
            ]
        )
        assert [answer.is_allowed for answer in answers].count(True) == 1
        assert len({standing_lock(acme, tag).digest for tag in tags}) == 1


def test_pushes_that_share_some_tags_are_all_or_none(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    for number in range(ROUNDS):
        a, b, c = (f"{number}-{letter}" for letter in "abc")
        groups = [(a, b), (c, b), (c, a), (b, a), (b, c), (a, c)]
        answers = at_once(
            [
                partial(push, acme, *group, digest=digest)
                for group, digest in zip(groups, DIGESTS, strict=False)
            ]
        )
        won = [index for index, answer in enumerate(answers) if answer.is_allowed]
        assert len(won) == 1
        locked = LockedTag.objects.filter(tag__in=[a, b, c])
        assert {lock.tag for lock in locked} == set(groups[won[0]])
        assert {lock.digest for lock in locked} == {DIGESTS[won[0]]}


def test_an_existing_tag_is_adopted_once(acme: Workspace, protect: Protect) -> None:
    push(acme, "v1")
    protect(acme, Protection.ALL)
    answers = at_once(pushes(acme, ["v1"], [AA, *DIGESTS[:7]]))
    assert [answer.outcome for answer in answers] == [Outcome.UNCHANGED] + [Outcome.LOCKED] * 7
    assert standing_lock(acme, "v1").digest == AA
    assert tag_event_kinds(acme).count("tag.adopted") == 1


def test_refusals_at_once_are_one_event_and_a_counter(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    answers = at_once(pushes(acme, ["v1"], [BB] * THREADS))
    assert len({str(answer.refusal) for answer in answers}) == 1
    assert tag_event_kinds(acme) == ["tag.locked", "push.refused"]
    assert EventRepeat.objects.get().count == 15


def test_unprotected_pushes_at_once_are_all_allowed(acme: Workspace) -> None:
    tags = ["a", "b", "c"]
    orders = [tags if each % 2 else tags[::-1] for each in range(8)]
    answers = at_once(
        [
            partial(push, acme, *order, digest=digest)
            for order, digest in zip(orders, DIGESTS, strict=False)
        ]
    )
    assert {answer.outcome for answer in answers} == {Outcome.UNPROTECTED}


def test_a_released_tag_goes_to_one_of_many(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    release_locked_tag(acme, standing_lock(acme, "v1").id, "", actor=SYSTEM)
    answers = at_once(pushes(acme, ["v1"], DIGESTS[:8]))
    won = [answer for answer in answers if answer.is_allowed]
    assert len(won) == 1
    assert {answer.tags[0].locked_digest for answer in answers} == {
        Digest(standing_lock(acme, "v1").digest)
    }


def test_a_suspended_lock_ends_once(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    protect(acme, Protection.NONE)
    answers = at_once(pushes(acme, ["v1"], DIGESTS[:8]))
    assert {answer.outcome for answer in answers} == {Outcome.UNPROTECTED}
    assert lock_of(acme, "v1") is None
    assert tag_event_kinds(acme).count("lock.ended") == 1


# Announced pushes.


def test_of_sixteen_announced_images_exactly_one_gets_the_claim(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    answers = at_once(claims(acme, ["v1"], DIGESTS))
    won = [digest for digest, answer in zip(DIGESTS, answers, strict=True) if answer.is_allowed]
    assert len(won) == 1
    lock = standing_lock(acme, "v1")
    assert (lock.state, lock.digest) == ("claimed", won[0])
    assert sorted({answer.outcome for answer in answers}) == ["claim_pending", "claimed"]
    assert Attempt.objects.count() == 1
    assert tag_event_kinds(acme) == []


def test_sixteen_announcements_of_one_image_share_a_claim(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    answers = at_once(claims(acme, ["v1"], [AA] * THREADS))
    assert {answer.outcome for answer in answers} == {Outcome.CLAIMED}
    attempts = [attempt_of(answer) for answer in answers]
    assert len({attempt.id for attempt in attempts}) == THREADS
    at_once([partial(confirm_claim, each, actor=SYSTEM) for each in attempts])
    assert standing_lock(acme, "v1").state == "locked"
    assert tag_event_kinds(acme) == ["tag.locked"]


def test_a_claim_that_everybody_abandons_at_once_is_gone(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    for number in range(ROUNDS):
        tag = f"v{number}"
        attempts = [attempt_of(claim(acme, tag)) for _ in range(6)]
        at_once([partial(abandon_claim, each) for each in attempts])
        assert lock_of(acme, tag) is None


def test_one_success_wins_over_failures_at_the_same_moment(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)

    def confirm(attempt: Attempt) -> None:
        confirm_claim(attempt, actor=SYSTEM)

    for number in range(ROUNDS):
        tag = f"v{number}"
        attempts = [attempt_of(claim(acme, tag)) for _ in range(4)]
        ends: list[Callable[[Attempt], None]] = [confirm, *[abandon_claim] * 3]
        at_once([partial(end, each) for end, each in zip(ends, attempts, strict=True)])
        lock = standing_lock(acme, tag)
        assert (lock.state, lock.digest) == ("locked", AA)
        assert tag_event_kinds(acme).count("tag.locked") == number + 1


def test_who_joins_while_another_abandons_has_a_claim_that_holds(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    for number in range(ROUNDS):
        tag = f"v{number}"
        attempt = attempt_of(claim(acme, tag))
        calls: list[Callable[[], object]] = [
            partial(abandon_claim, attempt),
            *claims(acme, [tag], [AA] * 3),
        ]
        joined = at_once(calls)[1:]
        for answer in joined:
            assert isinstance(answer, PushAnswer)
            assert answer.outcome is Outcome.CLAIMED
            assert standing_lock(acme, tag).state == "claimed"
        for answer in joined:
            assert isinstance(answer, PushAnswer)
            abandon_claim(attempt_of(answer))
        assert lock_of(acme, tag) is None


def test_announcements_of_several_tags_in_opposite_orders_never_wait_in_a_circle(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    tags = ["B", "a", "_", "C", "0"]
    claim(acme, *tags)
    orders = [tags if each % 2 else tags[::-1] for each in range(8)]
    answers = at_once([partial(claim, acme, *order) for order in orders])
    attempts = [attempt_of(answer) for answer in answers]

    def end(number: int) -> None:
        if number % 2:
            confirm_claim(attempts[number], actor=SYSTEM)
        else:
            abandon_claim(attempts[number])

    def join(order: list[str]) -> None:
        assert claim(acme, *order).is_allowed

    at_once(
        [
            *[partial(end, number) for number in range(8)],
            *[partial(join, order) for order in orders],
        ]
    )
    assert {standing_lock(acme, tag).state for tag in tags} == {"locked"}


# Settings.


def test_of_eight_saves_over_one_version_exactly_one_wins(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    _save_at_once(acme, expected_version=1)


def test_of_eight_first_saves_exactly_one_wins(acme: Workspace) -> None:
    _save_at_once(acme, expected_version=0)


def _save_at_once(acme: Workspace, *, expected_version: int) -> None:
    def save(number: int) -> int | StaleSettingsError:
        rules = tuple(PolicyRule(f"{number} {each}", f"^{number}") for each in range(number % 7))
        try:
            save_container_settings(
                acme,
                Draft(Protection.ALL, rules),
                expected_version=expected_version,
                may_suspend_locks=True,
                actor=SYSTEM,
            )
        except StaleSettingsError as error:
            return error
        return number

    results = at_once([partial(save, number) for number in range(8)])
    won = [each for each in results if isinstance(each, int)]
    stale = [each for each in results if isinstance(each, StaleSettingsError)]
    assert (len(won), len(stale)) == (1, 7)
    policy = read_policy(acme)
    assert policy.version == expected_version + 1
    assert {rule.name.split()[0] for rule in policy.rules} <= {str(won[0])}
    assert Rule.objects.count() == won[0] % 7
    assert {error.current for error in stale} == {policy}
    assert LockEvent.objects.filter(kind="settings.changed").count() == expected_version + 1


def test_a_suspended_lock_ends_or_holds_again_but_is_never_lost(
    acme: Workspace, protect: Protect
) -> None:
    """Where the protection comes back while another image is pushed, either the push was first
    and the lock has ended, or the protection was and the push is refused."""
    protect(acme, Protection.ALL)
    for number in range(ROUNDS):
        push(acme, f"v{number}")
    for number in range(ROUNDS):
        tag = f"v{number}"
        protect(acme, Protection.NONE)
        protect_again = partial(
            save_container_settings,
            acme,
            Draft(Protection.ALL),
            expected_version=read_policy(acme).version,
            may_suspend_locks=True,
            actor=SYSTEM,
        )
        calls: list[Callable[[], object]] = [*pushes(acme, [tag], [BB]), protect_again]
        answer, _ = at_once(calls)
        assert isinstance(answer, PushAnswer)
        if answer.is_allowed:
            assert answer.outcome is Outcome.UNPROTECTED
            assert lock_of(acme, tag) is None
        else:
            assert answer.outcome is Outcome.LOCKED
            assert standing_lock(acme, tag).digest == AA


# Deletes.


def test_of_eight_admins_deletes_one_reserves_the_name(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    answers = at_once([partial(delete, acme, "v1", is_admin=True)] * 8)
    assert all(answer.is_allowed for answer in answers)
    assert standing_lock(acme, "v1").state == "reserved"
    assert tag_event_kinds(acme) == ["tag.locked", "tag.deleted"]


def test_a_name_is_freed_once(acme: Workspace, protect: Protect) -> None:
    protect(acme, Protection.ALL)
    push(acme, "v1")
    lock = standing_lock(acme, "v1")

    def free() -> bool:
        try:
            delete_locked_tag(acme, lock.id, NameAfter.FREE, "", actor=SYSTEM)
        except LockedTag.DoesNotExist:
            return False
        return True

    assert at_once([free] * 6).count(True) == 1
    assert tag_event_kinds(acme) == ["tag.locked", "tag.deleted", "lock.freed"]


def test_a_delete_and_pushes_at_once_leave_the_name_to_its_image(
    acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    for number in range(ROUNDS):
        tag = f"v{number}"
        push(acme, tag)
        calls: list[Callable[[], PushAnswer | DeleteAnswer]] = [
            partial(delete, acme, tag, is_admin=True),
            *pushes(acme, [tag], [AA, BB]),
        ]
        deleted, same, other = at_once(calls)
        assert deleted.is_allowed
        assert same.is_allowed
        assert not other.is_allowed
        assert standing_lock(acme, tag).digest == AA
