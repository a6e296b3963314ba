"""Your personal access tokens, with which you log in to the registry."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from workspaces.access import Actor, ActorKind
from workspaces.actions.personal_tokens import create_personal_token, revoke_personal_token
from workspaces.caller_access import read_origin
from workspaces.models import MAX_NAME_LENGTH, PersonalToken, User, validate_plain_text
from workspaces.pages.forms import add_errors, render_form


class PersonalTokenForm(forms.Form):
    """A new token."""

    name = forms.CharField(
        max_length=MAX_NAME_LENGTH,
        validators=[validate_plain_text],
        help_text="Where you use it, such as laptop.",
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput({"autocomplete": "off", "autocapitalize": "none"}),
    )
    days = forms.TypedChoiceField(
        label="When it expires",
        coerce=int,
        choices=[("30", "In 30 days"), ("90", "In 90 days"), ("365", "In one year")],
        initial="90",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose when it expires.",
            "invalid_choice": "Choose when it expires.",
        },
    )

    def list_days(self) -> list[tuple[Any, str]]:
        """Return the radio buttons, as a template wants them."""
        return [(radio, "") for radio in self["days"]]


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def personal_tokens(request: HttpRequest) -> HttpResponse:
    """List your tokens; create one, and show its secret in the answer, this once."""
    user = User.objects.get(pk=request.user.pk or 0)
    form = PersonalTokenForm(request.POST if request.method == "POST" else None)
    secret = ""
    if form.is_valid():
        actor = Actor(user.username, ActorKind.PERSON, read_origin(request))
        data = form.cleaned_data
        try:
            secret = create_personal_token(user, data["name"], data["days"], actor=actor)
            form = PersonalTokenForm()
        except ValidationError as error:
            add_errors(form, error)
    context = {
        "account": user,
        "form": form,
        "secret": secret,
        "tokens": PersonalToken.objects.filter(user=user).order_by("-id"),
    }
    return render_form(request, "workspaces/personal_tokens.html", context)


@require_POST
@login_required
def revoke_token(request: HttpRequest, personal_token_id: int) -> HttpResponse:
    """Revoke one of your tokens."""
    user = User.objects.get(pk=request.user.pk or 0)
    actor = Actor(user.username, ActorKind.PERSON, read_origin(request))
    try:
        name = revoke_personal_token(user, personal_token_id, actor=actor)
    except PersonalToken.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, f"{name} is revoked. A login with it is refused from now on.")
    return redirect("personal-tokens")
