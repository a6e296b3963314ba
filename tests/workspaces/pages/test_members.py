"""The page "Members": who is there, roles, removal, invitations, password links."""

import smtplib
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from tests.page import Browser, Page, read_errors
from tests.problems import nothing_written
from workspaces import throttles
from workspaces.access import SYSTEM, Role
from workspaces.actions.invitations import find_invitation, invite
from workspaces.actions.members import add_member
from workspaces.actions.passwords import LINK_TOKENS
from workspaces.log.models import LockEvent
from workspaces.models import Invitation, Membership, User, Workspace
from workspaces.pages import members

MEMBERS = "/acme/settings/members/"


@pytest.fixture
def with_mail(settings: Any) -> None:
    """A site that sends mail, which stays in an outbox here."""
    settings.HAS_MAIL = True


def number_of(user: User, slug: str = "acme") -> int:
    return Membership.objects.get(workspace__slug=slug, user=user).id


def table(page: Page, number: int = 0) -> list[list[str]]:
    """Return the rows of one of the page's tables, as a person reads their cells."""
    body = page.main.find_all("tbody")[number]
    return [
        [cell.text for cell in row.walk() if cell.tag in ("td", "th")]
        for row in body.find_all("tr")
    ]


def ask(browser: Browser, what: str, *, of: User) -> Page:
    """Choose something in the menu of a member."""
    menu = browser.open(MEMBERS).by_id(f"member-{number_of(of)}")
    return browser.open(menu.find_with_text("a", what)["href"])


def send_invitation(
    browser: Browser, invitee: str, role: str = "member", status: int = 200
) -> Page:
    browser.open(MEMBERS)
    return browser.press("Invite", status, invitee=invitee, role=role)


def read_link(page: Page, base: str = "http://127.0.0.1:8000") -> str:
    """Return the path of the link that the page shows, this once."""
    link = page.by_id("secret-link").raw_text
    assert link.startswith(f"{base}/")
    assert page.headers["Cache-Control"].count("no-store")
    return link.removeprefix(base)


# Who is there.


@pytest.mark.parametrize("who", ["member", "auditor"])
def test_everybody_in_the_workspace_sees_who_is_in_it(
    alice: User, bob: User, olga: User, request: pytest.FixtureRequest, who: str
) -> None:
    browser: Browser = request.getfixturevalue(who)
    page = browser.open(MEMBERS)
    roles = [(row[0].removesuffix(" you"), row[1]) for row in page.rows]
    assert roles == [("alice", "Admin"), ("bob", "Member"), ("olga", "Auditor")]
    assert page.main.find_all("form") == []
    assert "Only admins of Acme can invite, change or remove people." in page.main.text
    assert page.rows[0][2].endswith(" UTC")


def test_people_of_other_workspaces_are_not_shown(admin: Browser, mallory: User) -> None:
    assert "mallory" not in admin.open(MEMBERS).main.text


