"""Someone's own account, a forgotten password, and what a password link opens."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone

from tests.page import Browser, Page, read_errors
from tests.problems import nothing_written
from workspaces import throttles
from workspaces.access import SYSTEM, Actor, ActorKind, Role
from workspaces.actions.members import add_member, remove_member
from workspaces.actions.passwords import PasswordLinkTokens, make_password_link
from workspaces.log.models import LockEvent
from workspaces.mail import REQUEST_LIFE, mail_password_links, make_password_link_address
from workspaces.models import Membership, PasswordLinkRequest, User, Workspace
from workspaces.pages import account as account_page
from workspaces.tasks import mail_requested_links

ACCOUNT = "/accounts/"
FORGOT = "/accounts/forgot/"
SIGN_IN = "/accounts/login/"
SITE = "http://127.0.0.1:8000"
NEW = "correct horse battery"


@pytest.fixture
def stranger(db: None) -> Browser:
    """A browser in which nobody is signed in."""
    return Browser(Client(enforce_csrf_checks=True))


@pytest.fixture
def link(acme: Workspace, alice: User, bob: User) -> str:
    """The path of a password link of bob's, made by alice."""
    actor = Actor("alice", ActorKind.PERSON)
    number = Membership.objects.get(user=bob).id
    address = make_password_link_address(*make_password_link(acme, number, actor=actor))
    return address.removeprefix(SITE)


@pytest.fixture
def with_mail(settings: Any) -> None:
    """A site that sends mail."""
    settings.HAS_MAIL = True


def sign_in(browser: Browser, username: str, password: str) -> Page:
    browser.open(SIGN_IN)
    return browser.press("Sign in", username=username, password=password)


def set_password(browser: Browser, status: int = 200, **typed: str) -> Page:
    return browser.press("Set the password", status, **{"password": NEW, "repeated": NEW, **typed})


def change_password(browser: Browser, status: int = 200, **typed: str) -> Page:
    browser.open(ACCOUNT)
    sent = {"current_password": "demo", "password": NEW, "repeated": NEW, **typed}
    return browser.press("Change password", status, **sent)


def change_email(browser: Browser, email: str, password: str = "demo", status: int = 200) -> Page:  # noqa: S107
    browser.open(ACCOUNT)
    typed = {"email-email": email, "email-current_password": password}
    return browser.press("Change e-mail address", status, **typed)


def is_signed_in(browser: Browser) -> bool:
    return browser.open(ACCOUNT).heading == "Your account"


# The account page.


def test_the_account_shows_its_workspaces_and_roles(
    member: Browser, bob: User, globex: Workspace
) -> None:
    add_member(globex, bob, Role.AUDITOR, actor=SYSTEM)
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    page = member.open(ACCOUNT)
    assert page.facts == {"User name": "bob", "E-mail address": "bob@example.org"}
    assert [item.text for item in page.main.find("ul").find_all("li")] == [
        "Acme acme Member",
        "Globex globex Auditor",
    ]


def test_the_menu_under_the_user_name_leads_to_the_account(member: Browser) -> None:
    page = member.open("/acme/")
    menu = page.by_id(page.find(class_="who")["popovertarget"])
    assert menu.find_with_text("a", "Your account")["href"] == ACCOUNT


def test_somebody_in_no_workspace_has_an_account(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_user("carol"))
    page = Browser(client).open(ACCOUNT)
    assert "You are not in a workspace." in page.main.text


def test_who_is_not_signed_in_is_sent_to_sign_in(stranger: Browser) -> None:
    page = stranger.open(ACCOUNT)
    assert page.redirects == [(f"{SIGN_IN}?next={ACCOUNT}", 302)]


def test_a_new_password_ends_every_other_session(alice: User, bob: User) -> None:
    here, elsewhere = Browser(Client()), Browser(Client())
    for browser in (here, elsewhere):
        sign_in(browser, "bob", "demo")
    before = here.client.cookies["taglock_session"].value
    page = change_password(here)
    assert page.banners == ["Your password is changed. You are signed out everywhere else."]
    assert is_signed_in(here)
    assert here.client.cookies["taglock_session"].value != before
    assert not is_signed_in(elsewhere)
    assert sign_in(elsewhere, "bob", "demo").title.startswith("Error")
    assert sign_in(elsewhere, "bob", NEW).heading == "Acme"
    event = LockEvent.objects.get(kind="password.changed")
    assert (event.workspace, event.actor, event.details) == (
        "acme",
        "bob",
        {"member": "bob", "how": "by its owner"},
    )


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"current_password": ""}, "current_password", "Enter your current password."),
        ({"current_password": "wrong"}, "current_password", "This is not your current password."),
        ({"current_password": "demo "}, "current_password", "This is not your current password."),
        ({"current_password": "x" * 1025}, "current_password", "at most 1024"),
        ({"current_password": "de\0mo"}, "current_password", "Null characters"),
        ({"password": "short", "repeated": "short"}, "password", "too short"),
        ({"password": "x" * 1025, "repeated": "x" * 1025}, "password", "at most 1024"),
        ({"password": "a\0" * 8, "repeated": "a\0" * 8}, "password", "Null characters"),
        ({"repeated": "another one"}, "repeated", "The passwords do not match."),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_password_that_will_not_do_changes_nothing(
    member: Browser, typed: dict[str, str], field: str, said: str
) -> None:
    with nothing_written():
        page = change_password(member, 422, **typed)
    assert said in read_errors(page)[f"id_{field}"]
    for control in page.find_all("input", type="password"):
        assert control.get("value") is None
    assert is_signed_in(member)


