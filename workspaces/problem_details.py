"""Problem details (RFC 9457): what an error of the API looks like.

By itself, since the gate does without the REST framework.
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse

from workspaces.json_response import UTF8JsonResponse

CONTENT_TYPE = "application/problem+json"
STATUS_TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    414: "Too large",
    415: "Unsupported media type",
    428: "Precondition required",
    429: "Too many requests",
    431: "Too large",
    500: "Error",
    503: "Unavailable",
}


def problem_body(
    status_code: int, code: str, detail: str, members: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a problem details object. The type says no more than the code, so it is left out."""
    title = STATUS_TITLES.get(status_code, "Error")
    return {
        "title": title,
        "status": status_code,
        "code": code,
        "detail": make_sendable(detail),
    } | dict(members or {})


def make_sendable(text: str) -> str:
    """Return `text` with lone surrogates written out: what a caller sent may be echoed."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain_problem_response(status_code: int, code: str, detail: str) -> HttpResponse:
    """Answer outside of the API's views: an address that is not there, or a bug."""
    return UTF8JsonResponse(
        problem_body(status_code, code, detail), status=status_code, content_type=CONTENT_TYPE
    )