def test_an_account_that_is_switched_off_is_marked(admin: Browser, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert table(admin.open(MEMBERS))[1][0] == "bob Deactivated"


def test_many_people_come_page_by_page(
    admin: Browser, bob: User, olga: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MEMBERS_PER_PAGE", 2)
    assert [row[0] for row in table(admin.open(MEMBERS))] == ["alice you", "bob"]
    page = admin.follow("More members")
    assert [row[0] for row in table(page)] == ["olga"]
    assert "More members" not in page.main.text
    for odd in ("%00", "%ED%A0%80", "x" * 5000):
        admin.open(f"{MEMBERS}?after={odd}")


def test_the_navigation_leads_to_the_members(admin: Browser) -> None:
    admin.open("/acme/settings/")
    page = admin.follow("Members")
    assert page.heading == "Members"
    nav = page.find("nav", aria_label="Workspace settings")
    assert nav.find("a", aria_current="page").text == "Members"


def test_a_hostile_name_is_shown_as_text(admin: Browser, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(username="<script>alert(1)</script>")
    assert table(admin.open(MEMBERS))[0][0] == "<script>alert(1)</script>"


# Roles.


def test_an_admin_changes_a_role(admin: Browser, bob: User) -> None:
    page = ask(admin, "Change role…", of=bob)
    assert page.heading == "Change the role of bob?"
    assert page.find("input", name="role", checked=True)["value"] == "member"
    page = admin.press("Change role", role="auditor")
    assert page.banners == ["bob is now auditor."]
    assert Membership.objects.get(user=bob).role == "auditor"
    assert [row[:2] for row in table(page)] == [["alice you", "Admin"], ["bob", "Auditor"]]


@pytest.mark.parametrize("role", ["", "owner", "ADMIN", "a\0b"])
def test_a_role_that_is_not_there_changes_nothing(admin: Browser, bob: User, role: str) -> None:
    ask(admin, "Change role…", of=bob)
    with nothing_written():
        page = admin.press("Change role", 422, role=role)
    assert read_errors(page)
    assert "Choose a role." in page.main.text


def test_the_last_admin_is_told_why_they_stay(admin: Browser, alice: User, bob: User) -> None:
    last = ["alice is the last admin of acme. Make someone else an admin first."]
    ask(admin, "Change role…", of=alice)
    with nothing_written():
        assert admin.press("Change role", role="member").banners == last
        ask(admin, "Leave…", of=alice)
        assert admin.press("Leave").banners == last


def test_an_admin_who_steps_back_still_sees_the_members(admin: Browser, alice: User) -> None:
    dana = User.objects.create_user("dana")
    add_member(Workspace.objects.get(), dana, Role.ADMIN, actor=SYSTEM)
    ask(admin, "Change role…", of=alice)
    page = admin.press("Change role", role="member")
    assert page.banners == ["alice is now member."]
    assert page.main.find_all("form") == []


@pytest.mark.parametrize("who", ["member", "auditor"])
def test_others_change_nobody(
    alice: User, bob: User, olga: User, request: pytest.FixtureRequest, who: str
) -> None:
    client: Client = request.getfixturevalue(who).client
    number = number_of(alice)
    with nothing_written():
        for path, sent in (
            (MEMBERS, {"invitee": "eve", "role": "admin"}),
            (f"{MEMBERS}{number_of(bob)}/role/", {"role": "admin"}),
            (f"{MEMBERS}{number}/remove/", {}),
            (f"{MEMBERS}{number}/password-link/", {}),
        ):
            assert client.post(path, sent).status_code == 403


# Removal.


def test_an_admin_removes_somebody_who_is_out_at_once(
    admin: Browser, member: Browser, bob: User
) -> None:
    member.open("/acme/")
    page = ask(admin, "Remove…", of=bob)
    assert page.heading == "Remove bob from Acme?"
    assert "bob can no longer pull, push or see anything here" in page.main.text
    assert "stay locked, and the lock log keeps what they did" in page.main.text
    page = admin.press("Remove")
    assert page.banners == ["bob is no longer in Acme."]
    assert [row[0] for row in table(page)] == ["alice you"]
    member.open("/acme/", 404)


def test_who_leaves_is_led_to_the_start_page(admin: Browser, alice: User) -> None:
    dana = User.objects.create_user("dana")
    add_member(Workspace.objects.get(), dana, Role.ADMIN, actor=SYSTEM)
    assert ask(admin, "Leave…", of=alice).heading == "Leave Acme?"
    page = admin.press("Leave")
    assert page.heading == "Workspaces"
    assert page.banners == ["alice is no longer in Acme."]


def test_looking_at_the_question_removes_nobody(admin: Browser, bob: User) -> None:
    with nothing_written():
        admin.open(f"{MEMBERS}{number_of(bob)}/remove/")


def test_every_question_leads_back_to_the_page_of_the_list_that_it_came_from(
    admin: Browser, alice: User, bob: User
) -> None:
    place = f"{MEMBERS}?after=alice"
    number = number_of(bob)
    for action in ("role", "password-link", "remove"):
        page = admin.open(f"{MEMBERS}{number}/{action}/?next={quote(place)}")
        assert page.main.find_with_text("a", "Cancel")["href"] == place
    assert admin.press("Remove").path == place
    page = admin.open(f"{MEMBERS}{number_of(alice)}/role/?next=//evil.example/")
    assert page.main.find_with_text("a", "Cancel")["href"] == MEMBERS


def test_members_of_another_workspace_are_not_found(
    admin: Browser, bob: User, globex: Workspace, mallory: User
) -> None:
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    with nothing_written():
        for number in (number_of(mallory, "globex"), number_of(bob, "globex"), 0, 10**30):
            for action in ("role", "remove", "password-link"):
                response = admin.client.post(f"{MEMBERS}{number}/{action}/", {"role": "member"})
                assert response.status_code == 404


# Invitations.


def test_an_invitation_shows_its_link_this_once(admin: Browser, alice: User) -> None:
    page = send_invitation(admin, "dana", "auditor")
    path = read_link(page)
    assert "it is shown only once" in page.main.text
    assert page.focused_id == "secret-link"
    invitation = find_invitation(path.split("/")[2])
    assert (invitation.invitee, invitation.role, invitation.invited_by) == (
        "dana",
        "auditor",
        alice,
    )
    row = table(page, 1)[0]
    assert row[:3] == ["dana", "Auditor", "alice"]
    assert row[3] == f"{invitation.expires_at:%Y-%m-%d %H:%M} UTC"
    page = admin.open(MEMBERS)
    assert page.find_all(id="secret-link") == []
    assert path not in page.raw_text
    # Kept nowhere: neither in the session nor in a message.
    assert path.split("/")[2] not in str(dict(admin.client.session)) + str(admin.client.cookies)


def test_the_form_sent_again_makes_no_second_invitation(admin: Browser) -> None:
    send_invitation(admin, "dana")
    with nothing_written():
        page = send_invitation(admin, "dana", status=422)
    errors = read_errors(page)
    assert errors == {
        "id_invitee": "Name or e-mail address: dana is already invited. Withdraw that invitation "
        "first if you need a new link."
    }


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"invitee": ""}, "id_invitee"),
        ({"invitee": "   "}, "id_invitee"),
        ({"invitee": "a\0b"}, "id_invitee"),
        ({"invitee": "a\x1bb"}, "id_invitee"),
        ({"invitee": "x" * 255}, "id_invitee"),
        ({"invitee": "bob"}, "id_invitee"),
        ({"role": "owner"}, "id_role_0"),
        ({"role": None}, "id_role_0"),
    ],
    ids=ascii,
)
def test_what_will_not_do_is_said_beside_its_field(
    admin: Browser, bob: User, typed: dict[str, Any], field: str
) -> None:
    admin.open(MEMBERS)
    with nothing_written():
        page = admin.press("Invite", 422, **{"invitee": "dana", **typed})
    assert list(read_errors(page)) == [field]


