"""Read what a decision needs."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db import IntegrityError

from containers.reference import Repository, Tag
from immutability.models import ContainerSettings, LockedTag
from immutability.protection import Policy, PolicyRule, Protection
from workspaces.models import Workspace

_MAX_TRIES = 8

Answer = TypeVar("Answer")


class UndecidedError(Exception):
    """The question could not be answered now. Whoever asked refuses and says: try again."""


class NoLongerAllowedError(Exception):
    """Whoever is acting may not do this any more; they could when they began."""


def always_allowed() -> None:
    """Confirm for those whose standing does not change while they act."""


class UnderWayError(UndecidedError):
    """A write that is under way, or that may still land, has to end first."""


class MovedError(Exception):
    """What was read has changed before it could be acted on: read again, decide again."""


def read_policy(workspace: Workspace) -> Policy:
    """Return the workspace's policy, read in one statement, so that rules and version agree.

    Nothing is kept between calls: a saved change is in force for the very next push.
    """
    rows = list(
        ContainerSettings.objects.filter(workspace=workspace)
        .order_by("rules__position")
        .values_list(
            "version",
            "protection",
            "refuse_identical_pushes",
            "protect_signature_tags",
            "rules__name",
            "rules__pattern",
        )
    )
    if not rows:
        return Policy()
    version, protection, refuse_identical_pushes, protect_signature_tags, *_ = rows[0]
    return Policy(
        version=version,
        protection=Protection(protection),
        rules=tuple(PolicyRule(row[4], row[5]) for row in rows if row[4] is not None),
        refuse_identical_pushes=refuse_identical_pushes,
        protect_signature_tags=protect_signature_tags,
    )


def require_version(workspace: Workspace, version: int) -> None:
    """Raise MovedError where the settings are no longer at `version`.

    The last statement of a decision: what was decided under one version must not go out under the
    next.
    """
    now = ContainerSettings.objects.filter(workspace=workspace).values_list("version", flat=True)
    if (now.first() or 0) != version:
        raise MovedError


def hold_version(workspace: Workspace, version: int) -> None:
    """Like require_version, and nobody saves until the transaction ends."""
    list(ContainerSettings.objects.select_for_update().filter(workspace=workspace))
    require_version(workspace, version)


def read_locks(
    workspace: Workspace, repository: Repository, tags: Iterable[Tag]
) -> dict[Tag, LockedTag]:
    """Return the locks of these tags, by tag."""
    rows = LockedTag.objects.filter(
        workspace=workspace, repository=repository.name, tag__in=[tag.name for tag in tags]
    )
    return {Tag(row.tag): row for row in rows}


def decide_until_settled(decide: Callable[[], Answer]) -> Answer:
    """Call `decide` again while others change what it has read, and return its answer.

    Raises UndecidedError after several rounds.
    """
    for _ in range(_MAX_TRIES):
        try:
            return decide()
        except (MovedError, IntegrityError):
            continue
    raise UndecidedError("too many changes at once")
