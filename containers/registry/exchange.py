"""One request to a registry, or to its token service, and the whole answer.

Nothing is sent twice and no redirect is followed: a write that was sent is settled by the code that
announced it, never by a library.
"""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import urllib3

from containers.registry.manifest import MAX_MANIFEST_BYTES
from containers.registry.strict_json import parse_json
from workspaces.current_request import current_request
from workspaces.metrics import REGISTRY_ANSWERS, REGISTRY_CALLS
from workspaces.text import find_bad_character
from workspaces.tracing import tracing
from workspaces.transport import Pool

# Of what a registry says, in one line of ours.
MAX_REASON_LENGTH = 300
_MAX_REASONS = 3
_READS = ("GET", "HEAD")
_MAX_ANSWER_BYTES = MAX_MANIFEST_BYTES + 64 * 1024
# 401 to Taglock means that the registry does not trust its own account. That is for an operator to
# mend, and says nothing of an earlier sending of the same write.
_INDEFINITE = frozenset({401, 408, 425, 429})
# No connection was made, so nothing has left.
_NEVER_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
_TIMEOUTS = (TimeoutError, urllib3.exceptions.TimeoutError)


class Cause(StrEnum):
    """Why there is no answer, as those are told who push and ask: without host, port or path."""

    NOT_REACHED = "the registry cannot be reached"
    TOO_LATE = "the registry did not answer in time"
    INCOMPLETE = "the registry gave no complete answer"
    NOT_TRUSTED = "the registry's TLS certificate is not trusted"
    NO_SENSE = "the registry's answer cannot be used"
    NO_LOGIN = "Taglock cannot log in to the registry"


class RegistryUnavailableError(Exception):
    """The registry gave no answer, or none that says anything.

    The message is for operators: it may name hosts, ports and accounts. `cause` is for everyone.
    After a write it is not known whether the registry did what it was asked, unless it was never
    sent: then `was_sent` is false.
    """

    def __init__(self, message: str, *, cause: str = Cause.NO_SENSE, was_sent: bool = True) -> None:
        super().__init__(message)
        self.cause = str(cause)
        self.was_sent = was_sent


class UnreadableError(RegistryUnavailableError):
    """The registry itself says that it cannot read what was asked for."""


class NoLoginError(RegistryUnavailableError):
    """Taglock's own account cannot be used, so nothing was sent."""

    def __init__(self, message: str, *, cause: str = Cause.NO_LOGIN) -> None:
        super().__init__(message, cause=cause, was_sent=False)


@dataclass(frozen=True)
class RegistryAnswer:
    """A whole answer of the registry.

    A body that is larger than any manifest was read to its end and dropped. `is_to_caller` is true
    where a caller's own credentials were sent, and not those of Taglock.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_body_dropped: bool = False
    is_to_caller: bool = False

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_refusal(self) -> bool:
        """Whether the registry has definitely not done what it was asked, and will not."""
        if self.status == 401:
            return self.is_to_caller
        return 400 <= self.status < 500 and self.status not in _INDEFINITE

    @property
    def digest(self) -> str:
        return self.headers.get("Docker-Content-Digest", "")

    @property
    def error_codes(self) -> frozenset[str]:
        """The OCI error codes in the body; empty if it is no OCI error."""
        return frozenset(str(error["code"]) for error in _read_errors(self.body) if "code" in error)

    @property
    def is_absent(self) -> bool:
        """Whether the registry says that it has no such manifest. Any other 404 says nothing."""
        codes = self.error_codes
        return self.status == 404 and bool(codes & {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"})

    @property
    def is_unreadable(self) -> bool:
        """Whether the registry itself says that it cannot read this: 500 with an OCI error.

        Distribution answers so to a tag whose file a crash has left half written, for as long as no
        one pushes the tag. What stands in front of a registry sends no OCI error.
        """
        return self.status == 500 and bool(self.error_codes)

    @property
    def reason(self) -> str:
        """What the registry answered, as a part of a sentence of ours; see registry_reason."""
        return registry_reason(self.status, self.body)


def registry_reason(status: int, body: bytes) -> str:
    """Return "the registry answered 500 (MANIFEST_BLOB_UNKNOWN: blob unknown to registry)".

    The brackets have the codes, messages and plain details of the OCI errors in `body`; without
    any, there are no brackets. One line, without control characters, of bounded length.
    """
    errors = _read_errors(body)
    telling = [error for error in errors if error.get("code") != "UNKNOWN"] or errors
    reasons = "; ".join(dict.fromkeys(map(_describe, telling[:_MAX_REASONS])))
    if len(reasons) > MAX_REASON_LENGTH:
        reasons = f"{reasons[: MAX_REASON_LENGTH - 1]}…"
    return f"the registry answered {status}" + (f" ({reasons})" if reasons else "")


def _read_errors(body: bytes) -> list[dict[str, Any]]:
    """Return the OCI errors in a body; none where it is something else."""
    try:
        errors = parse_json(body)["errors"]
    except (ValueError, KeyError, TypeError):
        return []
    is_list = isinstance(errors, list) and all(isinstance(error, dict) for error in errors)
    return errors if is_list else []


def _describe(error: dict[str, Any]) -> str:
    code, message, detail = (_plain(error.get(key)) for key in ("code", "message", "detail"))
    text = ": ".join(part for part in (code, message) if part)
    return f"{text} ({detail})" if detail else text


def _plain(value: Any) -> str:
    """Return a text as one plain line, empty where it is none."""
    text = value[:MAX_REASON_LENGTH] if isinstance(value, str) else ""
    return " ".join("".join(" " if find_bad_character(each) else each for each in text).split())


def exchange(
    pool: Pool,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> RegistryAnswer:
    """Send one request, within a Deadline, and return the whole answer.

    Raises RegistryUnavailableError.
    """
    began_at, status = time.monotonic(), "none"
    with tracing().call(f"registry {method}") as span:
        try:
            answer = _exchange(pool, method, target, {**span.headers, **headers}, body)
            status = str(answer.status)
            return answer
        finally:
            REGISTRY_CALLS.labels(method).observe(time.monotonic() - began_at)
            REGISTRY_ANSWERS.labels(method, status).inc()
            span.describe({"http.request.method": method, "taglock.status": status})


def _exchange(
    pool: Pool,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None,
) -> RegistryAnswer:
    request_id = current_request().id
    own = {"User-Agent": "taglock", **({"X-Request-Id": request_id} if request_id else {})}
    try:
        answer = pool.ask(
            method,
            target,
            {**own, **headers},
            body,
            max_bytes=_MAX_ANSWER_BYTES,
            may_repeat=method in _READS,
        )
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise RegistryUnavailableError(
            f"{method}: {error}",
            cause=_find_cause(error),
            was_sent=not isinstance(error, _NEVER_SENT),
        ) from error
    return RegistryAnswer(answer.status, answer.headers, answer.body or b"", answer.body is None)


def _find_cause(error: Exception) -> Cause:
    """Return what an error means; urllib3 has those of the system within its own."""
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return Cause.NOT_TRUSTED
    if isinstance(error, _NEVER_SENT):
        return Cause.NOT_REACHED
    is_late = any(isinstance(each, _TIMEOUTS) for each in (error, *error.args))
    return Cause.TOO_LATE if is_late else Cause.INCOMPLETE
