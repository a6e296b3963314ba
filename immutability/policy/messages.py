"""What a refused person reads: one line that says what happened and what to do. No Django."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from containers.names import Digest
from immutability.policy.protection import Coverage, Outcome, Why

# Tools match these words: kaniko's --push-ignore-immutable-tag-errors, for one.
_CANNOT_OVERWRITE = "cannot be overwritten because the tag is immutable"
_CANNOT_DELETE = "cannot be deleted because the tag is immutable"


@dataclass(frozen=True)
class LockFacts:
    """What to say about the conflicting lock. Empty text means: not known.

    `coverage` is what covers the tag now, or None to leave that out. `pushed_by` and `deleted_by`
    are as they are shown.
    """

    workspace: str
    repository: str
    tag: str
    digest: Digest
    locked_at: datetime | None
    coverage: Coverage | None
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
    if outcome is Outcome.RESERVED:
        return _describe_reserved_name(facts, pushed, link)
    sentences = [f'tag "{facts.tag}" of {facts.repository} {_CANNOT_OVERWRITE}: {_state(facts)}']
    if pushed is not None:
        is_same = pushed == facts.digest
        sentences.append(
            "Your push was the same image, and this workspace refuses identical pushes"
            if is_same
            else f"Your push was {pushed.short}"
        )
    sentences.append(f"Push a new tag, or ask an admin of {facts.workspace}")
    return _join(sentences, link)


def _describe_reserved_name(facts: LockFacts, pushed: Digest | None, link: str) -> str:
    """Return the line for a push under the name of a deleted tag.

    Without the words that tools read as "already pushed": the tag is gone, so a pipeline would
    succeed without an image.
    """
    who = f" ({facts.deleted_by})" if facts.deleted_by else ""
    when = f" on {format_time(facts.deleted_at)}" if facts.deleted_at else ""
    sentences = [
        f'tag "{facts.tag}" of {facts.repository} was deleted by an admin{who}{when}, and its name '
        f"is reserved for the image that it had, {facts.digest.short}"
    ]
    if pushed is not None:
        sentences.append(f"Your push was {pushed.short}")
    sentences.append(
        f"Push that image, push a new tag, or ask an admin of {facts.workspace} to free the name "
        "under Locked tags"
    )
    return _join(sentences, link)


def describe_refused_delete(facts: LockFacts, link: str = "") -> str:
    """Return the line for a delete that is refused to everyone except admins."""
    return _join(
        [
            f'tag "{facts.tag}" of {facts.repository} {_CANNOT_DELETE}: {_state(facts)}',
            f"Only admins of {facts.workspace} can delete it",
        ],
        link,
    )


def describe_in_use(facts: LockFacts, child: Digest, link: str = "") -> str:
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


def oci_error(code: str, message: str, detail: dict[str, Any]) -> dict[str, Any]:
    """Return the body that a registry relays (OCI distribution-spec, "Error Codes")."""
    return {"errors": [{"code": code, "message": message, "detail": detail}]}


def _state(facts: LockFacts) -> str:
    since = f" since {format_time(facts.locked_at)}" if facts.locked_at else ""
    who = f" (pushed by {facts.pushed_by})" if facts.pushed_by else ""
    return f"it is locked to {facts.digest.short}{since}{_protection(facts.coverage)}{who}"


def _protection(coverage: Coverage | None) -> str:
    """Return what protects the tag now."""
    if coverage is None:
        return ""
    if coverage.rule is not None:
        return f' by rule "{coverage.rule.name}"'
    return " because all tags are protected" if coverage.why is Why.ALL_TAGS else ""


def _join(sentences: list[str], link: str) -> str:
    text = ". ".join(sentences) + "."
    return f"{text} {link}" if link else text
