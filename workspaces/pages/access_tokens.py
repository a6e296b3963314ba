"""The page "Access tokens": who may call in the name of the workspace, and until when."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundWidget
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache

from workspaces.access import Permission, Scope
from workspaces.access_tokens import find_access_tokens, tokens_in
from workspaces.actions.access_tokens import (
    create_access_token,
    describe_bad_token_name,
    hash_token,
    revoke_access_token,
)
from workspaces.caller_access import Access
from workspaces.models import MAX_NAME_LENGTH, AccessToken, validate_plain_text
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.pages.back import read_next
from workspaces.pages.forms import render_form
from workspaces.pages.snippets import list_snippets
from workspaces.queries import FilterForm, IdField
from workspaces.repository_globs import MAX_GLOB_LENGTH, MAX_GLOBS_PER_TOKEN

NEVER, ON_A_DATE = "never", "date"
_DEFAULT_EXPIRY_DAYS = 90


class AccessTokenForm(forms.Form):
    """A new access token."""

    name = forms.CharField(
        max_length=MAX_NAME_LENGTH,
        help_text="What uses it, such as ci or build server.",
        error_messages={"required": "Enter a name."},
    )
    scopes = forms.MultipleChoiceField(
        label="What it may do",
        widget=forms.CheckboxSelectMultiple,
        choices=[(scope.value, scope.label) for scope in Scope],
        error_messages={
            "required": "Choose at least one scope.",
            "invalid_choice": "Choose from these scopes.",
        },
    )
    repositories = forms.CharField(
        label="Only these repositories",
        required=False,
        # As many as there may be, each as long as it may be, and line breaks of two characters.
        max_length=MAX_GLOBS_PER_TOKEN * (MAX_GLOB_LENGTH + 2),
        widget=forms.Textarea,
    )
    expiry = forms.ChoiceField(
        label="When it expires",
        widget=forms.RadioSelect,
        choices=[
            ("30", "In 30 days"),
            (str(_DEFAULT_EXPIRY_DAYS), "In 90 days"),
            ("365", "In one year"),
            (ON_A_DATE, "On a date"),
            (NEVER, "Never"),
        ],
        initial=str(_DEFAULT_EXPIRY_DAYS),
        error_messages={
            "required": "Choose when it expires.",
            "invalid_choice": "Choose when it expires.",
        },
    )
    expires_on = forms.DateField(label="Last day", required=False)

    def clean_name(self) -> str:
        """Refuse what cannot be part of a user name."""
        name: str = self.cleaned_data["name"]
        validate_plain_text(name)
        if problem := describe_bad_token_name(name):
            raise ValidationError(problem)
        return name

    def clean(self) -> None:
        """Require a date where one was announced, and only there."""
        expiry, day = self.cleaned_data.get("expiry"), self.cleaned_data.get("expires_on")
        if expiry is None or self.has_error("expires_on"):
            return
        if day is None:
            if expiry == ON_A_DATE:
                self.add_error("expires_on", "Enter the last day on which it is valid.")
        elif expiry != ON_A_DATE:
            self.add_error("expiry", "Choose On a date, or remove the date.")
        elif day < timezone.now().date():
            self.add_error("expires_on", "This day is in the past. Choose a later one.")

    def read_expiry(self) -> datetime | None:
        """Return when the token of a valid form expires; None for never."""
        expiry = self.cleaned_data["expiry"]
        if expiry == NEVER:
            return None
        if expiry == ON_A_DATE:
            return datetime.combine(self.cleaned_data["expires_on"], time.max, UTC)
        return timezone.now() + timedelta(days=int(expiry))

    def read_scopes(self) -> list[Scope]:
        """Return the scopes of a valid form."""
        return [Scope(scope) for scope in self.cleaned_data["scopes"]]

    def read_repositories(self) -> list[str]:
        """Return the globs of a valid form."""
        lines = self.cleaned_data["repositories"].splitlines()
        return [line.strip() for line in lines if line.strip()]

    @property
    def scope_options(self) -> list[tuple[BoundWidget, Scope]]:
        """The checkboxes, each with its scope."""
        return list(zip(self["scopes"].subwidgets, Scope, strict=True))

    @property
    def has_expiry_error(self) -> bool:
        return self.has_error("expiry") or self.has_error("expires_on")


class TokensQueryForm(FilterForm):
    """The place in the list: the id that a page begins below."""

    before = IdField()


@dataclass(frozen=True)
class Row:
    """A token in the list, with the scopes that there are."""

    token: AccessToken
    scopes: list[Scope]


@workspace_page(Permission.VIEW_ACCESS_TOKENS, "GET", "HEAD", "POST")
def access_tokens(request: HtmxRequest, access: Access) -> HttpResponse:
    """List access tokens; create one, and show its secret in the answer, this once.

    The secret is not handed through the session, which is kept in the database. Sending the form
    again, as reloading does, is refused, since the name is taken by then.
    """
    if request.method == "POST":
        access.require(Permission.MANAGE_ACCESS_TOKENS)
        form = AccessTokenForm(request.POST)
        secret = _create(access, form)
        return _show_secret(request, access, secret) if secret else _list(request, access, form)
    return _list(request, access, AccessTokenForm())


@workspace_page(Permission.MANAGE_ACCESS_TOKENS, "GET", "HEAD", "POST")
def revoke_page(request: HtmxRequest, access: Access, token_id: int) -> HttpResponse:
    """Ask whether it is meant; then revoke the access token."""
    token = tokens_in(access.workspace).filter(workspace=access.workspace, id=token_id).first()
    if token is None or (token.revoked_at is not None and request.method != "POST"):
        raise Http404
    back = read_next(request, reverse("access-tokens", args=[access.workspace.slug]))
    if request.method == "POST":
        revoke_access_token(access.workspace, token_id, actor=access.actor)
        messages.success(request, f"{token.name} is revoked and refused from now on.")
        return redirect(back)
    context = {"access": access, "row": _to_row(token), "form": None, "next": back}
    return render(request, "workspaces/revoke_access_token.html", context)


def _create(access: Access, form: AccessTokenForm) -> str | None:
    """Return the secret of the token that a form makes; None if the form says why not."""
    if not form.is_valid():
        return None
    try:
        return create_access_token(
            access.workspace,
            form.cleaned_data["name"],
            form.read_scopes(),
            actor=access.actor,
            expires_at=form.read_expiry(),
            repositories=form.read_repositories(),
        )
    except ValidationError as error:
        for field, found in error.error_dict.items():
            form.add_error("expires_on" if field == "expires_at" else field, found)
        return None


@never_cache
def _show_secret(request: HtmxRequest, access: Access, secret: str) -> HttpResponse:
    token = tokens_in(access.workspace).get(token_hash=hash_token(secret))
    context = {
        "access": access,
        "here": "access-tokens",
        "row": _to_row(token),
        "secret": secret,
        "snippets": list_snippets(token),
    }
    return render(request, "workspaces/new_access_token.html", context)


def _list(request: HtmxRequest, access: Access, form: AccessTokenForm) -> HttpResponse:
    query = TokensQueryForm(request.GET)
    before = query.cleaned_data["before"] if query.is_valid() else 0
    page = find_access_tokens(access.workspace, before=before)
    context: dict[str, Any] = {
        "access": access,
        "here": "access-tokens",
        "form": form,
        "rows": [_to_row(token) for token in page.tokens],
        "query_problems": query.list_problems(),
        "next_before": page.next_before,
        "max_name_length": MAX_NAME_LENGTH,
    }
    return render_form(request, "workspaces/access_tokens.html", context)


def _to_row(token: AccessToken) -> Row:
    return Row(token, [scope for scope in Scope if scope.value in token.scopes])
