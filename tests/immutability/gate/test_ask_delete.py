"""A dry run of a delete where a registry is connected: it is asked what it has."""

from collections.abc import Callable

import pytest
from immutability.actions.ask_delete import ask_delete
from immutability.actions.check_delete import DeleteCheck
from immutability.actions.read import UndecidedError

from containers.reference import Digest, Repository, Tag
from immutability.answers import DeleteAnswer
from immutability.protection import DeleteOutcome, Policy, Protection
from tests.immutability.gate.upstream import TIMEOUT, Upstream, digest_of, image
from tests.problems import nothing_written
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE = image("one")


def ask(
    workspace: Workspace, upstream: Upstream, target: Tag | Digest, *, is_admin: bool = False
) -> DeleteAnswer:
    registry: object = upstream
    check = DeleteCheck(workspace, Repository("acme/api"), target, is_admin=is_admin)
    with nothing_written():
        return ask_delete(check, registry)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("is_admin", "outcome"), [(False, DeleteOutcome.LOCKED), (True, DeleteOutcome.DELETED)]
)
def test_a_covered_tag_that_is_there_counts_as_locked(
    protected: Workspace, upstream: Upstream, *, is_admin: bool, outcome: DeleteOutcome
) -> None:
    upstream.store(ONE, "v1")
    (answer,) = ask(protected, upstream, Tag("v1"), is_admin=is_admin).tags
    assert (answer.outcome, answer.locked_digest) == (outcome, Digest(digest_of(ONE)))


def test_a_tag_that_is_absent_there_is_not_locked(protected: Workspace, upstream: Upstream) -> None:
    (answer,) = ask(protected, upstream, Tag("v1")).tags
    assert answer.outcome is DeleteOutcome.NOT_LOCKED


def test_of_a_tag_that_nothing_covers_no_registry_is_asked(
    acme: Workspace, protect: Callable[..., Policy], upstream: Upstream
) -> None:
    protect(acme, Protection.NONE)
    upstream.scripts["GET"] = [TIMEOUT]
    assert ask(acme, upstream, Tag("v1")).is_allowed


def test_of_a_digest_no_registry_is_asked(protected: Workspace, upstream: Upstream) -> None:
    upstream.scripts["GET"] = [TIMEOUT]
    assert ask(protected, upstream, Digest(digest_of(ONE))).tags == ()


def test_a_registry_that_does_not_say_decides_nothing(
    protected: Workspace, upstream: Upstream
) -> None:
    upstream.scripts["GET"] = [TIMEOUT]
    with pytest.raises(UndecidedError):
        ask(protected, upstream, Tag("v1"))
