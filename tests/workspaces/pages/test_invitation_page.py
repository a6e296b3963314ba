"""What the link of an invitation opens."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.page import Browser, Page, read_errors
from tests.problems import nothing_written
from workspaces import throttles
from workspaces.access import SYSTEM, Role
from workspaces.actions.invitations import find_invitation, invite, withdraw_invitation
from workspaces.actions.members import add_member
from workspaces.models import Invitation, Membership, User, Workspace
from workspaces.pages import invitations

PASSWORD = "correct horse battery"


@pytest.fixture
def link(acme: Workspace, alice: User) -> str:
    """The path of an invitation."""
    secret = invite(acme, "dana@example.org", Role.MEMBER, inviter=alice, actor=SYSTEM)
    return f"/invitations/{secret}/"


@pytest.fixture
def stranger() -> Browser:
    """A browser in which nobody is signed in."""
    return Browser(Client(enforce_csrf_checks=True))


@pytest.fixture
def dana(db: None, sign_in: Callable[[User], Client]) -> Browser:
    """The browser of someone with an account and no workspace."""
    return Browser(sign_in(User.objects.create_user("dana", password="demo")))


def make_account(browser: Browser, status: int = 200, **typed: str) -> Page:
    typed = {"username": "dana", "password": PASSWORD, "repeated": PASSWORD, **typed}
    return browser.press("Make an account and join", status, **typed)


def is_open(link: str) -> bool:
    return bool(find_invitation(link.split("/")[2]))


def test_looking_uses_nothing_up(stranger: Browser, dana: Browser, link: str) -> None:
    with nothing_written():
        for browser in (stranger, dana):
            for _ in range(3):
                page = browser.open(link)
                assert page.heading == "Join Acme"
                assert "alice invites dana@example.org to be a member of Acme" in page.main.text
        stranger.client.head(link)


@pytest.mark.parametrize("who", ["stranger", "dana"])
def test_the_address_is_told_to_nobody_else(
    request: pytest.FixtureRequest, link: str, who: str
) -> None:
    browser: Browser = request.getfixturevalue(who)
    for path, status in ((link, 200), ("/invitations/nothing/", 404)):
        headers = browser.open(path, status).headers
        # "no-referrer" would have browsers send the page's forms from "null", which is refused.
        assert headers["Referrer-Policy"] == "strict-origin"
        assert "no-store" in headers["Cache-Control"]


def test_somebody_with_an_account_joins(dana: Browser, link: str) -> None:
    dana.open(link)
    page = dana.press("Join Acme as member, as dana")
    assert page.path == "/acme/"
    assert page.banners == ["You are in Acme now, as member."]
    assert Membership.objects.get(user__username="dana").role == "member"
    dana.open(link, 404)


def test_whoever_is_not_signed_in_can_sign_in_first(
    stranger: Browser, link: str, mallory: User
) -> None:
    page = stranger.open(link)
    secret = link.split("/")[2]
    assert secret not in page.main.find_with_text("a", "Sign in")["href"]
    stranger.follow("Sign in")
    page = stranger.press("Sign in", username="mallory", password="demo")
    assert page.path == "/invitations/continue/"
    assert "no-store" in page.headers["Cache-Control"]
    # Not the secret: who reads the database could take the invitation by it.
    assert secret not in str(dict(stranger.client.session))
    page = stranger.press("Join Acme as member, as mallory")
    assert page.heading == "Acme"
    stranger.open("/invitations/continue/", 404)


def test_there_is_nothing_to_continue_for_who_opened_no_invitation(
    stranger: Browser, dana: Browser, link: str
) -> None:
    for browser in (stranger, dana):
        assert browser.open("/invitations/continue/", 404).heading == "Invitation"


def test_an_invitation_that_ends_while_somebody_signs_in_is_not_continued(
    stranger: Browser, link: str, mallory: User
) -> None:
    stranger.open(link)
    stranger.follow("Sign in")
    spoil(link, "withdrawn")
    page = stranger.press("Sign in", 404, username="mallory", password="demo")
    assert page.heading == "Invitation"


def test_somebody_with_an_address_says_whether_it_is_theirs(dana: Browser, link: str) -> None:
    User.objects.filter(username="dana").update(email="dana@example.org")
    page = dana.open(link)
    assert (
        "Anyone who reads mail sent there can set a new password for your account" in page.main.text
    )
    box = page.by_id("own-email")
    assert (box["type"], box.get("checked")) == ("checkbox", None)
    assert page.find(**{"for": "own-email"}).text == "dana@example.org is my e-mail address"
    page = dana.press("Join Acme as member, as dana", own_email="dana@example.org")
    assert page.banners == ["You are in Acme now, as member."]
    assert User.objects.get(username="dana").email == "dana@example.org"


def test_an_address_that_is_not_said_to_be_theirs_is_removed(dana: Browser, link: str) -> None:
    User.objects.filter(username="dana").update(email="planted@example.org")
    dana.open(link)
    page = dana.press("Join Acme as member, as dana")
    assert page.banners == [
        "You are in Acme now, as member. The address planted@example.org is removed from your "
        "account; add your own under your user name."
    ]
    assert User.objects.get(username="dana").email == ""


def test_who_has_no_address_is_asked_nothing(dana: Browser, link: str) -> None:
    assert dana.open(link).main.find_all("input", type="checkbox") == []


def test_whoever_has_no_account_makes_one(stranger: Browser, link: str) -> None:
    page = stranger.open(link)
    assert page.by_id("id_email")["value"] == "dana@example.org"
    assert page.find(name="username")["autocomplete"] == "username"
    for name in ("password", "repeated"):
        assert page.find(name=name)["type"] == "password"
        assert page.find(name=name)["autocomplete"] == "new-password"
    page = make_account(stranger)
    assert page.path == "/acme/"
    assert page.find(class_="who").text == "dana (member)"
    user = User.objects.get(username="dana")
    assert (user.email, user.is_staff, user.is_superuser) == ("dana@example.org", False, False)
    assert user.check_password(PASSWORD)
    stranger.press("Sign out")
    page = stranger.press("Sign in", username="dana", password=PASSWORD)
    assert page.heading == "Acme"


def test_the_session_key_changes_with_a_new_account(stranger: Browser, link: str) -> None:
    session = stranger.client.session
    session["seen"] = "before"
    session.save()
    stranger.client.cookies["taglock_session"] = str(session.session_key)
    stranger.open(link)
    make_account(stranger)
    assert stranger.client.cookies["taglock_session"].value != session.session_key


def test_nobody_makes_themselves_more_than_they_were_invited_as(
    stranger: Browser, link: str
) -> None:
    stranger.open(link)
    make_account(stranger, role="admin", is_staff="on", is_superuser="on", is_active="on")
    user = User.objects.get(username="dana")
    assert (user.is_staff, user.is_superuser) == (False, False)
    assert Membership.objects.get(user=user).role == "member"


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"username": ""}, "username", "Choose a user name."),
        ({"username": "Dana"}, "username", "A user name begins with a lower-case letter"),
        ({"username": "a\0b"}, "username", "A user name begins"),
        ({"username": "d" * 65}, "username", "at most 64 characters"),
        ({"username": "alice"}, "username", "This user name is already taken."),
        ({"password": ""}, "password", "Choose a password."),
        ({"password": "short", "repeated": "short"}, "password", "too short"),
        ({"password": "password1", "repeated": "password1"}, "password", "too common"),
        ({"username": "battery.horse", "password": "battery.horse"}, "password", "similar"),
        ({"password": "x" * 1025}, "password", "at most 1024 characters"),
        ({"repeated": ""}, "repeated", "Type the same password again."),
        ({"repeated": "something else"}, "repeated", "The passwords do not match."),
        ({"email": "dana"}, "email", "valid email"),
        ({"email": "d" * 255 + "@example.org"}, "email", "at most 254"),
        ({"email": "dana@example.org\0"}, "email", "valid email"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_what_will_not_do_is_said_beside_its_field(
    stranger: Browser, link: str, typed: dict[str, str], field: str, said: str
) -> None:
    if "password" in typed:
        typed = {"repeated": typed["password"], **typed}
    stranger.open(link)
    with nothing_written():
        page = make_account(stranger, 422, **typed)
    errors = read_errors(page)
    assert said in errors[f"id_{field}"]
    # What was typed is there, but for the passwords.
    expected = typed.get("username", "dana")
    assert (page.find(name="username").get("value") or "") == expected
    assert page.find(name="password").get("value") is None
    assert is_open(link)


def test_a_second_try_succeeds(stranger: Browser, link: str) -> None:
    stranger.open(link)
    make_account(stranger, 422, username="alice")
    assert make_account(stranger).heading == "Acme"


def test_surrogates_and_bytes_that_are_no_text_are_refused(link: str) -> None:
    with nothing_written():
        response = Client().post(
            link,
            b"username=%ED%A0%80a&password=%FF%FE&repeated=%FF%FE",
            content_type="application/x-www-form-urlencoded",
        )
    assert response.status_code == 422


def test_too_many_tries_learn_nothing_more_about_names(
    stranger: Browser, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = throttles.Limit("few", calls=2, seconds=3600, counted="attempts to make an account")
    monkeypatch.setattr(invitations, "ACCOUNTS_PER_ADDRESS", limit)
    stranger.open(link)
    for _ in range(2):
        make_account(stranger, 422, username="alice")
    for name in ("alice", "nobody"):
        page = make_account(stranger, 429, username=name)
        said = read_errors(page)["id_username"]
        assert said.startswith("User name: Too many attempts to make an account. Try again in")
        assert "already" not in page.main.text
        assert int(page.headers["Retry-After"]) > 0
    assert not User.objects.filter(username="nobody").exists()


# Someone who is in the workspace already.


@pytest.mark.parametrize("who", ["admin", "member", "auditor"])
def test_a_member_leaves_the_invitation_to_whom_it_is_for(
    request: pytest.FixtureRequest, link: str, who: str
) -> None:
    browser: Browser = request.getfixturevalue(who)
    page = browser.open(link)
    said = f"You are already in this workspace, as {who}."
    assert said in page.main.text
    assert page.main.find_all("button") == []
    name = page.find(class_="who").text
    with nothing_written():
        assert browser.client.post(link, {"join_as": name}).status_code == 409
    assert is_open(link)


def test_nobody_joins_as_somebody_that_the_page_did_not_name(
    dana: Browser, link: str, mallory: User
) -> None:
    dana.open(link)
    button = dana.page.find_with_text("button", "Join Acme as member, as dana")
    assert button["value"] == "dana"
    # Another window signed in as mallory in the meantime.
    dana.client.force_login(mallory)
    with nothing_written():
        for sent in ({"join_as": "dana"}, {}, {"username": "eve", "password": PASSWORD}):
            assert dana.client.post(link, sent).status_code == 409


def test_a_join_needs_the_forms_token(link: str, mallory: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(mallory)
    with nothing_written():
        assert client.post(link, {"join_as": "mallory"}).status_code == 403


# Invitations that are worth nothing.


def spoil(link: str, how: str) -> str:
    """Make the invitation worth nothing, and return its address."""
    acme = Workspace.objects.get(slug="acme")
    match how:
        case "unknown":
            return "/invitations/" + "x" * 43 + "/"
        case "odd":
            return "/invitations/%00%ED%A0%80%C3%A9/"
        case "expired":
            Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        case "withdrawn":
            withdraw_invitation(acme, Invitation.objects.get().id, actor=SYSTEM)
        case "used":
            Invitation.objects.all().delete()
        case "void":
            dana = User.objects.create_user("somebody")
            add_member(acme, dana, Role.ADMIN, actor=SYSTEM)
            Membership.objects.filter(user__username="alice").delete()
    return link


@pytest.mark.parametrize("how", ["unknown", "odd", "expired", "withdrawn", "used", "void"])
def test_what_is_worth_nothing_is_answered_alike(
    stranger: Browser, mallory: User, sign_in: Callable[[User], Client], link: str, how: str
) -> None:
    path = spoil(link, how)
    signed_in = Browser(sign_in(mallory))
    with nothing_written():
        for browser in (stranger, signed_in):
            page = browser.open(path, 404)
            assert page.heading == "Invitation"
            assert page.main.find_all("p")[0].text == (
                "This invitation is no longer valid. Ask for a new one."
            )
        answer = signed_in.client.post(path, {"join_as": "mallory"})
        assert answer.status_code == 404


@pytest.mark.parametrize("how", ["expired", "withdrawn", "used", "void"])
def test_an_invitation_that_ends_while_the_form_is_filled_in_makes_no_account(
    stranger: Browser, link: str, how: str
) -> None:
    stranger.open(link)
    spoil(link, how)
    with nothing_written():
        make_account(stranger, 404)
    assert not User.objects.filter(username="dana").exists()