def test_an_invitation_is_withdrawn(admin: Browser) -> None:
    path = read_link(send_invitation(admin, "dana"))
    page = admin.press("Withdraw the invitation of dana")
    assert page.banners == ["The invitation of dana is withdrawn: its link no longer works."]
    assert "No open invitations." in page.main.text
    admin.open(path, 404)
    assert LockEvent.objects.get(kind="invitation.withdrawn").actor == "alice"


def test_what_has_expired_is_not_listed(admin: Browser) -> None:
    send_invitation(admin, "dana")
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "No open invitations." in admin.open(MEMBERS).main.text


def test_invitations_of_another_workspace_are_not_found(
    admin: Browser, globex: Workspace, mallory: User
) -> None:
    invite(globex, "evelyn", Role.ADMIN, inviter=mallory, actor=SYSTEM)
    number = Invitation.objects.get().id
    assert "evelyn" not in admin.open(MEMBERS).main.text
    with nothing_written():
        response = admin.client.post(f"{MEMBERS}invitations/{number}/withdraw/")
    assert response.status_code == 404


def test_too_many_invitations_are_refused_for_a_while(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = throttles.Limit("few", calls=1, seconds=3600, counted="invitations")
    monkeypatch.setattr(members, "INVITATIONS_PER_WORKSPACE", limit)
    send_invitation(admin, "carol")
    page = send_invitation(admin, "dana", status=429)
    assert "Too many invitations. Try again in" in read_errors(page)["id_invitee"]
    assert int(page.headers["Retry-After"]) > 0
    assert Invitation.objects.count() == 1


# Invitations by mail.


@pytest.mark.usefixtures("with_mail")
def test_an_invitation_of_an_address_is_mailed_and_not_shown(
    admin: Browser, mailoutbox: list[mail.EmailMessage]
) -> None:
    page = send_invitation(admin, "dana@example.org")
    assert page.banners == ["An invitation was mailed to dana@example.org."]
    assert page.path == MEMBERS
    [sent] = mailoutbox
    assert sent.to == ["dana@example.org"]
    assert sent.subject == "alice invites you to Acme in Taglock"
    link = next(line for line in str(sent.body).splitlines() if "/invitations/" in line)
    assert link.startswith("http://127.0.0.1:8000/invitations/")
    secret = link.split("/")[4]
    assert find_invitation(secret).invitee == "dana@example.org"
    assert secret not in page.raw_text


@pytest.mark.usefixtures("with_mail")
def test_an_invitation_of_a_name_is_shown_though_there_is_mail(
    admin: Browser, mailoutbox: list[mail.EmailMessage]
) -> None:
    read_link(send_invitation(admin, "dana"))
    assert mailoutbox == []


@pytest.mark.usefixtures("with_mail")
@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("timed out"),
        ConnectionRefusedError(),
        smtplib.SMTPRecipientsRefused({}),
        smtplib.SMTPServerDisconnected(),
    ],
    ids=repr,
)
def test_a_mail_server_that_is_away_loses_no_invitation(
    admin: Browser, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(mail.EmailMessage, "send", fail)
    page = send_invitation(admin, "dana@example.org")
    assert "The mail could not be sent." in page.main.text
    assert find_invitation(read_link(page).split("/")[2])


@pytest.mark.usefixtures("with_mail")
def test_a_workspaces_name_is_plain_text_in_a_mail(
    admin: Browser, acme: Workspace, mailoutbox: list[mail.EmailMessage]
) -> None:
    Workspace.objects.update(name="A & B <c>")
    send_invitation(admin, "dana@example.org")
    assert "workspace A & B <c> (acme)" in str(mailoutbox[0].body)


# Password links.


def test_an_admin_makes_a_password_link(admin: Browser, bob: User) -> None:
    with nothing_written():
        page = ask(admin, "Password link…", of=bob)
    assert page.heading == "Make a password link for bob?"
    page = admin.press("Make a password link")
    path = read_link(page)
    token = path.split("/")[4]
    assert LINK_TOKENS.check_token(User.objects.get(pk=bob.pk), token)
    event = LockEvent.objects.get(kind="password.link_made")
    assert (event.actor, event.details) == ("alice", {"member": "bob", "how": "shown to an admin"})
    assert token not in str(dict(admin.client.session)) + str(admin.client.cookies)


def test_no_admin_makes_a_link_for_somebody_who_is_elsewhere_too(
    admin: Browser,
    alice: User,
    bob: User,
    globex: Workspace,
    mallory: User,
    sign_in: Callable[[User], Client],
) -> None:
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    for browser, slug in ((admin, "acme"), (Browser(sign_in(mallory)), "globex")):
        path = f"/{slug}/settings/members/{number_of(bob, slug)}/password-link/"
        page = browser.open(path)
        assert "bob is in another workspace too" in page.main.text
        assert "They can ask the operator of this site for a new password." in page.main.text
        assert page.main.find_all("form") == []
        with nothing_written():
            assert browser.client.post(path).status_code == 409


@pytest.mark.usefixtures("with_mail")
def test_where_there_is_mail_it_is_the_way_for_who_is_elsewhere_too(
    admin: Browser, bob: User, globex: Workspace
) -> None:
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    page = admin.open(f"{MEMBERS}{number_of(bob)}/password-link/")
    assert page.main.find_with_text("a", "Forgot your password?")["href"] == "/accounts/forgot/"


def test_an_admin_makes_no_link_for_themselves(admin: Browser, alice: User) -> None:
    path = f"{MEMBERS}{number_of(alice)}/password-link/"
    page = admin.open(path)
    assert page.main.find_with_text("a", "Your account")["href"] == "/accounts/"
    with nothing_written():
        assert admin.client.post(path).status_code == 409


def test_who_was_removed_in_the_meantime_is_said(
    admin: Browser, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise Membership.DoesNotExist

    for action in ("change_role", "remove_member", "make_password_link"):
        monkeypatch.setattr(members, action, gone)
    for action in ("role", "remove", "password-link"):
        admin.client.post(f"{MEMBERS}{number_of(bob)}/{action}/", {"role": "admin"})
        assert admin.open(MEMBERS).banners == [
            "Someone else has removed this member in the meantime."
        ]
