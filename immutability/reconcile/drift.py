"""Drift: where the registry and the locks say different things, which no write of Taglock's does.

A restored backup, a write past the gate, a storage that was lost: this is how they are found.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet

from containers import writes
from containers.catalog import iterate_owned, iterate_tags, split
from containers.inventory import find_descendants
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryClient, RegistryUnavailableError
from immutability.errors import TryAgainError
from immutability.look import head_manifest, learn_lists, look_at_tag
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, cover
from immutability.reading import read_policy, read_policy_and_time
from workspaces.access import Actor
from workspaces.log.append import Event, append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

_CHUNK = 500


@dataclass(frozen=True)
class Drift:
    """One difference. `expected` is what Taglock says, `found` what the registry has.

    `gone` is the record of a tag without a lock that the registry has shown, and shows no more.
    """

    repository: str
    tag: str
    expected: str
    found: str
    what: str
    gone: TagRecord | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}: {self.what}"


def find_drift(workspace: Workspace, registry: RegistryClient) -> Iterator[Drift]:
    """Yield every difference between a workspace's locks in force and what the registry has.

    A tag with a write in flight, or with one that may still land, is passed over: its end is not
    known yet. Raises TryAgainError where the registry does not say what it has.
    """
    policy = read_policy(workspace)
    yield from _find_in_locks(workspace, policy, registry)
    yield from _find_without_lock(workspace, policy, registry)
    yield from _find_gone(workspace, policy, registry)


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


@transaction.atomic
def forget_gone(drift: Drift) -> bool:
    """Forget what a tag pointed at that is gone for good; return whether it was forgotten.

    An operator has to say so: a registry that has lost its storage says the same of every tag.
    """
    if drift.gone is None:
        return False
    record = writes.lock_record(drift.gone.id)
    _, now = read_policy_and_time(record.workspace)
    is_locked = LockedTag.objects.filter(record=record).exists()
    if record.revision != drift.gone.revision or is_locked:
        return False
    record.digest, record.shown_at = "", now
    writes.save_record(record, now)
    return True


def _settled(workspace: Workspace) -> QuerySet[TagRecord]:
    """Return the records that no write can change."""
    return TagRecord.objects.filter(
        workspace=workspace, write_id__isnull=True, stray_until__isnull=True
    )


def _find_in_locks(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Drift]:
    last = 0
    rows = LockedTag.objects.filter(
        record__in=_settled(workspace), state__in=[LockState.LOCKED, LockState.RESERVED]
    ).order_by("id")
    there: set[tuple[str, Digest]] = set()
    while chunk := list(rows.filter(id__gt=last).select_related("record")[:_CHUNK]):
        for row in chunk:
            last = row.id
            if not cover(policy, TagName(row.tag)).is_covered:
                continue
            # Looked at again: the lock may have changed since it was read.
            found = list(_compare(workspace, row, registry, there))
            if found and _is_unchanged(row.record):
                yield from found


def _compare(
    workspace: Workspace,
    row: LockedTag,
    registry: RegistryClient,
    there: set[tuple[str, Digest]],
) -> Iterator[Drift]:
    """Yield what is wrong with a lock. `there` are manifests that were seen, and gets more."""
    repository, held = RepositoryName(row.repository), Digest(row.digest)
    shown = look_at_tag(repository, TagName(row.tag), registry).digest

    def drift(what: str) -> Drift:
        return Drift(row.repository, row.tag, row.digest, str(shown or ""), what)

    if row.state == LockState.RESERVED:
        if shown is not None:
            yield drift("its name is reserved, and the registry has the tag")
    elif shown is None:
        yield drift(f"locked to {held.short}, and the registry does not have the tag")
    elif shown != held:
        yield drift(f"locked to {held.short}, and the registry has {shown.short}")
    else:
        for missing in _find_missing(workspace, repository, held, registry, there):
            yield drift(
                f"locked to {held.short}, which lists {missing}: the registry does not have that"
            )


def _find_missing(
    workspace: Workspace,
    repository: RepositoryName,
    digest: Digest,
    registry: RegistryClient,
    there: set[tuple[str, Digest]],
) -> list[Digest]:
    """Return what an index lists, to any depth, and the registry does not have."""
    learn_lists(workspace, repository, {digest}, registry)
    missing = []
    for each in sorted(find_descendants(workspace, repository, {digest}) - {digest}):
        if (repository.name, each) in there:
            continue
        if head_manifest(repository, each, registry) is None:
            missing.append(each)
        else:
            there.add((repository.name, each))
    return missing


def _find_without_lock(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Drift]:
    what = "protected, and not locked yet: sync_registry locks it"
    try:
        for repository in iterate_owned(registry, workspace):
            for tags in split(iterate_tags(registry, repository), _CHUNK):
                for tag in _filter_without_lock(workspace, policy, repository, tags):
                    shown = look_at_tag(repository, tag, registry).digest
                    if shown is not None:
                        yield Drift(repository.name, tag.name, "", shown.value, what)
    except RegistryUnavailableError as error:
        raise TryAgainError(f"the registry gave no answer ({error})") from error


def _filter_without_lock(
    workspace: Workspace, policy: Policy, repository: RepositoryName, tags: tuple[TagName, ...]
) -> list[TagName]:
    """Return the covered tags that have no lock, and no write that may still land."""
    covered = [tag for tag in tags if cover(policy, tag).is_covered]
    rows = TagRecord.objects.filter(
        workspace=workspace, repository=repository.name, name__in=[tag.name for tag in covered]
    )
    settled = rows.filter(lock__isnull=True, write_id__isnull=True, stray_until__isnull=True)
    passed = set(rows.exclude(pk__in=settled).values_list("name", flat=True))
    return [tag for tag in covered if tag.name not in passed]


def _find_gone(workspace: Workspace, policy: Policy, registry: RegistryClient) -> Iterator[Drift]:
    """Yield the covered tags without a lock whose next push would be decided by what is gone."""
    last = 0
    rows = _settled(workspace).filter(lock__isnull=True).exclude(digest="").order_by("id")
    while chunk := list(rows.filter(id__gt=last)[:_CHUNK]):
        for row in chunk:
            last = row.id
            if not cover(policy, TagName(row.name)).is_covered:
                continue
            shown = look_at_tag(RepositoryName(row.repository), TagName(row.name), registry).digest
            if shown is None and _is_unchanged(row):
                what = (
                    f"was seen there with {Digest(row.digest).short}, and is gone: another image "
                    "is refused until it is forgotten"
                )
                yield Drift(row.repository, row.name, row.digest, "", what, row)


def _is_unchanged(record: TagRecord) -> bool:
    return TagRecord.objects.filter(pk=record.pk, revision=record.revision).exists()
