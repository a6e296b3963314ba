"""The page "Members": who is in a workspace, and what an admin does about it."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
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
from workspaces.callers import Access
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
)
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.pages.forms import add_errors, render_form
from workspaces.queries import FilterForm
from workspaces.throttles import INVITATIONS_PER_WORKSPACE, TooManyCallsError, count_call

MEMBERS_PER_PAGE = 100

_ROLE_HINTS = {
    Role.MEMBER: "Pulls and pushes images, and sees settings and what happened to tags.",
    Role.AUDITOR: "Reads everything, the whole lock log too. Pulls images and pushes none.",
    Role.ADMIN: "Does all of that, and changes settings, locked tags, people and access tokens.",
}


class InviteForm(forms.Form):
    """Whom to invite, and as what."""

    invitee = forms.CharField(
        label="Name or e-mail address",
        max_length=MAX_INVITEE_LENGTH,
        widget=forms.TextInput({"autocomplete": "off", "autocapitalize": "none"}),
        error_messages={"required": "Write whom you invite."},
    )
    role = forms.ChoiceField(
        label="Role",
        widget=forms.RadioSelect,
        choices=[(role.value, role.label) for role in _ROLE_HINTS],
        initial=Role.MEMBER.value,
        error_messages={"required": "Choose a role.", "invalid_choice": "Choose a role."},
    )

    def list_roles(self) -> Iterator[tuple[Any, str]]:
        """Return each role's radio button, and what the role may do."""
        yield from zip(self["role"], _ROLE_HINTS.values(), strict=True)


class MembersQueryForm(FilterForm):
    """The place in the list: the name that a page starts behind."""

    after = forms.CharField(required=False, max_length=MAX_USERNAME_LENGTH)


class RoleForm(forms.Form):
    """A member's other role."""

    role = forms.ChoiceField(choices=[(role.value, role.label) for role in Role])


@workspace_page(Permission.VIEW_PEOPLE, "GET", "HEAD", "POST")
@never_cache
def members(request: HtmxRequest, access: Access) -> HttpResponse:
    """List the people of the workspace; for admins, invite somebody.

    A new link stands in the answer to the POST itself: kept for the page after a redirect, in a
    session, it could be read in the database. A reload sends the form again, and is told that this
    person is invited already.
    """
    if request.method != "POST":
        return _list(request, access, InviteForm())
    access.require(Permission.MANAGE_PEOPLE)
    form = InviteForm(request.POST)
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

    Not both: an address that the admin can answer for as well proves nothing.
    """
    is_unsent = False
    if settings.HAS_MAIL and is_mail_address(invitee):
        if mail_invitation(invitee, access.workspace, link, inviter=access.actor.name):
            messages.success(request, f"An invitation was mailed to {invitee}.")
            return redirect("members", access.workspace.slug)
        is_unsent = True
    made = {"invitee": invitee, "link": link, "days": INVITATION_LIFE_DAYS, "is_unsent": is_unsent}
    return _list(request, access, InviteForm(), made)


@workspace_page(Permission.MANAGE_PEOPLE, "POST")
def change_role_page(request: HtmxRequest, access: Access, membership_id: int) -> HttpResponse:
    """Give a member another role."""
    _find(access, membership_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was changed: choose one of the roles.")
        return redirect("members", access.workspace.slug)
    role = Role(form.cleaned_data["role"])
    try:
        membership = change_role(access.workspace, membership_id, role, actor=access.actor)
    except Membership.DoesNotExist:
        messages.error(request, _GONE)
    except LastAdminError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{membership.user.username} is {role.value} now.")
    return redirect("members", access.workspace.slug)


@workspace_page(Permission.MANAGE_PEOPLE, "GET", "HEAD", "POST")
def remove_page(request: HtmxRequest, access: Access, membership_id: int) -> HttpResponse:
    """Say what becomes of somebody who is removed; then remove them."""
    membership = _find(access, membership_id)
    if request.method != "POST":
        is_self = membership.user_id == request.user.pk
        context = {"access": access, "here": "members", "membership": membership}
        return render(request, "workspaces/remove_member.html", {**context, "is_self": is_self})
    try:
        username = remove_member(access.workspace, membership_id, actor=access.actor)
    except Membership.DoesNotExist:
        messages.error(request, _GONE)
    except LastAdminError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{username} is no longer in {access.workspace.name}.")
        if membership.user_id == request.user.pk:
            return redirect("home")
    return redirect("members", access.workspace.slug)


@workspace_page(Permission.MANAGE_PEOPLE, "GET", "HEAD", "POST")
@never_cache
def password_link_page(request: HtmxRequest, access: Access, membership_id: int) -> HttpResponse:
    """Make a link by which a member sets a new password, and show it, or say why there is none."""
    membership = _find(access, membership_id)
    context: dict[str, Any] = {"access": access, "here": "members", "membership": membership}
    status = 200
    obstacle = find_obstacle(access.workspace, membership.user, actor=access.actor)
    if request.method == "POST":
        try:
            user, token = make_password_link(access.workspace, membership_id, actor=access.actor)
            context["link"] = make_password_link_address(user, token)
        except NoPasswordLinkError as error:
            obstacle, status = str(error), 409
        except Membership.DoesNotExist:
            messages.error(request, _GONE)
            return redirect("members", access.workspace.slug)
    context |= {"obstacle": obstacle, "has_mail": settings.HAS_MAIL}
    return render(request, "workspaces/make_password_link.html", context, status=status)


@workspace_page(Permission.MANAGE_PEOPLE, "POST")
def withdraw_page(request: HtmxRequest, access: Access, invitation_id: int) -> HttpResponse:
    """Withdraw an invitation."""
    try:
        invitee = withdraw_invitation(access.workspace, invitation_id, actor=access.actor)
    except Invitation.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, f"The invitation of {invitee} is withdrawn: its link is void.")
    return redirect("members", access.workspace.slug)


_GONE = "Somebody else has removed this member in the meantime."


def _find(access: Access, membership_id: int) -> Membership:
    try:
        return find_member(access.workspace, membership_id)
    except Membership.DoesNotExist as error:
        raise Http404 from error


def _list(
    request: HtmxRequest,
    access: Access,
    form: InviteForm,
    made: dict[str, Any] | None = None,
    refusal: TooManyCallsError | None = None,
) -> HttpResponse:
    query = MembersQueryForm(request.GET)
    after = query.cleaned_data["after"] if query.is_valid() else ""
    found = access.workspace.memberships.select_related("user").order_by("user__username")
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
        "roles": list(Role),
        "form": form,
        "made": made,
    }
    if access.can_manage_people:
        context["invitations"] = list_open_invitations(access.workspace).select_related(
            "invited_by"
        )
    return render_form(request, "workspaces/members.html", context, refusal)
