"""Sign in and sign out, as a browser does it: with the form's own token."""

import re
from urllib.parse import quote

import pytest
from django.test import Client

from tests.page import Browser, Page
from workspaces.models import User, Workspace
from workspaces.throttles import SIGN_IN_PER_NAME_AND_ADDRESS

SIGN_IN = "/accounts/login/"
WRONG = "The user name or the password is wrong."


@pytest.fixture
def browser(alice: User) -> Browser:
    """A browser in which nobody is signed in; forms need their token."""
    return Browser(Client(enforce_csrf_checks=True))


def is_signed_in(page: Page) -> bool:
    return bool(page.find_all(class_="who"))


def test_sign_in_leads_to_the_workspace(browser: Browser) -> None:
    browser.open(SIGN_IN)
    page = browser.press("Sign in", username="alice", password="demo")
    assert page.redirects == [("/", 302), ("/acme/", 302)]
    assert page.find(class_="who").text == "alice (admin)"


@pytest.mark.parametrize(
    ("username", "password"),
    [("alice", "wrong"), ("nobody", "demo"), ("alice", "demo "), ("ALICE", "demo"), ("alice", " ")],
)
def test_a_wrong_password_or_name_is_answered_alike(
    browser: Browser, username: str, password: str
) -> None:
    browser.open(SIGN_IN)
    page = browser.press("Sign in", username=username, password=password)
    assert page.title.startswith("Error: Sign in")
    summary = page.find(role="alert")
    assert summary.find("a").text == WRONG
    assert page.by_id(summary.find("a")["href"].removeprefix("#"))["name"] == "username"
    assert page.focused_id == ""
    assert not is_signed_in(page)


@pytest.mark.parametrize(
    ("username", "password"), [("", ""), ("   ", "demo"), ("alice", ""), ("a" * 65, "demo")]
)
def test_whoever_leaves_something_out_is_told_so_too(
    browser: Browser, username: str, password: str
) -> None:
    browser.open(SIGN_IN)
    page = browser.press("Sign in", username=username, password=password)
    assert page.title.startswith("Error: Sign in")
    assert page.find(role="alert").find_all("a")


@pytest.mark.parametrize("username", ["alice", "nobody"])
def test_after_too_many_failures_the_page_says_when_to_try_again(
    browser: Browser, username: str, within_one_window: None
) -> None:
    browser.open(SIGN_IN)
    for _ in range(SIGN_IN_PER_NAME_AND_ADDRESS.calls):
        page = browser.press("Sign in", username=username, password="wrong")
        assert page.find(role="alert").find("a").text == WRONG
    page = browser.press("Sign in", 429, username=username, password="demo")
    assert page.title.startswith("Error: Sign in")
    link = page.find(role="alert").find("a")
    assert re.fullmatch(
        r"Too many attempts to sign in\. Try again in \d+ (second|minute)s?\.", link.text
    )
    assert page.by_id(link["href"].removeprefix("#"))["name"] == "username"
    assert page.find(name="username")["value"] == username
    assert page.find(name="password").get("value") is None
    assert not is_signed_in(page)


def test_a_program_that_guesses_is_told_when_to_try_again(
    alice: User, within_one_window: None
) -> None:
    client = Client(REMOTE_ADDR="192.0.2.1")
    for _ in range(SIGN_IN_PER_NAME_AND_ADDRESS.calls):
        response = client.post(SIGN_IN, {"username": "alice", "password": "wrong"})
        assert response.status_code == 200
    response = client.post(SIGN_IN, {"username": "alice", "password": "demo"})
    assert response.status_code == 429
    assert 1 <= int(response["Retry-After"]) <= SIGN_IN_PER_NAME_AND_ADDRESS.seconds
    elsewhere = Client(REMOTE_ADDR="192.0.2.2")
    assert elsewhere.post(SIGN_IN, {"username": "alice", "password": "demo"}).status_code == 302


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ali\x00ce", "demo"),
        ("alice", "demo\x00"),
        ("alice", "\ufffd"),
        ("\u202ealice", "demo"),
        ("alice", "x" * 50_000),
        ("x" * 50_000, "demo"),
    ],
)
def test_an_odd_name_or_password_is_not_right(alice: User, username: str, password: str) -> None:
    response = Client().post(SIGN_IN, {"username": username, "password": password})
    assert response.status_code == 200
    assert WRONG in response.content.decode()


def test_after_an_error_the_name_is_still_there_and_the_password_is_not(browser: Browser) -> None:
    browser.open(SIGN_IN)
    page = browser.press("Sign in", username='al"<ice', password="very secret")
    assert page.find(name="username")["value"] == 'al"<ice'
    assert page.find(name="password").get("value") is None
    assert "very secret" not in page.raw_text


