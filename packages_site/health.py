"""Is the process alive, and can it work? For load balancers and process managers."""

from collections.abc import Callable

from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from containers.connection import describe_unusable_keys
from packages_site import leaving
from packages_site.metrics import metrics, sends_metrics_token
from packages_site.shared_keys import describe_other_keys

_DATABASE = "the database cannot be used"
_STOPPING = "this process is stopping"
_SECRET_KEY = "SECRET_KEY is not that of the other nodes"  # noqa: S105  (no secret)
_TOKEN_KEYS = "no token can be used"  # noqa: S105
_LOG_KEY = "ok, but the lock log key is not that of the other nodes"


def answer_probes(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers probes first: they come by bare address and without TLS.

    The last requests to a process that is stopping are refused here, before anything is begun.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if probe := _PROBES.get(request.path_info):
            return probe(request)
        if leaving.stage() is leaving.Stage.REFUSING:
            return HttpResponse(f"{_STOPPING}\n", "text/plain", status=leaving.NOT_BEGUN)
        response = get_response(request)
        if response.status_code == leaving.NOT_BEGUN:
            # A registry's own. An edge would take it for a request that was not begun.
            response.status_code = 503
        return response

    return middleware


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process answers at all."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 while requests should be sent here, 503 with the reason otherwise.

    That is not while the process is stopping or the database can't be used, with another SECRET_KEY
    than the other nodes, and without token keys where a registry trusts Taglock's tokens. Another
    key of the lock log is only told: all but signing works. Which node it is, and what to do, is
    told to those who send METRICS_TOKEN.
    """
    status, reason, details = _find_state()
    text = details if details and sends_metrics_token(request) else reason
    return HttpResponse(f"{text}\n", "text/plain", status=status)


def _find_state() -> tuple[int, str, str]:
    """Return the status, what anyone may read, and what else there is to say, if there is."""
    if leaving.stage() is not leaving.Stage.STAYING:
        return 503, _STOPPING, ""
    try:
        other, unusable = describe_other_keys(), describe_unusable_keys()
    except Error:
        return 503, _DATABASE, ""
    if other.secret_key:
        return 503, _SECRET_KEY, other.secret_key
    if unusable:
        return 503, _TOKEN_KEYS, f"{_TOKEN_KEYS}: {unusable}"
    return 200, _LOG_KEY if other.log_key else "ok", other.log_key


_PROBES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
