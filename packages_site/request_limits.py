"""How large a request may be. Checked before anything reads, parses or looks up what it says."""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError

from immutability.gate.answers import error_answer
from workspaces.pages.errors import too_large

# Of the path and the query: as much as 100 scopes of the longest repositories take.
MAX_ADDRESS_BYTES = 32 * 1024
# Of one header. The longest one that means something is a registry token, of 16 KiB at most.
MAX_HEADER_BYTES = 20 * 1024
# The edge lets 5 MiB through.
_MAX_DRAINED_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024

_GATE = "/v2/"
# Addresses whose clients read OCI errors.
_REGISTRY_ADDRESSES = (_GATE, "/auth/token")


class _Excess(NamedTuple):
    """What is too large about a request: the status that says so, and the sentence."""

    status: int
    detail: str


Respond = Callable[[HttpRequest], HttpResponse]


def refuse_oversized_requests(get_response: Respond) -> Respond:
    """Middleware that answers 413, 414 or 431 to what is larger than any good request."""

    def answer(request: HttpRequest, excess: _Excess) -> HttpResponse:
        if request.path_info.startswith(_REGISTRY_ADDRESSES):
            return error_answer(excess.status, "SIZE_INVALID", excess.detail)
        return too_large(request, excess.status, excess.detail)

    return _refuse(get_response, answer)


def refuse_oversized_writes(get_response: Respond) -> Respond:
    """The same if there is no page to show: every answer is an OCI error."""

    def answer(request: HttpRequest, excess: _Excess) -> HttpResponse:
        return error_answer(excess.status, "SIZE_INVALID", excess.detail)

    return _refuse(get_response, answer)


def _refuse(
    get_response: Respond, answer: Callable[[HttpRequest, _Excess], HttpResponse]
) -> Respond:
    def middleware(request: HttpRequest) -> HttpResponse:
        excess = _find_excess(request)
        if excess is None:
            return get_response(request)
        _drain_body(request)
        return answer(request, excess)

    return middleware


def _find_excess(request: HttpRequest) -> _Excess | None:
    query = request.META.get("QUERY_STRING", "")
    if len(request.path_info) + len(query) > MAX_ADDRESS_BYTES:
        return _Excess(414, f"The address is longer than {MAX_ADDRESS_BYTES} bytes.")
    for name, value in request.META.items():
        if name.startswith("HTTP_") and len(value) > MAX_HEADER_BYTES:
            return _Excess(431, f"A header is longer than {MAX_HEADER_BYTES} bytes.")
    # A manifest may be larger; the gate has a limit of its own for it.
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if not request.path_info.startswith(_GATE) and _declared_length(request) > limit:
        return _Excess(413, f"The body is larger than {limit} bytes.")
    return None


def _declared_length(request: HttpRequest) -> int:
    """Return the length of the body: without a Content-Length, nothing reads one."""
    text = request.META.get("CONTENT_LENGTH") or ""
    # More digits than any length has: int() need not read them.
    if not (text.isascii() and text.isdigit()):
        return 0
    return int(text) if len(text) < 20 else 10**20


def _drain_body(request: HttpRequest) -> None:
    """Read the body to its end: an answer in the middle of it is one that the edge may not see."""
    with suppress(UnreadablePostError):
        for _ in range(_MAX_DRAINED_BYTES // _CHUNK_BYTES):
            if not request.read(_CHUNK_BYTES):
                return
