"""What is shown when something went wrong: a page to a person, JSON to a program."""

import sys
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.template.loader import render_to_string

from workspaces.caller_access import Access, UnknownWorkspaceError, find_access
from workspaces.problem_details import plain_problem_response
from workspaces.throttles import BusyError

RETRY_AFTER_SECONDS = 10


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refused before any view saw it."""
    return _answer(
        request, 400, "bad_request", "Bad request", "The request could not be understood."
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer someone who may not do this."""
    detail = str(exception) or "You may not do this."
    return _answer(
        request,
        403,
        "forbidden",
        "Not allowed",
        f"{detail} Ask an admin of the workspace.",
        is_in_workspace=True,
    )


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that doesn't exist or isn't for this person: no one can tell which."""
    return _answer(
        request,
        404,
        "not_found",
        "Page not found",
        "This page does not exist, or you are not in its workspace.",
        is_in_workspace=True,
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form that did not come from this site, or whose session is over."""
    return _answer(
        request,
        403,
        "csrf_failed",
        "Form expired",
        "Nothing was changed. Go back, reload the page, and send the form again.",
        is_in_workspace=True,
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
            "The database cannot be used at the moment. Try again in a few seconds, and check "
            "whether your change was saved.",
        )
    if isinstance(error, BusyError):
        return _not_now(request, str(error))
    if request.path.startswith("/api/"):
        return plain_problem_response(500, "error", "Something went wrong; nothing was decided.")
    return _render_without_database(
        request,
        500,
        "Something went wrong",
        "Nothing was changed. Try again; if it happens again, tell your operator.",
    )


def _not_now(request: HttpRequest, detail: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        response: HttpResponse = plain_problem_response(503, "undecided", detail)
    else:
        response = _render_without_database(request, 503, "Not available now", detail)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _answer(
    request: HttpRequest,
    status: int,
    code: str,
    heading: str,
    detail: str,
    *,
    is_in_workspace: bool = False,
) -> HttpResponse:
    """Answer with an error; where it can be, within the navigation of the caller's workspace."""
    if request.path.startswith("/api/"):
        return plain_problem_response(status, code, detail)
    context: dict[str, Any] = {"status": status, "heading": heading, "detail": detail}
    if is_in_workspace and (access := _find_access(request)) is not None:
        context["access"] = access
    return render(request, "errors/error.html", context, status=status)


def _find_access(request: HttpRequest) -> Access | None:
    """Return what the caller may do in the workspace that the address begins with, or None."""
    known: Access | None = getattr(request, "access", None)
    if known is not None:
        return known
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    slug = request.path_info.removeprefix("/").partition("/")[0]
    try:
        return find_access(request, slug)
    except UnknownWorkspaceError:
        return None


def _render_without_database(
    request: HttpRequest, status: int, heading: str, detail: str
) -> HttpResponse:
    """Render an error within the workspace's navigation, if access to it was found before.

    Otherwise within the bare frame: nothing is read for it.
    """
    context: dict[str, Any] = {"heading": heading, "detail": detail}
    # A form is sent again from its own page.
    context["can_retry"] = request.method in ("GET", "HEAD")
    access = getattr(request, "access", None)
    if access is not None:
        # Before access is found, the person has been read.
        context |= {"access": access, "user": request.user, "request": request}
        context["csrf_token"] = get_token(request)
    return HttpResponse(render_to_string("errors/error.html", context), status=status)
