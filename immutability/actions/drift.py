"""Drift: where the registry and the locks say different things, which no write of Taglock's does.

A restored backup, a write past the gate, a storage that was lost: this is how they are found.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from containers.known_tags import forget_tags, iterate_known_tags
from django.db import transaction

from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from containers.stock import iterate_repositories, iterate_tags
from immutability.actions.claims import open_attempts
from immutability.actions.look import ask
from immutability.actions.read import UndecidedError, read_locks, read_policy
from immutability.models import LockedTag
from immutability.protection import LockState, Policy, cover
from workspaces.access import Actor
from workspaces.log.append import Event, append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

_CHUNK = 500
GONE = "was seen there, and is gone: no push of it can be decided until it is forgotten"


@dataclass(frozen=True)
class Drift:
    """One difference. `expected` is what the lock says, `found` what the registry has."""

    repository: str
    tag: str
    expected: str
    found: str
    what: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}: {self.what}"


def find_drift(workspace: Workspace, registry: RegistryClient) -> Iterator[Drift]:
    """Yield every difference between a workspace's locks in force and what the registry has.

    A lock with a write under way is passed over: its end is not known yet. Raises UndecidedError
    where the registry does not say what it has.
    """
    policy = read_policy(workspace)
    yield from _find_in_locks(workspace, policy, registry)
    yield from _find_without_lock(workspace, policy, registry)
    yield from _find_gone(workspace, policy, registry)


def forget_gone(workspace: Workspace, drift: Drift) -> bool:
    """Forget a tag that was seen in the registry and is gone for good; return whether it is one.

    Somebody has to say so: a registry that has lost its storage says the same of every tag.
    """
    if drift.what != GONE:
        return False
    forget_tags(workspace, Repository(drift.repository), [Tag(drift.tag)])
    return True


@transaction.atomic
def record_drift(workspace: Workspace, drift: Drift, *, actor: Actor) -> str:
    """Record a difference, once an hour; return the ref of its event."""
    return append_repeatable_event(
        Event(
            EventKind.DRIFT_FOUND,
            workspace.slug,
            drift.repository,
            drift.tag,
            digest=drift.expected,
            other_digest=drift.found,
            reason=drift.what,
        ),
        actor=actor,
    )


def _find_in_locks(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Drift]:
    last = 0
    rows = LockedTag.objects.filter(
        workspace=workspace, state__in=[LockState.LOCKED, LockState.RESERVED]
    ).order_by("id")
    while chunk := list(rows.filter(id__gt=last)[:_CHUNK]):
        for row in chunk:
            last = row.id
            if not cover(policy, Tag(row.tag)).is_covered:
                continue
            what, found = _compare(row, ask(Repository(row.repository), Tag(row.tag), registry))
            # Looked at again: the lock may have changed since it was read.
            if what and _still_stands(row):
                yield Drift(row.repository, row.tag, row.digest, found, what)


def _compare(row: LockedTag, answer: RegistryAnswer) -> tuple[str, str]:
    """Return what is wrong with a lock, or nothing, and what the registry has."""
    found = answer.digest if answer.is_success else ""
    held = Digest(row.digest).short
    if row.state == LockState.RESERVED:
        return ("its name is reserved, and the registry has the tag", found) if found else ("", "")
    if not found:
        return f"locked to {held}, and the registry does not have the tag", ""
    if found != row.digest:
        return f"locked to {held}, and the registry has {Digest(found).short}", found
    return "", found


def _find_without_lock(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Drift]:
    try:
        for repository in iterate_repositories(registry, workspace.slug):
            for tag in iterate_tags(registry, repository):
                if not cover(policy, tag).is_covered:
                    continue
                if not read_locks(workspace, repository, [tag]):
                    what = "protected, and not locked yet: sync_registry locks it"
                    found = ask(repository, tag, registry).digest
                    yield Drift(repository.name, tag.name, "", found, what)
    except RegistryUnavailableError as error:
        raise UndecidedError(f"the registry gave no answer ({error})") from error


def _find_gone(workspace: Workspace, policy: Policy, registry: RegistryClient) -> Iterator[Drift]:
    for repository, tag, digest in iterate_known_tags(workspace):
        if not cover(policy, tag).is_covered or read_locks(workspace, repository, [tag]):
            continue
        if not ask(repository, tag, registry).is_success:
            yield Drift(repository.name, tag.name, digest.value, "", GONE)


def _still_stands(row: LockedTag) -> bool:
    same = LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest)
    return same.exists() and not open_attempts(row).exists()
