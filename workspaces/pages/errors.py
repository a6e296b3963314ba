"""What is shown when something went wrong: a page to a person, JSON to a program."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from workspaces.problems import plain_problem_response
from workspaces.throttles import BusyError

RETRY_AFTER_SECONDS = 10


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refused before any view saw it."""
    return _answer(
        request, 400, "bad_request", "Bad request", "The request could not be understood."
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer somebody who may not do this."""
    detail = str(exception) or "You may not do this."
    return _answer(
        request, 403, "forbidden", "Not allowed", f"{detail} Ask an admin of the workspace."
    )


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that is not there, or not for this person: nobody can tell which."""
    return _answer(
        request,
        404,
        "not_found",
        "Page not found",
        "There is no such page, or you are not in the workspace that it belongs to.",
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form that did not come from this site, or whose session is over."""
    return _answer(
        request,
        403,
        "csrf_failed",
        "Form expired",
        "Nothing was changed. Go back, reload the page, and send the form again.",
    )


def too_large(request: HttpRequest, status: int, detail: str) -> HttpResponse:
    """Answer a request that is larger than any good one, without the database."""
    if request.path.startswith("/api/"):
        return plain_problem_response(status, "too_large", detail)
    content = render_to_string(
        "errors/error.html", {"heading": "Too large", "detail": f"{detail} Nothing was changed."}
    )
    return HttpResponse(content, status=status)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a bug, or what cannot be done now, without touching the database."""
    error = sys.exception()
    if isinstance(error, OperationalError | InterfaceError):
        return _not_now(
            request,
            "The database cannot be used at the moment. Try again in a few seconds, and look "
            "whether what you changed was saved.",
        )
    if isinstance(error, BusyError):
        return _not_now(request, str(error))
    if request.path.startswith("/api/"):
        return plain_problem_response(500, "error", "Something went wrong; nothing was decided.")
    content = render_to_string(
        "errors/error.html",
        {
            "heading": "Something went wrong",
            "detail": "Nothing was changed. Try again; if it happens again, tell your operator.",
        },
    )
    return HttpResponse(content, status=500)


def _not_now(request: HttpRequest, detail: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        response: HttpResponse = plain_problem_response(503, "undecided", detail)
    else:
        content = render_to_string(
            "errors/error.html",
            {"heading": "Not available now", "detail": detail},
        )
        response = HttpResponse(content, status=503)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _answer(
    request: HttpRequest, status: int, code: str, heading: str, detail: str
) -> HttpResponse:
    if request.path.startswith("/api/"):
        return plain_problem_response(status, code, detail)
    return render(
        request, "errors/error.html", {"heading": heading, "detail": detail}, status=status
    )
