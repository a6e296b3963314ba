"""What an admin can do to tags, and do it to many: each by itself, and each with a result."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from containers.names import (
    Digest,
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_digest,
    parse_repository,
    parse_tag,
)
from containers.registry.client import RegistryClient
from immutability.actions.delete_tag import (
    NameAfter,
    UnlockedTag,
    delete_locked_tag,
    delete_unlocked_tag,
)
from immutability.actions.hold import LockChange
from immutability.actions.release import release_locked_tag
from immutability.errors import ConflictError, PermissionRevokedError, TryAgainError
from immutability.locked_tags import SUSPENDED
from immutability.models import LockedTag
from immutability.policy.protection import LockState
from immutability.reading import read_policy
from immutability.repository_tags import COVERED, TAG_STATUSES, ListedTag, find_tag
from workspaces.access import Actor
from workspaces.models import Workspace
from workspaces.text import to_sentence

MAX_TAGS_AT_ONCE = 50
# After this, no further tag is started: the person is still waiting for the answer.
MAX_SECONDS_AT_ONCE = 20

GONE = "This lock has ended in the meantime."
RELEASED = "is released: its next push can bring any image, and locks it again."
NOTHING_TO_RELEASE = (
    "is free: the registry does not have the tag, so there was no image to release it from."
)
DELETED = "is deleted."
RESERVED = "is deleted. Its name is reserved for the same image."
DELETED_AND_FREE = "is deleted, and its name is free."
FREED = "is free: the next push can bring any image."
DROPPED = "stays claimed until the dropped push can no longer land."


class TagAction(StrEnum):
    """What an admin can do to a tag."""

    RELEASE = "release"
    DELETE = "delete"
    FREE = "free"
    DROP = "drop"


def find_actions(tag: ListedTag, *, has_registry: bool) -> list[TagAction]:
    """Return what an admin can do to a tag as it is now."""
    if tag.lock is None:
        return [TagAction.DELETE] if has_registry else []
    match LockState(tag.lock.state):
        case LockState.LOCKED:
            return [TagAction.RELEASE, TagAction.DELETE]
        case LockState.RELEASED:
            return [TagAction.DELETE]
        case LockState.RESERVED:
            return [TagAction.FREE]
        case LockState.CLAIMED if tag.record.write_is_external:
            return [TagAction.DROP]
        case _:
            return []


@dataclass(frozen=True)
class ChosenTag:
    """A tag as an admin saw it when choosing it."""

    repository: RepositoryName
    tag: TagName
    status: str
    digest: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def key(self) -> str:
        """All of it, as a form sends it."""
        return f"{self} {self.status} {self.digest}".rstrip()


def to_chosen(tag: ListedTag) -> ChosenTag:
    """Return a tag as it can be chosen."""
    digest = tag.lock.digest if tag.lock else tag.record.digest
    repository, name = RepositoryName(tag.record.repository), TagName(tag.record.name)
    return ChosenTag(repository, name, tag.status, digest)


def parse_chosen(key: str) -> ChosenTag:
    """Parse what a form sends. Raises InvalidReferenceError."""
    reference, _, rest = key.partition(" ")
    status, _, digest = rest.partition(" ")
    repository, _, tag = reference.rpartition(":")
    if status not in TAG_STATUSES:
        raise InvalidReferenceError("TAG_INVALID", "A tag was sent without its status.")
    return ChosenTag(
        parse_repository(repository), parse_tag(tag), status, parse_digest(digest).value
    )


@dataclass(frozen=True)
class TagsChange:
    """What an admin wants done to tags, and why. `name_after` is for those that are deleted."""

    workspace: Workspace
    action: TagAction
    reason: str
    actor: Actor
    name_after: NameAfter = NameAfter.RESERVE


@dataclass(frozen=True)
class TagResult:
    """What happened to one of the tags: `message` continues after its name, or is a sentence."""

    chosen: ChosenTag
    is_done: bool
    message: str


def change_tags(
    change: TagsChange, chosen: Sequence[ChosenTag], registry: RegistryClient | None
) -> list[TagResult]:
    """Change each of the tags by itself; return what happened to each, in order.

    One that cannot be changed leaves the others as they are. Raises PatternError or
    PatternEvaluationError.
    """
    if len(chosen) > MAX_TAGS_AT_ONCE:
        raise ValueError(f"at most {MAX_TAGS_AT_ONCE} tags at once")
    ends = time.monotonic() + MAX_SECONDS_AT_ONCE
    results: list[TagResult] = []
    for each in chosen:
        if results and time.monotonic() > ends:
            results.append(TagResult(each, is_done=False, message=_NOT_BEGUN))
        else:
            results.append(_change(change, each, registry))
    return results


_NOT_BEGUN = "Not tried: the tags before it took too long. Try again."


def _change(change: TagsChange, chosen: ChosenTag, registry: RegistryClient | None) -> TagResult:
    try:
        message = change_tag(change, chosen, registry)
    except LockedTag.DoesNotExist:
        return TagResult(chosen, is_done=False, message=GONE)
    except TryAgainError as error:
        message = f"Not done yet. {to_sentence(str(error))}"
        return TagResult(chosen, is_done=False, message=message)
    except (ConflictError, PermissionRevokedError) as error:
        return TagResult(chosen, is_done=False, message=to_sentence(str(error)))
    return TagResult(chosen, is_done=True, message=message)


def change_tag(change: TagsChange, chosen: ChosenTag, registry: RegistryClient | None) -> str:
    """Change one tag, and return what was done.

    Raises LockedTag.DoesNotExist, PermissionRevokedError, ConflictError if the tag is not what
    it was when it was chosen or does not allow it, and TryAgainError.
    """
    policy = read_policy(change.workspace)
    tag = find_tag(change.workspace, chosen.repository, chosen.tag, policy)
    if tag is None:
        raise ConflictError("This tag no longer exists; nothing was changed.")
    if tag.status != chosen.status:
        raise ConflictError(f"It is now {tag.status}; nothing was changed.")
    if change.action not in find_actions(tag, has_registry=registry is not None):
        raise ConflictError(f"{_CANNOT[change.action]}; nothing was changed.")
    if tag.lock is None:
        return _delete_unlocked(change, chosen, registry)
    lock_change = LockChange(
        change.workspace,
        tag.lock.id,
        change.reason,
        change.actor,
        expected_state=tag.lock.state,
        expected_digest=chosen.digest,
    )
    if change.action is TagAction.RELEASE:
        return RELEASED if release_locked_tag(lock_change, registry) else NOTHING_TO_RELEASE
    if change.action is TagAction.DELETE:
        # Nothing reserves a name that the settings do not cover.
        name_after = NameAfter.FREE if tag.status == SUSPENDED else change.name_after
        left = delete_locked_tag(lock_change, name_after, registry)
        return RESERVED if left else DELETED_AND_FREE
    delete_locked_tag(lock_change, NameAfter.FREE, registry)
    return FREED if change.action is TagAction.FREE else DROPPED


_CANNOT = {
    TagAction.RELEASE: "Only a locked tag can be released",
    TagAction.DELETE: "It cannot be deleted",
    TagAction.FREE: "Only a reserved name can be freed",
    TagAction.DROP: "There is no claim on it to drop",
}


def _delete_unlocked(change: TagsChange, chosen: ChosenTag, registry: RegistryClient | None) -> str:
    shown = UnlockedTag(
        change.workspace,
        chosen.repository,
        chosen.tag,
        Digest(chosen.digest),
        is_covered=chosen.status == COVERED,
    )
    left = delete_unlocked_tag(shown, change.reason, registry, actor=change.actor)
    return RESERVED if left else DELETED
