"""What is noted of the request that this thread answers, to count it and to log it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum


class RequestKind(StrEnum):
    """What a request asks for, of those that are counted."""

    PUSH = "push"
    DELETE = "delete"
    CHECK_PUSH = "check_push"
    CHECK_DELETE = "check_delete"
    # Either of the checks, to change nothing.
    DRY_RUN = "dry_run"


class RequestOutcome(StrEnum):
    """How such a request was answered."""

    ACCEPTED = "accepted"
    # For good, because of a lock.
    REFUSED = "refused"
    # Nothing was decided: the caller tries again.
    UNDECIDED = "undecided"
    # The caller may not do this, or has to log in.
    DENIED = "denied"
    # The request, or the manifest in it, is not right.
    INVALID = "invalid"
    FAILED = "failed"


@dataclass
class CurrentRequest:
    """One request. Those who answer it note what they find out; empty: not found out.

    `tag` is the tag, or the digest, that the request names; several are separated by commas.
    `cause` is what the client is told, `detail` what operators alone may know besides.
    """

    id: str = ""
    kind: RequestKind | None = None
    workspace: str = ""
    repository: str = ""
    tag: str = ""
    actor: str = ""
    outcome: RequestOutcome | None = None
    cause: str = ""
    detail: str = ""

    def list_facts(self) -> dict[str, str]:
        """Return what is known of whom and what the request is about, by name."""
        facts = {
            "request_id": self.id,
            "workspace": self.workspace,
            "repository": self.repository,
            "tag": self.tag,
            "actor": self.actor,
        }
        return {name: value for name, value in facts.items() if value}


_current: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)


def current_request() -> CurrentRequest:
    """Return what is noted of this thread's request; outside of one, what no one reads."""
    return _current.get() or CurrentRequest()


@contextmanager
def follow_request(request_id: str = "") -> Iterator[CurrentRequest]:
    """Begin a request on this thread, and forget it at the end."""
    request = CurrentRequest(request_id)
    token = _current.set(request)
    try:
        yield request
    finally:
        _current.reset(token)
