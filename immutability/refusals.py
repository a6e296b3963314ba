"""What a refused person reads: one line that says what happened and what to do. No Django."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from containers.reference import Digest
from immutability.protection import Outcome

RETRY_AFTER_SECONDS = 10

# Tools match these words: kaniko's --push-ignore-immutable-tag-errors, for one.
_CANNOT_OVERWRITE = "cannot be overwritten because the tag is immutable"
_CANNOT_DELETE = "cannot be deleted because the tag is immutable"


@dataclass(frozen=True)
class LockFacts:
    """What is told of the lock that stands in the way. Empty text means: not known."""

    workspace: str
    repository: str
    tag: str
    digest: Digest
    locked_at: datetime | None
    rule_name: str
    pushed_by: str
    deleted_by: str = ""
    deleted_at: datetime | None = None


def format_time(moment: datetime) -> str:
    """Format a time for people, in UTC, to the minute."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def describe_refused_push(
    outcome: Outcome, facts: LockFacts, pushed: Digest | None, link: str = ""
) -> str:
    """Return the line for a push that is finally refused.

    `link` is the address of the event, or of the page where a reserved name can be freed.
    """
    sentences = [
        f'tag "{facts.tag}" of {facts.repository} {_CANNOT_OVERWRITE}: {_state(outcome, facts)}'
    ]
    if pushed is not None and outcome is Outcome.LOCKED:
        is_same = pushed == facts.digest
        sentences.append(
            "Your push was the same image, and this workspace refuses identical pushes"
            if is_same
            else f"Your push was {pushed.short}"
        )
    elif pushed is not None:
        sentences.append(f"Your push was {pushed.short}; only the deleted image may come back")
    if outcome is Outcome.RESERVED:
        sentences.append(
            f"Push a new tag, or ask an admin of {facts.workspace} to free the name under "
            "Locked tags"
        )
    else:
        sentences.append(f"Push a new tag, or ask an admin of {facts.workspace}")
    return _join(sentences, link)


def describe_refused_delete(facts: LockFacts, link: str = "") -> str:
    """Return the line for a delete that is refused to everyone but admins."""
    return _join(
        [
            f'tag "{facts.tag}" of {facts.repository} {_CANNOT_DELETE}: '
            f"{_state(Outcome.LOCKED, facts)}",
            f"Only admins of {facts.workspace} can delete it",
        ],
        link,
    )


def describe_hollowing(facts: LockFacts, child: Digest, link: str = "") -> str:
    """Return the line for the delete of an image that a locked index lists."""
    return _join(
        [
            f"{child.short} cannot be deleted because tag {_quote(facts.tag)} of "
            f"{facts.repository} is immutable, and its index {facts.digest.short} lists it",
            f"An admin of {facts.workspace} can delete the index's tag first",
        ],
        link,
    )


def _quote(text: str) -> str:
    return f'"{text}"'


def describe_pending_claim(facts: LockFacts) -> str:
    """Return the line for a push that meets another one of the same tag under way."""
    return (
        f'tag "{facts.tag}" of {facts.repository} is being pushed by somebody else at this '
        f"moment, as {facts.digest.short}. Try again in {RETRY_AFTER_SECONDS} seconds."
    )


def oci_error(code: str, message: str, detail: dict[str, Any]) -> dict[str, Any]:
    """Return the body that a registry relays (OCI distribution-spec, "Error Codes")."""
    return {"errors": [{"code": code, "message": message, "detail": detail}]}


def _state(outcome: Outcome, facts: LockFacts) -> str:
    if outcome is Outcome.RESERVED:
        who = f" by {facts.deleted_by}" if facts.deleted_by else ""
        when = f" on {format_time(facts.deleted_at)}" if facts.deleted_at else ""
        return f"it was deleted{who}{when} and its name is reserved for {facts.digest.short}"
    since = f" since {format_time(facts.locked_at)}" if facts.locked_at else ""
    rule = f' by rule "{facts.rule_name}"' if facts.rule_name else " because all tags are protected"
    who = f" (pushed by {facts.pushed_by})" if facts.pushed_by else ""
    return f"it is locked to {facts.digest.short}{since}{rule}{who}"


def _join(sentences: list[str], link: str) -> str:
    text = ". ".join(sentences) + "."
    return f"{text} {link}" if link else text
