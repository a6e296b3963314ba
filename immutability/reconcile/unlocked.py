"""Tags without a lock that are not as Taglock thinks: found by check_drift, and left to people."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from django.db import transaction

from containers import writes
from containers.catalog import iterate_owned, iterate_tags, split
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryClient, RegistryUnavailableError
from immutability.errors import TryAgainError, UnreadableTagError
from immutability.look import asking_registry, look_at_tag
from immutability.models import LockedTag
from immutability.policy.protection import Policy, cover
from immutability.reading import read_policy, read_policy_and_time
from workspaces.access import SYSTEM
from workspaces.log.append import Event, append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

_CHUNK = 500
_UNREADABLE = "protected, and the registry cannot read it: push it, or delete it there"


@dataclass(frozen=True)
class Difference:
    """One difference, in words. `digest` is what the registry has, where nothing holds the tag.

    `gone` is the record of a tag without a lock that the registry has shown, and shows no more.
    Without a tag it says why the tags of a repository could not be looked at.
    """

    repository: str
    tag: str
    what: str
    digest: str = ""
    gone: TagRecord | None = None

    def __str__(self) -> str:
        return f"{self.repository}{self.tag and ':'}{self.tag}: {self.what}"


def find_without_lock(workspace: Workspace, registry: RegistryClient) -> Iterator[Difference]:
    """Yield the covered tags that have no lock yet, and those that are gone; record each.

    A tag with a write in flight, or with one that may still land, is passed over: its end is not
    known yet. Raises TryAgainError where the registry does not say what it has.
    """
    policy = read_policy(workspace)
    for found in chain(
        _find_not_locked(workspace, policy, registry), _find_gone(workspace, policy, registry)
    ):
        if found.tag:
            _record(workspace, found)
        yield found


@transaction.atomic
def _record(workspace: Workspace, found: Difference) -> None:
    """Record a difference of a tag without a lock, once an hour."""
    event = Event(
        EventKind.DRIFT_FOUND,
        workspace.slug,
        found.repository,
        found.tag,
        digest=found.gone.digest if found.gone else "",
        other_digest=found.digest,
        reason=found.what,
    )
    append_repeatable_event(event, actor=SYSTEM)


@transaction.atomic
def forget_gone(found: Difference) -> bool:
    """Forget what a tag pointed at that is gone for good; return whether it was forgotten.

    An operator has to say so: a registry that has lost its storage says the same of every tag.
    """
    if found.gone is None:
        return False
    record = writes.lock_record(found.gone.id)
    _, now = read_policy_and_time(record.workspace)
    is_locked = LockedTag.objects.filter(record=record).exists()
    if record.revision != found.gone.revision or is_locked:
        return False
    writes.set_shown(record, "", now, record.unreadable_since)
    writes.save_record(record, now)
    return True


def _find_not_locked(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Difference]:
    with asking_registry():
        for repository in iterate_owned(registry, workspace):
            try:
                yield from _find_not_locked_in(repository, workspace, policy, registry)
            except (TryAgainError, RegistryUnavailableError) as error:
                # What it cannot show of one does not stop the others.
                registry.require_answer()
                yield _cannot_look(repository.name, error)


def _cannot_look(repository: str, why: Exception) -> Difference:
    return Difference(repository, "", f"it cannot be looked at: {why}")


def _find_not_locked_in(
    repository: RepositoryName, workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Difference]:
    what = "protected, and not locked yet: sync_registry locks it"
    for tags in split(iterate_tags(registry, repository), _CHUNK):
        for tag in _filter_without_lock(workspace, policy, repository, tags):
            try:
                look = look_at_tag(workspace, repository, tag, registry)
            except UnreadableTagError as error:
                yield _cannot_look(repository.name, error)
                continue
            if look.digest is not None:
                yield Difference(repository.name, tag.name, what, look.digest.value)
            elif look.unreadable_since is not None:
                yield Difference(repository.name, tag.name, _UNREADABLE)


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


def _find_gone(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Difference]:
    """Yield the covered tags without a lock whose next push would be decided by what is gone."""
    last = 0
    settled = TagRecord.objects.filter(
        workspace=workspace, write_id__isnull=True, stray_until__isnull=True
    )
    rows = settled.filter(lock__isnull=True).exclude(digest="").order_by("id")
    while chunk := list(rows.filter(id__gt=last)[:_CHUNK]):
        for row in chunk:
            last = row.id
            if not cover(policy, TagName(row.name)).is_covered:
                continue
            place = workspace, RepositoryName(row.repository), TagName(row.name)
            try:
                shown = look_at_tag(*place, registry).digest
            except UnreadableTagError as error:
                yield _cannot_look(row.repository, error)
                continue
            if shown is None and _is_unchanged(row):
                what = (
                    f"was seen there with {Digest(row.digest).short}, and is gone: another image "
                    "is refused until it is forgotten"
                )
                yield Difference(row.repository, row.name, what, gone=row)


def _is_unchanged(record: TagRecord) -> bool:
    return TagRecord.objects.filter(pk=record.pk, revision=record.revision).exists()