def test_guessing_the_current_password_ends(member: Browser, bob: User) -> None:
    for _ in range(throttles.SIGN_IN_PER_NAME_AND_ADDRESS.calls):
        change_password(member, 422, current_password="wrong")
    page = change_password(member, 429)
    assert "Too many attempts" in read_errors(page)["id_current_password"]
    assert int(page.headers["Retry-After"]) > 0
    page = change_email(member, "bob@example.org", status=429)
    assert "Too many attempts" in read_errors(page)["id_email-current_password"]
    assert User.objects.get(pk=bob.pk).check_password("demo")


def test_an_address_is_changed_with_the_password_alone(member: Browser, bob: User) -> None:
    with nothing_written():
        page = change_email(member, "bob@example.org", "wrong", 422)
    assert read_errors(page) == {
        "id_email-current_password": "Current password: This is not your current password."
    }
    assert page.by_id("id_email-email")["value"] == "bob@example.org"
    page = change_email(member, "bob@example.org")
    assert page.banners == ["Your e-mail address is now bob@example.org."]
    assert User.objects.get(pk=bob.pk).email == "bob@example.org"
    assert LockEvent.objects.get(kind="email.changed").details == {"member": "bob"}
    assert is_signed_in(member)
    assert change_email(member, "").banners == ["You no longer have an e-mail address."]


@pytest.mark.parametrize("email", ["bob", "bob@", "a\0@example.org", f"{'b' * 255}@example.org"])
def test_an_address_that_will_not_do_changes_nothing(member: Browser, email: str) -> None:
    with nothing_written():
        page = change_email(member, email, status=422)
    assert "id_email-email" in read_errors(page)


def test_a_form_of_neither_kind_changes_nothing(member: Browser) -> None:
    with nothing_written():
        assert member.client.post(ACCOUNT, {}).status_code == 422


def test_a_removed_members_session_finds_nothing_and_the_account_stays(
    acme: Workspace, alice: User, member: Browser, bob: User
) -> None:
    member.open("/acme/")
    remove_member(acme, Membership.objects.get(user=bob).id, actor=SYSTEM)
    for path in ("/acme/", "/acme/settings/members/", "/acme/lock-log/"):
        member.open(path, 404)
    assert is_signed_in(member)


# What a password link opens.


def test_a_link_sets_a_new_password_and_ends_every_session(
    stranger: Browser, member: Browser, link: str
) -> None:
    page = stranger.open(link)
    # The token is not in the address of the page that has the form.
    assert link.split("/")[4] not in page.path
    assert "For the account bob." in page.main.text
    page = set_password(stranger)
    assert page.banners == ["Your password is changed. Sign in with the new one."]
    assert page.heading == "Sign in"
    assert not is_signed_in(member)
    assert sign_in(stranger, "bob", NEW).heading == "Acme"
    event = LockEvent.objects.get(kind="password.changed")
    assert (event.actor, event.details) == ("bob", {"member": "bob", "how": "by a password link"})


def test_looking_at_a_link_uses_nothing_up(stranger: Browser, link: str) -> None:
    with nothing_written():
        for _ in range(3):
            assert stranger.open(link).heading == "New password"
            Browser(Client()).open(link)


def test_a_weak_password_leaves_the_link(stranger: Browser, link: str) -> None:
    stranger.open(link)
    with nothing_written():
        page = set_password(stranger, 422, password="short", repeated="short")
    assert "too short" in read_errors(page)["id_password"]
    set_password(stranger)


def refuse(browser: Browser, link: str) -> None:
    with nothing_written():
        page = browser.open(link, 404)
    assert page.heading == "Password link"
    assert "This link is no longer valid. Ask for a new one." in page.main.text
    assert page.main.find_all("form") == []


