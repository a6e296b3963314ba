"""What the link of an invitation opens: a way into a workspace, with an account or a new one."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from workspaces.access import Actor, ActorKind, Role
from workspaces.actions.invitations import (
    AlreadyMemberError,
    InvalidInvitationError,
    accept_invitation,
    accept_with_new_account,
    find_invitation,
    find_invitation_by_hash,
)
from workspaces.caller_access import read_origin
from workspaces.mail import is_mail_address
from workspaces.models import Invitation, Membership, User
from workspaces.pages.account_forms import NewAccountForm
from workspaces.pages.forms import add_errors, render_form
from workspaces.throttles import (
    ACCOUNTS_PER_ADDRESS,
    TooManyCallsError,
    count_call,
    counted_address,
)

# In the session of someone who signs in first: the hash, by which the invitation is found, and not
# the secret, which would then be in the database, or in the address of the sign-in page.
_SESSION_KEY = "invitation"


def _keep_secret(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Keep this page's address from other pages and from servers' referrer logs.

    Not "no-referrer": by that, browsers say of the page's own forms that they come from nowhere,
    and a form from nowhere is refused.
    """

    @wraps(view)
    def page(*args: Any, **kwargs: Any) -> HttpResponse:
        response = view(*args, **kwargs)
        response["Referrer-Policy"] = "strict-origin"
        return response

    return page


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password", "repeated")
@never_cache
@_keep_secret
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """Show an invitation, which uses nothing up; by POST, take it."""
    try:
        return _open(request, find_invitation(secret))
    except InvalidInvitationError:
        return render(request, "workspaces/invalid_invitation.html", status=404)


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password", "repeated")
@never_cache
@_keep_secret
def continue_invitation(request: HttpRequest) -> HttpResponse:
    """Go on with the invitation that someone opened before they signed in."""
    try:
        return _open(request, find_invitation_by_hash(request.session.get(_SESSION_KEY, "")))
    except InvalidInvitationError:
        return render(request, "workspaces/invalid_invitation.html", status=404)


def _open(request: HttpRequest, found: Invitation) -> HttpResponse:
    """Show or take an invitation. Raises InvalidInvitationError."""
    if isinstance(request.user, User):
        return _join(request, request.user, found)
    request.session[_SESSION_KEY] = found.secret_hash
    return _make_account(request, found)


def _join(request: HttpRequest, user: User, found: Invitation) -> HttpResponse:
    membership = Membership.objects.filter(workspace=found.workspace, user=user).first()
    context: dict[str, Any] = {"invitation": found}
    if membership is not None:
        context["problem"] = str(AlreadyMemberError(Role(membership.role)))
    # The person who agreed to join is the one on the page, not one who signed in elsewhere since.
    is_agreed = request.method == "POST" and request.POST.get("join_as") == user.username
    if is_agreed and membership is None:
        actor = Actor(user.username, ActorKind.PERSON, read_origin(request))
        # The address that the page showed, where they ticked that it is theirs.
        own_email = request.POST.get("own_email", "")
        try:
            joined = accept_invitation(found, user, actor=actor, own_email=own_email)
        except AlreadyMemberError as error:
            context["problem"] = str(error)
        else:
            return _welcome(
                request, joined, removed_email=user.email if not joined.user.email else ""
            )
    status = 409 if request.method == "POST" else 200
    return render(request, "workspaces/invitation.html", context, status=status)


def _make_account(request: HttpRequest, found: Invitation) -> HttpResponse:
    if request.method == "POST" and not settings.LOCAL_PASSWORDS:
        raise PermissionDenied("Passwords are switched off on this site: sign in to join.")
    address = found.invitee if is_mail_address(found.invitee) else ""
    form = NewAccountForm(request.POST if request.method == "POST" else None)
    form.fields["email"].initial = address
    context = {"invitation": found, "form": form, "has_passwords": settings.LOCAL_PASSWORDS}
    origin = read_origin(request)
    if request.method == "POST":
        try:
            count_call(ACCOUNTS_PER_ADDRESS, counted_address(origin.address))
        except TooManyCallsError as refusal:
            form.refusal = str(refusal)
            return render_form(request, "workspaces/invitation.html", context, refusal)
    if form.is_valid():
        try:
            membership = accept_with_new_account(found, form.make_user(), origin=origin)
        except ValidationError as error:
            add_errors(form, error)
        else:
            login(request, membership.user)
            return _welcome(request, membership)
    return render_form(request, "workspaces/invitation.html", context)


def _welcome(
    request: HttpRequest, membership: Membership, *, removed_email: str = ""
) -> HttpResponse:
    workspace = membership.workspace
    request.session.pop(_SESSION_KEY, None)
    said = f"You are in {workspace.name} now, as {membership.role}."
    if removed_email:
        said += (
            f" The address {removed_email} is removed from your account; add your own under your "
            "user name."
        )
    messages.success(request, said)
    return redirect("overview", workspace.slug)
