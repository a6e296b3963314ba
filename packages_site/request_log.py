"""Give every request an id; count pushes, deletes and checks, and log why one was not accepted.

The id is what the edge or the client has named the request by. Registry and client are told it.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from packages_site.logs import IS_LOGGED
from workspaces.current_request import CurrentRequest, RequestKind, RequestOutcome, follow_request
from workspaces.metrics import DECISIONS, count_refusal
from workspaces.tracing import Span, tracing

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-Id"
_PLAIN_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BY_STATUS = {
    401: RequestOutcome.DENIED,
    403: RequestOutcome.DENIED,
    429: RequestOutcome.UNDECIDED,
    503: RequestOutcome.UNDECIDED,
}
_LEVELS = {
    RequestOutcome.ACCEPTED: logging.DEBUG,
    RequestOutcome.REFUSED: logging.INFO,
    RequestOutcome.UNDECIDED: logging.WARNING,
    RequestOutcome.DENIED: logging.INFO,
    RequestOutcome.INVALID: logging.INFO,
}

# There from the start: an alert about the first one compares it with a 0 before it.
for _kind in RequestKind:
    DECISIONS.labels(_kind, RequestOutcome.FAILED)

Respond = Callable[[HttpRequest], HttpResponse]


def follow_requests(get_response: Respond) -> Respond:
    """Middleware that gathers what is noted of a request, around all others."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began_at = time.monotonic()
        began_as = request.method or ""
        with (
            follow_request(_find_id(request)) as noted,
            tracing().serve(began_as, _trace_headers(request)) as span,
        ):
            response = get_response(request)
            response[REQUEST_ID_HEADER] = noted.id
            _describe(span, noted, response.status_code)
            if noted.kind is not None:
                outcome = _find_outcome(noted, response.status_code)
                seconds = time.monotonic() - began_at
                _count(noted, outcome, seconds)
                _log(request, noted, outcome, response.status_code, seconds)
            elif noted.detail:
                _log_failure(request, noted, response.status_code)
        return response

    return middleware


def _find_id(request: HttpRequest) -> str:
    sent = request.META.get("HTTP_X_REQUEST_ID", "")
    return sent if _PLAIN_ID.fullmatch(sent) else secrets.token_hex(16)


def _trace_headers(request: HttpRequest) -> dict[str, str]:
    """Return what says of which trace a request is a part (W3C Trace Context)."""
    names = ("traceparent", "tracestate")
    return {name: request.headers[name] for name in names if name in request.headers}


def _describe(span: Span, noted: CurrentRequest, status: int) -> None:
    attributes: dict[str, str | int] = {
        f"taglock.{name}": value for name, value in noted.list_facts().items() if name != "actor"
    }
    attributes["http.response.status_code"] = status
    if noted.kind is not None:
        attributes["taglock.outcome"] = _find_outcome(noted, status)
    span.describe(attributes, name=noted.kind or "", failed=status >= 500)


def _count(noted: CurrentRequest, outcome: RequestOutcome, seconds: float) -> None:
    DECISIONS.labels(noted.kind, outcome).observe(seconds)
    if outcome is RequestOutcome.REFUSED:
        count_refusal(noted.workspace)


def _log(
    request: HttpRequest,
    noted: CurrentRequest,
    outcome: RequestOutcome,
    status: int,
    seconds: float,
) -> None:
    """Write one line. Of a failure Django has written one, with a traceback."""
    if outcome is RequestOutcome.FAILED:
        return
    # Every client is told once to log in.
    level = logging.DEBUG if status == 401 else _LEVELS[outcome]
    if logger.isEnabledFor(level):
        fields = {
            "kind": noted.kind,
            "outcome": outcome,
            "status": status,
            "seconds": round(seconds, 4),
            "cause": noted.cause,
            "detail": noted.detail,
        }
        logger.log(level, "%s %s", noted.kind, outcome, extra={"fields": fields})
    request.META[IS_LOGGED] = True


def _log_failure(request: HttpRequest, noted: CurrentRequest, status: int) -> None:
    """Write one line of any other request in which something of the operator's failed."""
    fields = {
        "method": request.method or "",
        "path": request.path,
        "status": status,
        "detail": noted.detail,
    }
    logger.warning("request failed", extra={"fields": fields})


def _find_outcome(noted: CurrentRequest, status: int) -> RequestOutcome:
    """Return how a request was answered: as noted, or by the status."""
    if noted.outcome is not None:
        return noted.outcome
    if status < 400:
        return RequestOutcome.ACCEPTED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return RequestOutcome.INVALID if status < 500 else RequestOutcome.FAILED
