"""The page "Members": who is in a workspace, and what an admin does about it."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from workspaces.access import Permission, Role
from workspaces.actions.invitations import (
    INVITATION_LIFE_DAYS,
    invite,
    list_open_invitations,
    withdraw_invitation,
)
from workspaces.actions.members import LastAdminError, change_role, find_member, remove_member
from workspaces.actions.passwords import NoPasswordLinkError, find_obstacle, make_password_link
from workspaces.caller_access import Access
from workspaces.mail import (
    is_mail_address,
    mail_invitation,
    make_invitation_link,
    make_password_link_address,
)
from workspaces.models import (
    MAX_INVITEE_LENGTH,
    MAX_USERNAME_LENGTH,
    Invitation,
    Membership,
    User,
    Workspace,
)
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.pages.back import read_next
from workspaces.pages.forms import add_errors, render_form
from workspaces.queries import FilterForm
from workspaces.throttles import INVITATIONS_PER_WORKSPACE, TooManyCallsError, count_call

MEMBERS_PER_PAGE = 100

_ROLE_HINTS = {
    Role.MEMBER: "Can pull and push images, and see the settings and what happened to tags.",
    Role.AUDITOR: "Can read everything, including the whole lock log. Can pull images. Can't push.",
    Role.ADMIN: "Can do all of that, and change settings, locked tags, people and access tokens.",
}


# Where the registry keeps the accounts of those who push and pull, a role says nothing of them.
_ROLE_HINTS_WITHOUT_IMAGES = {
    Role.MEMBER: "Can see the settings and what happened to tags.",
    Role.AUDITOR: "Can read everything, including the whole lock log.",
    Role.ADMIN: _ROLE_HINTS[Role.ADMIN],
}


class RoleForm(forms.Form):
    """A role, each with what it may do in the workspace of the page."""

    def __init__(self, workspace: Workspace, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        is_without = workspace.registry_keeps_accounts
        self._hints = _ROLE_HINTS_WITHOUT_IMAGES if is_without else _ROLE_HINTS

    role = forms.ChoiceField(
        label="Role",
        widget=forms.RadioSelect,
        choices=[(role.value, role.label) for role in _ROLE_HINTS],
        initial=Role.MEMBER.value,
        error_messages={"required": "Choose a role.", "invalid_choice": "Choose a role."},
    )

    def list_roles(self) -> Iterator[tuple[Any, str]]:
        """Return each role's radio button, and what the role may do."""
        yield from zip(self["role"], self._hints.values(), strict=True)


class InviteForm(RoleForm):
    """Whom to invite, and as what."""

    field_order = ("invitee", "role")

    invitee = forms.CharField(
        label="Name or e-mail address",
        max_length=MAX_INVITEE_LENGTH,
        widget=forms.TextInput({"autocomplete": "off", "autocapitalize": "none"}),
        error_messages={"required": "Enter a name or an e-mail address."},
    )


class MembersQueryForm(FilterForm):
    """The place in the list: the name that a page starts behind."""

    after = forms.CharField(required=False, max_length=MAX_USERNAME_LENGTH)


@workspace_page(Permission.VIEW_PEOPLE, "GET", "HEAD", "POST")
@never_cache
def members(request: HtmxRequest, access: Access) -> HttpResponse:
    """List the people of the workspace; for admins, invite someone.

    A new link is in the answer to the POST itself: kept for the page after a redirect, in a
    session, it could be read in the database. A reload sends the form again, and is told that this
    person is invited already.
    """
    if request.method != "POST":
        return _list(request, access, InviteForm(access.workspace))
    access.require(Permission.MANAGE_PEOPLE)
    form = InviteForm(access.workspace, request.POST)
    if not form.is_valid():
        return _list(request, access, form)
    invitee = form.cleaned_data["invitee"]
    try:
        count_call(INVITATIONS_PER_WORKSPACE, access.workspace.slug)
        secret = invite(
            access.workspace,
            invitee,
            Role(form.cleaned_data["role"]),
            inviter=User.objects.get(username=access.actor.name),
            actor=access.actor,
        )
    except ValidationError as error:
        add_errors(form, error)
        return _list(request, access, form)
    except TooManyCallsError as refusal:
        form.add_error("invitee", str(refusal))
        return _list(request, access, form, refusal=refusal)
    return _hand_over(request, access, invitee, make_invitation_link(secret))


def _hand_over(request: HtmxRequest, access: Access, invitee: str, link: str) -> HttpResponse:
    """Mail the link, or show it where it cannot be mailed.

    Not both: an address that the admin can also answer for proves nothing.
    """
    is_unsent = False
    if settings.HAS_MAIL and is_mail_address(invitee):
        if mail_invitation(invitee, access.workspace, link, inviter=access.actor.name):
            messages.success(request, f"An invitation was mailed to {invitee}.")
            return redirect("members", access.workspace.slug)
        is_unsent = True
    made = {"invitee": invitee, "link": link, "days": INVITATION_LIFE_DAYS, "is_unsent": is_unsent}
    return _list(request, access, InviteForm(access.workspace), made)