def test_a_second_try_succeeds(browser: Browser) -> None:
    browser.open(f"{SIGN_IN}?next=/acme/lock-log/")
    browser.press("Sign in", username="alice", password="wrong")
    page = browser.press("Sign in", password="demo")
    assert page.heading == "Lock log"


def test_sign_in_leads_back_to_the_page_that_asked_for_it(browser: Browser) -> None:
    page = browser.open("/acme/settings/packages/containers/?a=1&b=2")
    assert "Sign in to see that page." in page.main.text
    page = browser.press("Sign in", username="alice", password="demo")
    assert page.path == "/acme/settings/packages/containers/?a=1&b=2"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "\\\\evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "http:evil.example",
        " https://evil.example",
        "https://testserver@evil.example/",
    ],
)
def test_sign_in_leads_to_this_site_alone(browser: Browser, address: str) -> None:
    page = browser.open(f"{SIGN_IN}?next={quote(address)}")
    assert page.find(name="next")["value"] == ""
    page = browser.press("Sign in", username="alice", password="demo", next=address)
    assert page.redirects[0] == ("/", 302)
    assert page.heading == "Acme"


def test_the_session_key_changes_at_sign_in(browser: Browser, alice: User) -> None:
    browser.client.get(SIGN_IN)
    session = browser.client.session
    session["seen"] = "before"
    session.save()
    planted = browser.client.cookies["taglock_session"].value
    browser.open(SIGN_IN)
    browser.press("Sign in", username="alice", password="demo")
    assert browser.client.cookies["taglock_session"].value != planted
    assert browser.client.session["_auth_user_id"] == str(alice.pk)


def test_the_form_token_changes_at_sign_in(browser: Browser) -> None:
    browser.open(SIGN_IN)
    before = browser.client.cookies["taglock_csrf"].value
    browser.press("Sign in", username="alice", password="demo")
    assert browser.client.cookies["taglock_csrf"].value != before


def test_cookies_cannot_be_read_by_scripts(browser: Browser) -> None:
    browser.open(SIGN_IN)
    browser.press("Sign in", username="alice", password="demo")
    for name in ("taglock_session", "taglock_csrf"):
        cookie = browser.client.cookies[name]
        assert cookie["httponly"] is True
        assert cookie["samesite"] == "Lax"


def test_a_sign_in_without_the_forms_token_is_refused(browser: Browser) -> None:
    response = browser.client.post(SIGN_IN, {"username": "alice", "password": "demo"})
    assert response.status_code == 403


def test_whoever_is_signed_in_already_is_led_on(browser: Browser) -> None:
    browser.open(SIGN_IN)
    browser.press("Sign in", username="alice", password="demo")
    assert browser.open(SIGN_IN).heading == "Acme"


def test_somebody_whose_account_is_switched_off_cannot_sign_in(
    browser: Browser, alice: User
) -> None:
    alice.is_active = False
    alice.save()
    browser.open(SIGN_IN)
    page = browser.press("Sign in", username="alice", password="demo")
    assert page.find(role="alert").find("a").text == WRONG


def test_somebody_whose_account_is_switched_off_is_out_at_once(admin: Browser, alice: User) -> None:
    admin.open("/acme/")
    alice.is_active = False
    alice.save()
    assert admin.open("/acme/").heading == "Sign in"


def test_sign_out_ends_the_session(browser: Browser) -> None:
    browser.open(SIGN_IN)
    browser.press("Sign in", username="alice", password="demo")
    kept = browser.client.cookies["taglock_session"].value
    page = browser.press("Sign out")
    assert page.redirects == [(SIGN_IN, 302)]
    assert not is_signed_in(page)
    assert browser.open("/acme/").heading == "Sign in"
    thief = Client()
    thief.cookies["taglock_session"] = kept
    assert thief.get("/acme/").status_code == 302


def test_a_link_signs_nobody_out(admin: Browser) -> None:
    assert admin.client.get("/accounts/logout/").status_code == 405
    assert is_signed_in(admin.open("/acme/"))


def test_the_page_names_its_fields_for_password_managers(db: None, acme: Workspace) -> None:
    page = Browser(Client()).open(SIGN_IN)
    assert page.find(name="username")["autocomplete"] == "username"
    assert page.find(name="password")["autocomplete"] == "current-password"
    assert page.find(name="password")["type"] == "password"
    for name in ("username", "password"):
        assert page.find("label", for_=page.find(name=name)["id"]).text
