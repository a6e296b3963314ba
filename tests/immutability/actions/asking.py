"""Short ways to ask what a registry asks, and to look at what an answer left behind."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, connection

from containers.reference import Digest, Repository, Tag
from immutability.actions.check_delete import DeleteCheck, check_delete
from immutability.actions.check_push import NOT_TOLD, NotTold, PushCheck, ask_push, check_push
from immutability.answers import DeleteAnswer, PushAnswer
from immutability.models import Attempt, LockedTag
from tests.conftest import AA
from workspaces.access import Actor, ActorKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

REPOSITORY = "acme/api"
DANA = Actor("dana", ActorKind.REGISTRY)


def _check(
    workspace: Workspace,
    tags: Iterable[str],
    digest: str | None,
    current: str | NotTold | None,
    *,
    is_two_phase: bool = False,
) -> PushCheck:
    return PushCheck(
        workspace=workspace,
        repository=Repository(f"{workspace.slug}/api"),
        tags=tuple(Tag(tag) for tag in tags),
        digest=Digest(digest) if digest else None,
        current=Digest(current) if isinstance(current, str) else current,
        is_two_phase=is_two_phase,
    )


def push(
    workspace: Workspace,
    *tags: str,
    digest: str = AA,
    current: str | NotTold | None = NOT_TOLD,
    actor: Actor = DANA,
) -> PushAnswer:
    """Check a push in one call."""
    return check_push(_check(workspace, tags, digest, current), actor=actor)


def claim(
    workspace: Workspace,
    *tags: str,
    digest: str = AA,
    current: str | NotTold | None = NOT_TOLD,
    actor: Actor = DANA,
) -> PushAnswer:
    """Check a push whose end is told later."""
    return check_push(
        _check(workspace, tags, digest, current, is_two_phase=True),
        actor=actor,
    )


def attempt_of(answer: PushAnswer) -> Attempt:
    """Return the attempt that an answer announces, freshly read."""
    assert answer.claim is not None
    return Attempt.objects.get(id=answer.claim.id)


def ask(
    workspace: Workspace,
    *tags: str,
    digest: str | None = AA,
    current: str | NotTold | None = NOT_TOLD,
) -> PushAnswer:
    """Ask without changing anything."""
    return ask_push(_check(workspace, tags, digest, current))


def delete(
    workspace: Workspace, target: str, *, is_admin: bool = False, actor: Actor = DANA
) -> DeleteAnswer:
    """Check a delete of a tag, or of a digest, which has a colon."""
    parsed = Digest(target) if ":" in target else Tag(target)
    question = DeleteCheck(workspace, Repository(f"{workspace.slug}/api"), parsed, is_admin)
    return check_delete(question, actor=actor)


def lock_of(workspace: Workspace, tag: str) -> LockedTag | None:
    """Return the lock of a tag, or None."""
    return LockedTag.objects.filter(
        workspace=workspace, repository=f"{workspace.slug}/api", tag=tag
    ).first()


def standing_lock(workspace: Workspace, tag: str) -> LockedTag:
    """Return the lock of a tag that must have one."""
    lock = lock_of(workspace, tag)
    assert lock is not None, f"{tag} has no lock"
    return lock


def tag_events(workspace: Workspace) -> list[LockEvent]:
    """Return the events about tags, oldest first."""
    return list(LockEvent.objects.filter(workspace=workspace.slug).exclude(tag="").order_by("id"))


def tag_event_kinds(workspace: Workspace) -> list[str]:
    """Return the kinds of the events about tags, oldest first."""
    return [event.kind for event in tag_events(workspace)]


def message_of(answer: PushAnswer | DeleteAnswer) -> str:
    """Return the line that the refused client prints."""
    assert answer.refusal is not None
    message: str = answer.refusal.body["errors"][0]["message"]
    return message


def every_row() -> dict[str, list[dict[str, Any]]]:
    """Return the contents of every table of the three apps."""
    return {
        model._meta.db_table: list(model._default_manager.order_by("pk").values())
        for label in ("workspaces", "containers", "immutability")
        for model in apps.get_app_config(label).get_models()
    }


def break_the_log(monkeypatch: pytest.MonkeyPatch, *, works: int = 0) -> None:
    """Let every write of events fail with "disk full", but for the first `works` of them."""
    write = LockEvent.objects.bulk_create
    left = [None] * works

    def write_or_fail(*args: Any, **kwargs: Any) -> list[LockEvent]:
        if not left:
            raise DatabaseError("disk full")
        left.pop()
        return write(*args, **kwargs)

    monkeypatch.setattr(LockEvent.objects, "bulk_create", write_or_fail)


@contextmanager
def meanwhile(*changes: Callable[[], object]) -> Iterator[None]:
    """Let each of `changes` happen once, one in each try of a decision: after the settings and the
    locks were read, and before anything is done about them."""
    waiting = list(changes)
    unread = {"immutability_containersettings", "immutability_lockedtag"}

    def watch(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        if not unread and waiting:
            unread.update({"immutability_containersettings", "immutability_lockedtag"})
            change = waiting.pop(0)
            # What the change reads itself is no read of the decision.
            rest, waiting[:] = waiting[:], []
            change()
            waiting[:] = rest
            unread.update({"immutability_containersettings", "immutability_lockedtag"})
        found = execute(sql, *args)
        if sql.startswith("SELECT"):
            unread.difference_update({table for table in unread if f'FROM "{table}"' in sql})
        return found

    with connection.execute_wrapper(watch):
        yield
    assert not waiting, "the decision was made without these changes"
