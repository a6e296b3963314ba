"""The page "People" of site administrators: everyone who has an account, and who may sign in."""

from django import forms
from django.contrib import messages
from django.db.models import Count, Q
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from workspaces.access import Actor
from workspaces.actions.members import LastAdminError
from workspaces.actions.people import (
    OwnAccountError,
    deactivate_person,
    find_left_alone,
    find_valid_tokens_made_by,
    reactivate_person,
)
from workspaces.models import MAX_EMAIL_LENGTH, MAX_USERNAME_LENGTH, User
from workspaces.pages.access import HtmxRequest, site_page
from workspaces.pages.back import read_next
from workspaces.pages.forms import ReasonForm, render_form
from workspaces.queries import FilterForm

PEOPLE_PER_PAGE = 50
MAX_TOKENS_SHOWN = 20


class PeopleQueryForm(FilterForm):
    """What to look for, and the name that a page starts behind."""

    q = forms.CharField(
        label="User name or e-mail address", required=False, max_length=MAX_EMAIL_LENGTH
    )
    after = forms.CharField(
        required=False, max_length=MAX_USERNAME_LENGTH, widget=forms.HiddenInput
    )


class DeactivateForm(ReasonForm):
    """Why someone goes, and what goes with them."""

    keeps_tokens = forms.BooleanField(required=False)
    even_last_admin = forms.BooleanField(required=False)


@site_page()
def people_page(request: HtmxRequest, actor: Actor) -> HttpResponse:
    """List everyone who has an account, by user name."""
    form = PeopleQueryForm(request.GET)
    asked = form.cleaned_data if form.is_valid() else {"q": "", "after": ""}
    found = User.objects.select_related("identity").order_by("username")
    found = found.annotate(workspace_count=Count("memberships"))
    if text := asked["q"]:
        found = found.filter(Q(username__icontains=text) | Q(email__icontains=text))
    page = list(found.filter(username__gt=asked["after"])[: PEOPLE_PER_PAGE + 1])
    shown = page[:PEOPLE_PER_PAGE]
    context = {
        "here": "people",
        "form": form,
        "query_problems": form.list_problems(),
        "people": shown,
        "own_name": actor.name,
        "next_after": shown[-1].username if len(page) > len(shown) else "",
        "q": text,
    }
    return render(request, "workspaces/people.html", context)


@site_page("GET", "HEAD", "POST")
def deactivate_page(request: HtmxRequest, actor: Actor, user_id: int) -> HttpResponse:
    """Ask whether and why; then put a person out everywhere."""
    user = _find(user_id)
    form = DeactivateForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and _deactivate(request, user, form, actor):
        return redirect(_back(request))
    tokens = find_valid_tokens_made_by(user)
    context = {
        "person": user,
        "form": form,
        "next": _back(request),
        "memberships": user.memberships.select_related("workspace").order_by("workspace__slug"),
        "tokens": tokens[:MAX_TOKENS_SHOWN],
        "token_count": len(tokens),
        "left_alone": find_left_alone(user),
    }
    return render_form(request, "workspaces/deactivate_person.html", context)


@site_page("GET", "HEAD", "POST")
def reactivate_page(request: HtmxRequest, actor: Actor, user_id: int) -> HttpResponse:
    """Ask whether and why; then let a person in again."""
    user = _find(user_id)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        reactivate_person(user, actor=actor, reason=form.cleaned_data["reason"])
        messages.success(request, f"{user.username} can sign in again with a new password.")
        return redirect(_back(request))
    context = {"person": user, "form": form, "next": _back(request)}
    return render_form(request, "workspaces/reactivate_person.html", context)


def _deactivate(request: HtmxRequest, user: User, form: DeactivateForm, actor: Actor) -> bool:
    """Do it, or say in the form why not."""
    asked = form.cleaned_data
    try:
        done = deactivate_person(
            user,
            actor=actor,
            reason=asked["reason"],
            keeps_tokens=asked["keeps_tokens"],
            even_last_admin=asked["even_last_admin"],
        )
    except (LastAdminError, OwnAccountError) as error:
        form.add_error(None, str(error))
        return False
    if done is None:
        messages.success(request, f"{user.username} was deactivated already.")
    else:
        said = f"{user.username} is deactivated. Access tokens that were revoked: {done.tokens}."
        alone = ", ".join(each.slug for each in done.left_alone)
        left = f" Without an admin now: {alone}. Hand that over." if alone else ""
        messages.success(request, said + left)
    return True


def _find(user_id: int) -> User:
    user = User.objects.filter(id=user_id).first()
    if user is None:
        raise Http404
    return user


def _back(request: HtmxRequest) -> str:
    return read_next(request, reverse("site-people"))
