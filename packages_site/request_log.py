"""Count every push, delete and check: how it was answered, and how long that took."""

import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from workspaces.current_request import CurrentRequest, RequestOutcome, follow_request
from workspaces.metrics import DECISIONS, count_refusal

Respond = Callable[[HttpRequest], HttpResponse]


def follow_requests(get_response: Respond) -> Respond:
    """Middleware that gathers what is noted of a request, around all others."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began_at = time.monotonic()
        with follow_request() as noted:
            response = get_response(request)
        if noted.kind is not None:
            _count(noted, _find_outcome(noted, response.status_code), time.monotonic() - began_at)
        return response

    return middleware


def _count(noted: CurrentRequest, outcome: RequestOutcome, seconds: float) -> None:
    DECISIONS.labels(noted.kind, outcome).observe(seconds)
    if outcome is RequestOutcome.REFUSED:
        count_refusal(noted.workspace)


def _find_outcome(noted: CurrentRequest, status: int) -> RequestOutcome:
    """Return how a request was answered: as noted, or by the status."""
    if noted.outcome is not None:
        return noted.outcome
    if status < 400:
        return RequestOutcome.ACCEPTED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return RequestOutcome.INVALID if status < 500 else RequestOutcome.FAILED


_BY_STATUS = {
    401: RequestOutcome.DENIED,
    403: RequestOutcome.DENIED,
    429: RequestOutcome.UNDECIDED,
    503: RequestOutcome.UNDECIDED,
}