@workspace_page(Permission.MANAGE_PEOPLE, "GET", "HEAD", "POST")
def change_role_page(request: HtmxRequest, access: Access, membership_id: int) -> HttpResponse:
    """Ask for a member's new role; then set it."""
    context = _ask_about(request, access, membership_id)
    membership = context["membership"]
    sent = request.POST if request.method == "POST" else None
    # The page under the dialog has a form with roles, too.
    form = RoleForm(access.workspace, sent, initial={"role": membership.role}, auto_id="new_%s")
    if not form.is_valid():
        return render_form(request, "workspaces/change_role.html", {**context, "form": form})
    role = Role(form.cleaned_data["role"])
    try:
        membership = change_role(access.workspace, membership_id, role, actor=access.actor)
    except Membership.DoesNotExist:
        messages.error(request, _GONE)
    except LastAdminError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{membership.user.username} is now {role.value}.")
    return redirect(context["next"])


@workspace_page(Permission.MANAGE_PEOPLE, "GET", "HEAD", "POST")
def remove_page(request: HtmxRequest, access: Access, membership_id: int) -> HttpResponse:
    """Say what happens to someone who is removed; then remove them."""
    context = _ask_about(request, access, membership_id)
    if request.method != "POST":
        return render(request, "workspaces/remove_member.html", context)
    try:
        username = remove_member(access.workspace, membership_id, actor=access.actor)
    except Membership.DoesNotExist:
        messages.error(request, _GONE)
    except LastAdminError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{username} is no longer in {access.workspace.name}.")
        if context["is_self"]:
            return redirect("home")
    return redirect(context["next"])


@workspace_page(Permission.MANAGE_PEOPLE, "GET", "HEAD", "POST")
@never_cache
def password_link_page(request: HtmxRequest, access: Access, membership_id: int) -> HttpResponse:
    """Make a link by which a member sets a new password, and show it, or say why there is none."""
    context = _ask_about(request, access, membership_id)
    status = 200
    obstacle = find_obstacle(access.workspace, context["membership"].user, actor=access.actor)
    if request.method != "POST" and not obstacle:
        return render(request, "workspaces/make_password_link.html", context)
    if request.method == "POST":
        try:
            user, token = make_password_link(access.workspace, membership_id, actor=access.actor)
            context["link"] = make_password_link_address(user, token)
        except NoPasswordLinkError as error:
            obstacle, status = str(error), 409
        except Membership.DoesNotExist:
            messages.error(request, _GONE)
            return redirect(context["next"])
    context |= {"obstacle": obstacle, "has_mail": settings.HAS_MAIL}
    return render(request, "workspaces/new_password_link.html", context, status=status)


@workspace_page(Permission.MANAGE_PEOPLE, "POST")
def withdraw_page(request: HtmxRequest, access: Access, invitation_id: int) -> HttpResponse:
    """Withdraw an invitation."""
    try:
        invitee = withdraw_invitation(access.workspace, invitation_id, actor=access.actor)
    except Invitation.DoesNotExist as error:
        raise Http404 from error
    messages.success(
        request, f"The invitation of {invitee} is withdrawn: its link no longer works."
    )
    return redirect("members", access.workspace.slug)


_GONE = "Someone else has removed this member in the meantime."


def _ask_about(request: HtmxRequest, access: Access, membership_id: int) -> dict[str, Any]:
    """Return what a question about a member shows, and where it leads back to."""
    try:
        membership = find_member(access.workspace, membership_id)
    except Membership.DoesNotExist as error:
        raise Http404 from error
    return {
        "access": access,
        "here": "members",
        "membership": membership,
        "is_self": membership.user_id == request.user.pk,
        "next": read_next(request, reverse("members", args=[access.workspace.slug])),
    }


def _list(
    request: HtmxRequest,
    access: Access,
    form: InviteForm,
    made: dict[str, Any] | None = None,
    refusal: TooManyCallsError | None = None,
) -> HttpResponse:
    query = MembersQueryForm(request.GET)
    after = query.cleaned_data["after"] if query.is_valid() else ""
    found = access.workspace.memberships.select_related("user__identity")
    found = found.order_by("user__username")
    if after:
        found = found.filter(user__username__gt=after)
    page = list(found[: MEMBERS_PER_PAGE + 1])
    has_more = len(page) > MEMBERS_PER_PAGE
    page = page[:MEMBERS_PER_PAGE]
    context = {
        "access": access,
        "here": "members",
        "members": page,
        "query_problems": query.list_problems(),
        "next_after": page[-1].user.username if has_more else "",
        "form": form,
        "made": made,
    }
    if access.can_manage_people:
        context["invitations"] = list_open_invitations(access.workspace).select_related(
            "invited_by"
        )
    return render_form(request, "workspaces/members.html", context, refusal)
