"""Every look of the pages about people, to be checked by tests/test_html.py."""

from collections.abc import Callable

import pytest
from django.conf import settings
from django.test import Client

from tests.page import Browser, Page
from workspaces.access import SYSTEM, Role
from workspaces.actions.invitations import invite
from workspaces.actions.members import add_member
from workspaces.actions.passwords import LINK_TOKENS
from workspaces.mail import make_password_link_address
from workspaces.models import Membership, User, Workspace

MEMBERS = "/acme/settings/members/"
ACCOUNT = "/accounts/"
FORGOT = "/accounts/forgot/"


def _add(workspace: Workspace, username: str, role: Role = Role.MEMBER) -> Membership:
    user, _ = User.objects.get_or_create(username=username)
    return add_member(workspace, user, role, actor=SYSTEM)


def _invite(workspace: Workspace) -> str:
    alice = User.objects.get(username="alice")
    secret = invite(workspace, "dana@example.org", Role.AUDITOR, inviter=alice, actor=SYSTEM)
    return f"/invitations/{secret}/"


def _open_members(admin: Browser, workspace: Workspace) -> Page:
    _add(workspace, "bob")
    sleeper = _add(workspace, "sleeper").user
    User.objects.filter(pk=sleeper.pk).update(is_active=False)
    _invite(workspace)
    return admin.open(MEMBERS)


def _send_invitation(admin: Browser, status: int = 200, **typed: str | None) -> Page:
    admin.open(MEMBERS)
    return admin.press("Invite", status, **{"invitee": "dana", **typed})


def _open_as_member(workspace: Workspace, path: str) -> Page:
    client = Client()
    client.force_login(_add(workspace, "bob").user)
    return Browser(client).open(path)


def _ask(admin: Browser, username: str, what: str) -> Page:
    """Choose something in the menu of a member."""
    member = Membership.objects.get(workspace__slug="acme", user__username=username)
    menu = admin.open(MEMBERS).by_id(f"member-{member.id}")
    return admin.open(menu.find_with_text("a", what)["href"])


def _change_role(admin: Browser, workspace: Workspace, status: int = 200) -> Page:
    _add(workspace, "bob")
    page = _ask(admin, "bob", "Change role…")
    return admin.press("Change role", status, role=None) if status != 200 else page


def _ask_to_remove(admin: Browser, workspace: Workspace) -> Page:
    _add(workspace, "bob")
    return _ask(admin, "bob", "Remove…")


def _leave(admin: Browser) -> Page:
    return _ask(admin, "alice", "Leave…")


def _ask_for_link(admin: Browser, workspace: Workspace) -> Page:
    _add(workspace, "bob")
    return _ask(admin, "bob", "Password link…")


def _make_link(admin: Browser, workspace: Workspace) -> Page:
    _ask_for_link(admin, workspace)
    return admin.press("Make a password link")


def _find_no_link(admin: Browser, workspace: Workspace) -> Page:
    _add(Workspace.objects.create(slug="globex", name="Globex"), "bob")
    return _ask_for_link(admin, workspace)


def _open_invitation(workspace: Workspace, status: int = 200) -> Page:
    stranger = Browser(Client())
    page = stranger.open(_invite(workspace))
    return stranger.press("Make an account and join", status) if status != 200 else page


def _join(workspace: Workspace, email: str = "") -> Page:
    client = Client()
    client.force_login(User.objects.create_user("carol", email))
    return Browser(client).open(_invite(workspace))


def _change(admin: Browser, button: str) -> Page:
    admin.open(ACCOUNT)
    return admin.press(button, 422)


def _forget(status: int = 200) -> Page:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "HAS_MAIL", True)
        stranger = Browser(Client())
        page = stranger.open(FORGOT)
        return stranger.press("Mail me a link", status, email="x") if status != 200 else page


def _open_link(workspace: Workspace, status: int = 200) -> Page:
    user = _add(workspace, "bob").user
    path = make_password_link_address(user, LINK_TOKENS.make_token(user))
    stranger = Browser(Client())
    page = stranger.open(path.removeprefix(settings.PUBLIC_URL))
    return stranger.press("Set the password", status) if status != 200 else page


PEOPLE_PAGES: dict[str, Callable[[Browser, Workspace], Page]] = {
    "members": _open_members,
    "members, alone": lambda admin, _: admin.open(MEMBERS),
    "members, member": lambda _, workspace: _open_as_member(workspace, MEMBERS),
    "members, invited": lambda admin, _: _send_invitation(admin),
    "members, error": lambda admin, _: _send_invitation(admin, 422, invitee="", role=None),
    "change role": _change_role,
    "change role, error": lambda admin, workspace: _change_role(admin, workspace, 422),
    "remove member": _ask_to_remove,
    "leave": lambda admin, _: _leave(admin),
    "password link": _ask_for_link,
    "password link, made": _make_link,
    "password link, none": _find_no_link,
    "invitation": lambda _, workspace: _open_invitation(workspace),
    "invitation, error": lambda _, workspace: _open_invitation(workspace, 422),
    "invitation, join": lambda _, workspace: _join(workspace),
    "invitation, join, with an address": lambda _, workspace: _join(workspace, "c@example.org"),
    "invitation, already in": lambda admin, workspace: admin.open(_invite(workspace)),
    "invitation, not valid": lambda admin, _: admin.open("/invitations/x/", 404),
    "account": lambda admin, _: admin.open(ACCOUNT),
    "account, password, error": lambda admin, _: _change(admin, "Change password"),
    "account, e-mail, error": lambda admin, _: _change(admin, "Change e-mail address"),
    "forgotten password": lambda *_: _forget(),
    "forgotten password, error": lambda *_: _forget(422),
    "forgotten password, no mail": lambda *_: Browser(Client()).open(FORGOT),
    "new password": lambda _, workspace: _open_link(workspace),
    "new password, error": lambda _, workspace: _open_link(workspace, 422),
    "new password, not valid": lambda *_: Browser(Client()).open("/accounts/password/x/y/", 404),
}
