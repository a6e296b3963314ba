"""Look what the registry has. No look happens in a transaction."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction

from containers import sql, writes
from containers.inventory import find_unknown, record_manifest
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import (
    Descriptor,
    FetchedManifest,
    RegistryClient,
    RegistryUnavailableError,
    UnreadableError,
)
from containers.registry.manifest import UnreadableManifestError, read_manifest
from containers.writes import RecordMovedError
from immutability.errors import TryAgainError, UnreadableTagError
from immutability.policy.decisions import Look
from immutability.policy.waiting import describe_unreadable, seconds_until
from immutability.reading import read_policy_and_time
from workspaces.current_request import current_request
from workspaces.models import Workspace
from workspaces.pool import release_database

# More lists than this are not read within one request.
MAX_LISTS_READ = 200
# A tag counts as unreadable once no look could read it for so long: a registry whose storage fails
# for a moment gives the same answer. The reconciler looks every few seconds.
UNREADABLE_AFTER = timedelta(minutes=5)


@dataclass(frozen=True)
class TakenLook:
    """A look at the registry, and the revision that the tag's record had before it."""

    look: Look
    revision: int


def look_at_tag(
    workspace: Workspace,
    repository: RepositoryName,
    tag: TagName,
    registry: RegistryClient,
    *,
    own: RegistryClient | None = None,
    is_dry_run: bool = False,
) -> Look:
    """Return what the registry has under a tag.

    A registry that was killed while it wrote a tag can answer for good that it cannot read it.
    After UNREADABLE_AFTER that is an answer, too. Raises UnreadableTagError before, and
    TryAgainError if the registry does not say. A dry run notes nothing. Where `registry` has a
    caller's credentials, `own` has Taglock's: what only the caller cannot read is there.
    """
    try:
        found = head_manifest(repository, tag, registry)
    except TryAgainError as error:
        if own is not None and own is not registry and is_unreadable(error):
            return look_at_tag(workspace, repository, tag, own, is_dry_run=is_dry_run)
        return judge_failure(workspace, repository, tag, error, is_dry_run=is_dry_run)
    return Look(found.digest if found else None)


def look_at_each(
    tags: Iterable[TagName], look: Callable[[TagName], Look | None]
) -> dict[TagName, Look]:
    """Return what `look` gives for each tag, without those for which it gives None.

    All are looked at before an UnreadableTagError is raised, so that their time begins together.
    """
    looks: dict[TagName, Look] = {}
    unreadable: UnreadableTagError | None = None
    for tag in tags:
        try:
            found = look(tag)
        except UnreadableTagError as error:
            unreadable = error
        else:
            looks |= {tag: found} if found is not None else {}
    if unreadable is not None:
        raise unreadable
    return looks


def judge_failure(
    workspace: Workspace,
    repository: RepositoryName,
    tag: TagName,
    why: TryAgainError,
    *,
    is_dry_run: bool = False,
) -> Look:
    """Note that a look has failed; return that the tag is unreadable once it was for long enough.

    Looks that are too far apart say nothing of the time between them: it begins again. Raises
    UnreadableTagError before, and `why` where it is another failure, or the tag is being written:
    the registry may not be able to read what it writes.
    """
    if not is_unreadable(why):
        raise why
    try:
        with transaction.atomic():
            inserted = writes.insert_missing(workspace, repository, [tag])
            record = writes.lock_records(workspace, repository, [tag], inserted)[tag]
            _, now = read_policy_and_time(workspace)
            if record.write_id is not None:
                raise RecordMovedError("the tag is being written")
            since, last = record.unreadable_since, record.unreadable_at
            if since is None or last is None or now - last > 2 * UNREADABLE_AFTER:
                since = now
            # The revision stays: nothing is known that was not before.
            record.unreadable_since, record.unreadable_at = since, now
            sql.update_tag(record)
            transaction.set_rollback(is_dry_run)
    except RecordMovedError:
        raise why from None
    until = since + UNREADABLE_AFTER
    if now < until:
        message = describe_unreadable(tag.name, str(why), until, now)
        raise UnreadableTagError(message, seconds_until(until, now))
    return Look(None, since)


def is_unreadable(error: TryAgainError) -> bool:
    """Whether the registry says that it cannot read what it was asked for."""
    return isinstance(error.__cause__, UnreadableError)


def head_manifest(
    repository: RepositoryName, reference: TagName | Digest, registry: RegistryClient
) -> Descriptor | None:
    """Return what the registry has under a tag or digest; None if it says that it has nothing.

    Raises TryAgainError if it does not say.
    """
    with asking_registry():
        return registry.head_manifest(repository, reference)


def fetch_manifest(
    repository: RepositoryName, digest: Digest, registry: RegistryClient
) -> FetchedManifest | None:
    """Fetch a manifest by its digest; None if the registry says that it has none.

    Raises TryAgainError if it does not say.
    """
    with asking_registry():
        return registry.fetch_manifest(repository, digest)


def learn_lists(
    workspace: Workspace,
    repository: RepositoryName,
    digests: Collection[Digest],
    registry: RegistryClient,
) -> set[Digest]:
    """Fetch the manifests whose lists are not known, to any depth; return those it cannot read.

    What the registry does not have lists nothing. Raises TryAgainError if the registry does not
    say, or if there are too many.
    """
    absent: set[Digest] = set()
    unreadable: set[Digest] = set()
    read = 0
    while unknown := find_unknown(workspace, repository, digests) - absent - unreadable:
        for digest in sorted(unknown):
            read += 1
            if read > MAX_LISTS_READ:
                raise TryAgainError("Taglock is still reading what this repository's images list")
            manifest = fetch_manifest(repository, digest, registry)
            if manifest is None:
                absent.add(digest)
            elif not learn(workspace, repository, manifest):
                unreadable.add(digest)
    return unreadable


def learn(workspace: Workspace, repository: RepositoryName, manifest: FetchedManifest) -> bool:
    """Keep what a fetched manifest lists; return whether it could be read."""
    descriptor = manifest.descriptor
    try:
        facts = read_manifest(manifest.body, descriptor.media_type)
    except UnreadableManifestError:
        return False
    with transaction.atomic():
        record_manifest(workspace, repository, descriptor.digest, facts)
    return True


@contextmanager
def asking_registry() -> Iterator[None]:
    """Ask the registry in this context, without the database; no answer becomes a TryAgainError.

    Its message is for everyone; what operators alone may know is noted of the request.
    """
    release_database()
    try:
        yield
    except RegistryUnavailableError as error:
        current_request().detail = str(error)
        raise TryAgainError(error.cause) from error
