"""Answers to a check, as values. No Django."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from containers.names import Digest, TagName
from immutability.policy.protection import DeleteOutcome, Outcome, PolicyException, PolicyRule


@dataclass(frozen=True)
class Refusal:
    """What a registry relays to the client: an HTTP status, an OCI error body, headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The sentence that the client reads."""
        return str(self.body["errors"][0]["message"])


@dataclass(frozen=True)
class TagAnswer:
    """What happens to one tag of a push. `locked_digest` is None where nothing holds the tag.

    `rule` covers the tag, and `exception` leaves it mutable.
    """

    tag: TagName
    outcome: Outcome
    rule: PolicyRule | None
    exception: PolicyException | None
    locked_digest: Digest | None


@dataclass(frozen=True)
class ClaimAnswer:
    """The claim that a two-phase caller confirms or abandons, by `expires_at`."""

    id: UUID
    expires_at: datetime


# The first of these that any tag has is the outcome of the whole push.
_BY_WEIGHT = (
    Outcome.ARCHIVED,
    Outcome.LOCKED,
    Outcome.RESERVED,
    Outcome.CLAIM_PENDING,
    Outcome.LOCKED_NOW,
    Outcome.CLAIMED,
    Outcome.FREE,
    Outcome.UNCHANGED,
    Outcome.UNPROTECTED,
)


@dataclass(frozen=True)
class PushAnswer:
    """What happens to a push: all of its tags, or none."""

    tags: tuple[TagAnswer, ...]
    refusal: Refusal | None = None
    claim: ClaimAnswer | None = None

    @property
    def is_allowed(self) -> bool:
        return self.refusal is None

    @property
    def outcome(self) -> Outcome:
        return min((answer.outcome for answer in self.tags), key=_BY_WEIGHT.index)


@dataclass(frozen=True)
class DeleteTagAnswer:
    """What happens to one tag of a delete."""

    tag: TagName
    outcome: DeleteOutcome
    locked_digest: Digest | None


@dataclass(frozen=True)
class DeleteAnswer:
    """What happens to a delete: all of the tags that it takes, or none."""

    tags: tuple[DeleteTagAnswer, ...]
    refusal: Refusal | None = None

    @property
    def is_allowed(self) -> bool:
        return self.refusal is None
