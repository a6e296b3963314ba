"""Public repositories: who made them so, once and on record, and whose names they are."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from containers.models import Repository as KnownRepository
from containers.names import RepositoryName
from containers.visibility import ForeignRepositoryError, set_public
from tests.at_once import at_once
from tests.problems import nothing_written
from tests.public import find_public
from workspaces.access import SYSTEM, Actor, ActorKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("alice")]

API = RepositoryName("acme/api")
ALICE = Actor("alice", ActorKind.PERSON)


def publish(workspace: Workspace, *names: str) -> None:
    for name in names:
        assert set_public(workspace, RepositoryName(name), is_public=True, actor=SYSTEM)


def events_of(workspace: Workspace) -> list[LockEvent]:
    return list(
        LockEvent.objects.filter(workspace=workspace.slug, kind__startswith="repository.").order_by(
            "id"
        )
    )


# Changes.


def test_a_repository_is_private_until_it_is_made_public(acme: Workspace) -> None:
    KnownRepository.objects.create(workspace=acme, name="acme/api")
    assert find_public(["acme/api"]) == set()
    assert set_public(acme, API, is_public=True, actor=ALICE)
    assert find_public(["acme/api"]) == {"acme/api"}
    assert set_public(acme, API, is_public=False, actor=ALICE)
    assert find_public(["acme/api"]) == set()
    assert KnownRepository.objects.count() == 1


def test_a_name_can_be_made_public_before_its_first_push(acme: Workspace) -> None:
    assert set_public(acme, API, is_public=True, actor=ALICE)
    assert find_public(["acme/api"]) == {"acme/api"}


def test_each_change_is_an_event_with_what_was_and_what_is(acme: Workspace) -> None:
    set_public(acme, API, is_public=True, actor=ALICE)
    set_public(acme, API, is_public=False, actor=SYSTEM)
    published, closed = events_of(acme)
    assert (published.kind, published.repository) == ("repository.published", "acme/api")
    assert (published.actor, published.actor_kind) == ("alice", "person")
    assert published.details == {"before": {"is_public": False}, "after": {"is_public": True}}
    assert (closed.kind, closed.repository) == ("repository.closed", "acme/api")
    assert (closed.actor, closed.actor_kind) == ("taglock", "system")
    assert closed.details == {"before": {"is_public": True}, "after": {"is_public": False}}


@pytest.mark.parametrize("is_public", [True, False])
def test_what_changes_nothing_is_no_event(acme: Workspace, *, is_public: bool) -> None:
    KnownRepository.objects.create(workspace=acme, name="acme/api", is_public=is_public)
    with nothing_written():
        assert not set_public(acme, API, is_public=is_public, actor=ALICE)


def test_closing_what_nobody_knows_leaves_nothing_behind(acme: Workspace) -> None:
    with nothing_written():
        assert not set_public(acme, API, is_public=False, actor=ALICE)


@pytest.mark.parametrize("name", ["globex/api", "acme2/api", "acm/api"])
def test_a_workspace_cannot_make_the_repository_of_another_public(
    acme: Workspace, globex: Workspace, name: str
) -> None:
    with nothing_written(), pytest.raises(ForeignRepositoryError):
        set_public(acme, RepositoryName(name), is_public=True, actor=ALICE)


@pytest.mark.parametrize("is_public", [True, False])
def test_without_its_event_a_change_does_not_happen(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch, *, is_public: bool
) -> None:
    KnownRepository.objects.create(workspace=acme, name="acme/api", is_public=not is_public)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the log is full")

    monkeypatch.setattr("containers.visibility.append_event", fail)
    with nothing_written(), pytest.raises(RuntimeError):
        set_public(acme, API, is_public=is_public, actor=ALICE)


# What is public.


def test_many_names_are_one_query(
    acme: Workspace, globex: Workspace, django_assert_num_queries: Callable[..., Any]
) -> None:
    publish(acme, "acme/api", "acme/web/site")
    publish(globex, "globex/api")
    KnownRepository.objects.create(workspace=acme, name="acme/private")
    names = [
        "acme/api",
        "acme/api",
        "acme/web/site",
        "acme/web",
        "acme/private",
        "acme/unknown",
        "globex/api",
        "globex/web/site",
        "initech/api",
    ]
    with django_assert_num_queries(1):
        assert find_public(names) == {"acme/api", "acme/web/site", "globex/api"}


def test_no_names_are_no_query(django_assert_num_queries: Callable[..., Any]) -> None:
    with django_assert_num_queries(0):
        assert find_public([]) == set()


# Many at once.


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_known", [True, False])
def test_of_eight_who_make_it_public_at_once_one_has_done_it(
    acme: Workspace, *, is_known: bool
) -> None:
    if is_known:
        KnownRepository.objects.create(workspace=acme, name="acme/api")
    changes = at_once([partial(set_public, acme, API, is_public=True, actor=ALICE)] * 8)
    assert changes.count(True) == 1
    assert [event.kind for event in events_of(acme)] == ["repository.published"]
    assert KnownRepository.objects.get().is_public


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_what_several_do_at_once_is_on_record_in_order(acme: Workspace) -> None:
    for _ in range(4):
        calls = [
            partial(set_public, acme, API, is_public=bool(number % 2), actor=ALICE)
            for number in range(8)
        ]
        before = len(events_of(acme))
        changes = at_once(calls)
        events = events_of(acme)
        assert len(events) == before + changes.count(True)
        states = [(event.details or {})["after"]["is_public"] for event in events]
        # Each event begins where the one before it ended, and the last one says what is.
        assert states == [number % 2 == 0 for number in range(len(states))]
        assert KnownRepository.objects.filter(is_public=True).exists() == states[-1]