def test_a_link_works_once(stranger: Browser, link: str) -> None:
    stranger.open(link)
    other = Browser(Client())
    other.open(link)
    set_password(stranger)
    refuse(Browser(Client()), link)
    # Who had the form open already comes too late as well.
    with nothing_written():
        page = set_password(other, 404, password="another password", repeated="another password")
    assert page.heading == "Password link"


def test_a_link_is_good_for_one_day(
    stranger: Browser, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.open(link)
    tomorrow = datetime.now() + timedelta(hours=25)  # noqa: DTZ005  (as the generator does)
    monkeypatch.setattr(PasswordLinkTokens, "_now", lambda _: tomorrow)
    refuse(Browser(Client()), link)
    with nothing_written():
        set_password(stranger, 404)


def test_a_link_is_void_once_somebody_joined_another_workspace(
    stranger: Browser, link: str, bob: User, globex: Workspace
) -> None:
    stranger.open(link)
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    refuse(Browser(Client()), link)
    with nothing_written():
        set_password(stranger, 404)


@pytest.mark.parametrize(
    "path",
    [
        "MQ/x-y/",
        "!/x-y/",
        "%00/x-y/",
        "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5/x-y/",
        "MQ/set-password/",
        "MQ/%C3%A9-%00/",
        "LTE/x-y/",
        "4paI/x-y/",
        "MQ/" + "x" * 3000 + "/",
    ],
)
def test_what_is_no_link_is_refused(stranger: Browser, bob: User, path: str) -> None:
    refuse(stranger, f"/accounts/password/{path}")


def test_a_link_of_one_person_is_none_of_another(
    stranger: Browser, link: str, alice: User, mallory: User
) -> None:
    theirs = make_password_link_address(mallory, link.split("/")[4]).removeprefix(SITE)
    refuse(stranger, theirs)
    # Nor does the token in the session, of the one, open the form of the other.
    stranger.open(link)
    refuse(stranger, "/".join([*theirs.split("/")[:4], "set-password", ""]))


# A forgotten password.


def test_without_mail_the_page_says_whom_to_ask(stranger: Browser) -> None:
    stranger.open(SIGN_IN)
    page = stranger.follow("Forgot your password?")
    assert page.path == FORGOT
    assert "Ask an admin of your workspace" in page.main.text
    assert page.main.find_all("form") == []


@pytest.fixture
def bob_with_address(bob: User) -> User:
    User.objects.filter(pk=bob.pk).update(email="Bob@example.org")
    return bob


def forget(browser: Browser, email: str, status: int = 200) -> Page:
    """Ask for a link; then the worker comes by."""
    browser.open(FORGOT)
    page = browser.press("Mail me a link", status, email=email)
    mail_requested_links()
    return page


@pytest.mark.usefixtures("with_mail", "bob_with_address")
def test_a_link_is_mailed_to_the_accounts_own_address(
    stranger: Browser, mailoutbox: list[mail.EmailMessage]
) -> None:
    page = forget(stranger, "bob@EXAMPLE.org")
    assert page.banners == [
        "If this is the address of an account, a mail is on its way. Its link is good for one day."
    ]
    [sent] = mailoutbox
    # As it stands in the account, and not as it was typed.
    assert sent.to == ["Bob@example.org"]
    assert "account bob in Taglock" in str(sent.body)
    link = next(line for line in str(sent.body).splitlines() if "/accounts/" in line)
    stranger.open(link.removeprefix(SITE))
    set_password(stranger)
    assert sign_in(stranger, "bob", NEW).heading == "Acme"
    event = LockEvent.objects.get(kind="password.link_made")
    assert (event.actor_kind, event.details) == (
        "system",
        {"member": "bob", "how": "for a mail to their own address"},
    )


@pytest.mark.usefixtures("with_mail", "bob_with_address")
@pytest.mark.parametrize("address", ["nobody@example.org", "bob@example.orğ"])
def test_the_answer_is_the_same_for_an_address_that_nobody_has(
    stranger: Browser, mailoutbox: list[mail.EmailMessage], address: str
) -> None:
    known = forget(stranger, "bob@example.org")
    assert len(mailoutbox) == 1
    with nothing_written():
        unknown = forget(Browser(Client()), address)
    assert len(mailoutbox) == 1
    assert known.main.text == unknown.main.text
    assert known.redirects == unknown.redirects


@pytest.mark.usefixtures("with_mail")
@pytest.mark.parametrize("state", ["switched off", "without a password"])
def test_nothing_is_mailed_to_who_could_not_sign_in(
    stranger: Browser, bob_with_address: User, mailoutbox: list[mail.EmailMessage], state: str
) -> None:
    if state == "switched off":
        User.objects.update(is_active=False)
    else:
        bob_with_address.set_unusable_password()
        bob_with_address.save(update_fields=["password"])
    with nothing_written():
        forget(stranger, "bob@example.org")
    assert mailoutbox == []


@pytest.mark.usefixtures("with_mail")
def test_accounts_without_an_address_are_nobodys(
    stranger: Browser, bob: User, mailoutbox: list[mail.EmailMessage]
) -> None:
    with nothing_written():
        forget(stranger, "", 422)
        mail_password_links("", actor=SYSTEM)
    assert mailoutbox == []


@pytest.mark.usefixtures("with_mail", "bob_with_address")
def test_links_are_mailed_so_often_and_no_more(
    stranger: Browser, mailoutbox: list[mail.EmailMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = throttles.Limit("few", calls=2, seconds=3600, counted="password links")
    monkeypatch.setattr(account_page, "PASSWORD_LINKS_PER_ADDRESS", limit)
    forget(stranger, "bob@example.org")
    forget(stranger, "nobody@example.org")
    for address in ("bob@example.org", "nobody@example.org"):
        page = forget(stranger, address, 429)
        assert "Too many password links. Try again in" in read_errors(page)["id_email"]
    assert len(mailoutbox) == 1


@pytest.mark.usefixtures("with_mail", "bob_with_address", "within_one_window")
def test_nobodys_mailbox_is_flooded_and_nobody_is_told(
    mailoutbox: list[mail.EmailMessage],
) -> None:
    said = set()
    for number in range(6):
        typed = "bob@example.org" if number % 2 else "BOB@example.org"
        browser = Browser(Client(REMOTE_ADDR=f"192.0.2.{number}"))
        said.add(forget(browser, typed).main.text)
    said.add(forget(Browser(Client()), "nobody@example.org").main.text)
    assert len(said) == 1
    assert len(mailoutbox) == throttles.PASSWORD_LINKS_PER_EMAIL.calls == 3


@pytest.mark.parametrize("email", ["", "bob", "bob@\0example.org", f"{'b' * 255}@example.org"])
def test_what_is_no_address_is_refused(stranger: Browser, with_mail: None, email: str) -> None:
    assert "id_email" in read_errors(forget(stranger, email, 422))


@pytest.mark.usefixtures("with_mail", "bob_with_address")
def test_a_request_waits_for_the_worker_and_is_answered_once(
    stranger: Browser, mailoutbox: list[mail.EmailMessage]
) -> None:
    stranger.open(FORGOT)
    stranger.press("Mail me a link", email="bob@example.org")
    assert mailoutbox == []
    for _ in range(2):
        mail_requested_links()
    assert len(mailoutbox) == 1
    assert not PasswordLinkRequest.objects.exists()


@pytest.mark.usefixtures("with_mail", "bob_with_address")
def test_a_request_that_another_worker_has_taken_is_left_to_it(
    stranger: Browser, mailoutbox: list[mail.EmailMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.open(FORGOT)
    stranger.press("Mail me a link", email="bob@example.org")
    taken = PasswordLinkRequest.objects.get()
    taken.delete()
    looks = iter([taken, None])
    monkeypatch.setattr(QuerySet, "first", lambda _: next(looks))
    mail_requested_links()
    assert mailoutbox == []


@pytest.mark.usefixtures("with_mail", "bob_with_address")
def test_a_request_that_has_waited_too_long_is_thrown_away(
    stranger: Browser, mailoutbox: list[mail.EmailMessage]
) -> None:
    stranger.open(FORGOT)
    stranger.press("Mail me a link", email="bob@example.org")
    PasswordLinkRequest.objects.update(created_at=timezone.now() - REQUEST_LIFE)
    mail_requested_links()
    assert mailoutbox == []
    assert not PasswordLinkRequest.objects.exists()


@pytest.mark.usefixtures("with_mail", "bob_with_address")
def test_a_mail_server_that_is_away_fails_nobody(
    stranger: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(mail.EmailMessage, "send", fail)
    assert forget(stranger, "bob@example.org").heading == "Sign in"


def test_a_session_key_of_before_is_worth_nothing_after_sign_in(
    stranger: Browser, bob: User, sign_in: Callable[[User], Client]
) -> None:
    session = stranger.client.session
    session["planted"] = True
    session.save()
    planted = str(session.session_key)
    stranger.client.cookies["taglock_session"] = planted
    stranger.open(SIGN_IN)
    stranger.press("Sign in", username="bob", password="demo")
    thief = Client()
    thief.cookies["taglock_session"] = planted
    assert thief.get(ACCOUNT).status_code == 302
