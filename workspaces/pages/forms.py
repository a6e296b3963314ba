"""Answer with a page that has a form, by what happened to the form."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from workspaces.log.models import MAX_REASON_LENGTH
from workspaces.models import MAX_USERNAME_LENGTH, User, Workspace
from workspaces.slugs import MAX_SLUG_LENGTH
from workspaces.text import describe_bad_character, quote
from workspaces.throttles import TooManyCallsError


class ReasonForm(forms.Form):
    """Why someone does this."""

    reason = forms.CharField(
        label="Reason (recorded in the lock log)",
        max_length=MAX_REASON_LENGTH,
        error_messages={"required": "Enter a reason."},
    )

    def clean_reason(self) -> str:
        """Refuse control characters."""
        reason: str = self.cleaned_data["reason"]
        if message := describe_bad_character(reason):
            raise forms.ValidationError(message)
        return reason


class PersonField(forms.CharField):
    """A user name; its value is the person."""

    def __init__(self, **options: Any) -> None:
        attributes = {"autocomplete": "off", "autocapitalize": "none"}
        super().__init__(
            max_length=MAX_USERNAME_LENGTH,
            widget=forms.TextInput(attributes),
            error_messages={"required": "Enter a user name."},
            **options,
        )

    def clean(self, value: Any) -> Any:
        """Return the person of this name."""
        username: str = super().clean(value)
        user = User.objects.filter(username=username).first()
        if user is None:
            raise ValidationError(f"There is no user {quote(username)}.")
        return user


class WorkspaceField(forms.CharField):
    """The slug of a workspace; its value is the workspace. None where it is empty and may be."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            max_length=MAX_SLUG_LENGTH,
            error_messages={"required": "Enter the slug of a workspace."},
            **options,
        )

    def clean(self, value: Any) -> Any:
        """Return the workspace of this slug."""
        slug: str = super().clean(value)
        workspace = Workspace.objects.filter(slug=slug).first() if slug else None
        if slug and workspace is None:
            raise ValidationError(f"There is no workspace {quote(slug)}.")
        return workspace


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
