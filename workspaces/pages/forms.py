"""Answer with a page that has a form, by what happened to the form."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from workspaces.throttles import TooManyCallsError


def render_form(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    refusal: TooManyCallsError | None = None,
) -> HttpResponse:
    """Render `template` with `context["form"]`: status 200, 422 with errors, 429 after too many."""
    has_errors = context["form"].is_bound and context["form"].errors
    response = render(request, template, context, status=422 if has_errors else 200)
    if refusal is not None:
        response.status_code = 429
        response["Retry-After"] = str(refusal.retry_after_seconds)
    return response


def add_errors(form: forms.Form, error: ValidationError) -> None:
    """Say beside each field of `form` what an action found wrong with it."""
    for field, said in error.message_dict.items():
        form.add_error(field, " ".join(said))
