"""Signing in at the provider, as a browser sees it."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.conftest import sign_in_as
from tests.workspaces.single_sign_on.double import (
    CALLBACK,
    ISSUER,
    LOGOUT,
    START,
    ProviderDouble,
    logout_claims,
    sign,
)
from workspaces.access import SYSTEM
from workspaces.actions.people import deactivate_person, reactivate_person
from workspaces.models import Identity, LockEvent, SignOn, User, Workspace
from workspaces.single_sign_on.claims import Person
from workspaces.single_sign_on.people import begin_sign_on, link_identity, pause_account
from workspaces.throttles import LOGOUT_TOKENS_PER_ADDRESS, note_call

ACCOUNT = "/accounts/"

pytestmark = pytest.mark.django_db


def is_signed_in(browser: Client) -> bool:
    return browser.get(ACCOUNT).status_code == 200


def has_text(response: Any, text: str) -> bool:
    return text in response.content.decode()


def test_a_browser_is_sent_to_the_provider(provider_double: ProviderDouble) -> None:
    browser = Client()
    assert has_text(browser.get("/accounts/login/?next=/acme/"), "Sign in with Example ID")
    first, second = provider_double.go(browser), provider_double.go(browser)
    assert first["scope"] == "openid profile offline_access"
    assert first["response_type"] == "code"
    assert first["code_challenge_method"] == "S256"
    assert first["redirect_uri"].endswith(CALLBACK)
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 43
        assert first[name] != second[name]


def test_someone_new_gets_an_account_without_a_password(provider_double: ProviderDouble) -> None:
    browser = Client()
    back = provider_double.sign_in(browser, "/docs/")
    assert (back.status_code, back["Location"]) == (302, "/docs/")
    assert "no-store" in back["Cache-Control"]
    user = User.objects.get(username="dana")
    assert not user.has_usable_password()
    assert (user.identity.issuer, user.identity.subject) == (ISSUER, "id|dana")
    assert is_signed_in(browser)
    # The code was proved to come from this browser.
    assert len(provider_double.forms[0]["code_verifier"][0]) >= 43
    # What the provider gave is not in the database as it is.
    assert user.identity.refresh_token not in ("", "refresh")
    cookie = browser.cookies["taglock_session"]
    assert (cookie["samesite"], bool(cookie["httponly"])) == ("Lax", True)


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_no_one_is_sent_elsewhere(provider_double: ProviderDouble, wanted: str) -> None:
    assert provider_double.sign_in(Client(), wanted)["Location"] == "/"


def test_any_process_finishes_what_another_has_begun(provider_double: ProviderDouble) -> None:
    browser = Client()
    asked = provider_double.go(browser)
    provider_double.expect(asked["nonce"])
    provider_double.client._metadata, provider_double.client._keys = None, []
    assert browser.get(CALLBACK, {"code": "abc", "state": asked["state"]}).status_code == 302
    assert is_signed_in(browser)


def test_a_name_at_another_provider_takes_no_account_over(
    provider_double: ProviderDouble, bob: User
) -> None:
    link_identity(bob, "https://old.example.org", "id|bob", actor=SYSTEM)
    provider_double.says["preferred_username"] = "bob"
    assert provider_double.sign_in(Client()).status_code == 409


def test_the_same_person_comes_back_under_another_name(provider_double: ProviderDouble) -> None:
    provider_double.sign_in(Client())
    provider_double.says |= {"preferred_username": "alice", "email": "alice@example.org"}
    browser = Client()
    assert provider_double.sign_in(browser).status_code == 302
    assert User.objects.get().username == "dana"
    assert is_signed_in(browser)


def test_a_name_or_an_address_takes_no_account_over(
    provider_double: ProviderDouble, alice: User
) -> None:
    alice.email = "alice@example.org"
    alice.save()
    provider_double.says |= {
        "preferred_username": "Alice",
        "email": "alice@example.org",
        "email_verified": True,
    }
    browser = Client()
    refused = provider_double.sign_in(browser)
    assert refused.status_code == 409
    assert has_text(refused, "There is an account <strong>alice</strong> here already")
    assert not is_signed_in(browser)
    assert not Identity.objects.exists()


def test_two_people_of_one_name_at_the_provider_are_two(provider_double: ProviderDouble) -> None:
    provider_double.sign_in(Client())
    provider_double.says["sub"] = "id|another"
    provider_double.sign_in(Client())
    assert set(User.objects.values_list("username", "identity__subject")) == {
        ("dana", "id|dana"),
        ("dana-2", "id|another"),
    }


def test_an_answer_counts_once_and_in_its_browser(provider_double: ProviderDouble) -> None:
    browser = Client()
    asked = provider_double.go(browser)
    provider_double.expect(asked["nonce"])
    answer = {"code": "abc", "state": asked["state"]}
    assert Client().get(CALLBACK, answer).status_code == 400
    assert browser.get(CALLBACK, {"code": "abc", "state": "x\0"}).status_code == 400
    assert not provider_double.forms
    assert browser.get(CALLBACK, answer).status_code == 302
    browser.post("/accounts/logout/")
    assert browser.get(CALLBACK, answer).status_code == 400
    assert len(provider_double.forms) == 1


def test_an_answer_of_another_provider_or_request_is_refused(
    provider_double: ProviderDouble,
) -> None:
    browser = Client()
    assert provider_double.sign_in(browser, iss="https://evil.example").status_code == 400
    asked = provider_double.go(browser)
    provider_double.expect("another")
    refused = browser.get(CALLBACK, {"code": "abc", "state": asked["state"]})
    assert refused.status_code == 403
    assert has_text(refused, "cannot be used")
    provider_double.says["groups"] = 7
    assert provider_double.sign_in(browser).status_code == 403
    provider_double.says = {"sub": "id|dana"}
    provider_double.tells = {"sub": "id|alice"}
    assert provider_double.sign_in(browser).status_code == 403
    assert not User.objects.exists()


def test_a_provider_that_signs_no_one_in_is_quoted_plainly(
    provider_double: ProviderDouble,
) -> None:
    browser = Client()
    asked = provider_double.go(browser)
    refused = browser.get(CALLBACK, {"error": "<b>no\n", "state": asked["state"]})
    assert refused.status_code == 403
    assert has_text(refused, "&lt;b&gt;no\\n")


def test_a_provider_that_is_away_is_said(provider_double: ProviderDouble) -> None:
    browser = Client()
    asked = provider_double.go(browser)
    provider_double.is_away = True
    away = browser.get(CALLBACK, {"code": "abc", "state": asked["state"]})
    assert (away.status_code, away["Retry-After"]) == (503, "10")
    provider_double.client._metadata_until = 0
    assert browser.get(START).status_code == 503


def test_what_the_id_token_lacks_userinfo_says(provider_double: ProviderDouble) -> None:
    provider_double.sign_in(Client())
    assert "userinfo" not in provider_double.sent
    provider_double.says = {"sub": "id|eve"}
    provider_double.tells = {"sub": "id|eve", "preferred_username": "eve"}
    provider_double.sign_in(Client())
    assert User.objects.filter(username="eve").exists()


def test_an_account_that_was_switched_off_here_stays_so(provider_double: ProviderDouble) -> None:
    provider_double.sign_in(Client())
    User.objects.update(is_active=False)
    refused = provider_double.sign_in(Client())
    assert refused.status_code == 403
    assert has_text(refused, "deactivated")


def test_without_single_sign_on_its_addresses_are_not_there(client: Client, alice: User) -> None:
    for path in (START, CALLBACK):
        assert client.get(path).status_code == 404
    assert client.post(LOGOUT).status_code == 404
    assert not has_text(client.get("/accounts/login/"), "Sign in with")


# ---- the end of sessions ---------------------------------------------------------------------


def test_a_logout_token_ends_the_sessions_that_it_names(provider_double: ProviderDouble) -> None:
    first, unnamed, second, other = Client(), Client(), Client(), Client()
    provider_double.sign_in(first)
    del provider_double.says["sid"]
    provider_double.sign_in(unnamed)
    provider_double.says["sid"] = "another"
    provider_double.sign_in(second)
    provider_double.says["sub"] = "id|other"
    provider_double.sign_in(other)
    token = sign(logout_claims())
    done = Client(enforce_csrf_checks=True).post(LOGOUT, {"logout_token": token})
    assert (done.status_code, "no-store" in done["Cache-Control"]) == (200, True)
    # The provider never said which session the unnamed one is: it may be this one.
    browsers = (first, unnamed, second, other)
    assert [is_signed_in(each) for each in browsers] == [False, False, True, True]
    # Used once.
    again = Client().post(LOGOUT, {"logout_token": token})
    assert (again.status_code, again.json()["error"]) == (400, "invalid_request")
    # Without a session: all of the person's.
    claims = logout_claims(jti="twice")
    del claims["sid"]
    assert Client().post(LOGOUT, {"logout_token": sign(claims)}).status_code == 200
    assert [is_signed_in(each) for each in (second, other)] == [False, True]


def test_wrong_logout_tokens_are_refused_and_limited(provider_double: ProviderDouble) -> None:
    assert Client().get(LOGOUT).status_code == 405
    assert Client().post(LOGOUT).status_code == 400
    assert Client().post(LOGOUT, {"logout_token": "a.b.c"}).status_code == 400
    for _ in range(LOGOUT_TOKENS_PER_ADDRESS.calls):
        note_call(LOGOUT_TOKENS_PER_ADDRESS, "127.0.0.1")
    limited = Client().post(LOGOUT, {"logout_token": "a.b.c"})
    assert (limited.status_code, "Retry-After" in limited) == (429, True)
    provider_double.is_away = True


def test_a_session_ends_with_what_vouched_for_it(provider_double: ProviderDouble) -> None:
    browser = Client()
    provider_double.sign_in(browser)
    Identity.objects.update(vouched_until=timezone.now() - timedelta(seconds=1))
    assert not is_signed_in(browser)
    provider_double.sign_in(browser)
    SignOn.objects.update(created_at=timezone.now() - timedelta(days=15))
    assert not is_signed_in(browser)
    provider_double.sign_in(browser)
    session = browser.session
    session["sign_on"] = "odd"
    session.save()
    assert not is_signed_in(browser)


def test_signing_out_ends_the_sign_on(provider_double: ProviderDouble) -> None:
    browser = Client()
    provider_double.sign_in(browser)
    browser.post("/accounts/logout/")
    assert not SignOn.objects.exists()
    assert not is_signed_in(browser)


# ---- accounts that are here already ----------------------------------------------------------


def ask_to_link(provider_double: ProviderDouble, browser: Client) -> Any:
    asked = provider_double.go(browser, link="")
    provider_double.expect(asked["nonce"])
    return browser.get(CALLBACK, {"code": "abc", "state": asked["state"]})


def test_someone_links_their_account_with_its_password(
    provider_double: ProviderDouble, alice: User
) -> None:
    browser = sign_in_as(alice)
    link = "/accounts/single-sign-on/link/"
    # Not without an answer of the provider.
    assert browser.get(link)["Location"] == ACCOUNT
    assert ask_to_link(provider_double, browser)["Location"] == link
    assert has_text(browser.get(link), "that you are <strong")
    wrong = browser.post(link, {"current_password": "wrong"})
    assert (wrong.status_code, Identity.objects.count()) == (422, 0)
    assert browser.post(link, {"current_password": "demo"}).status_code == 302
    alice.refresh_from_db()
    assert (alice.identity.subject, alice.has_usable_password()) == ("id|dana", False)
    assert LockEvent.objects.filter(kind="sign_on.linked", workspace="acme").count() == 1
    assert not is_signed_in(browser)
    provider_double.sign_in(browser)
    assert has_text(browser.get(ACCOUNT), "alice")
    assert has_text(browser.get(ACCOUNT), "You have no password here")
    assert browser.post(ACCOUNT, {"password": "1"}).status_code == 403


def test_an_answer_to_link_counts_for_who_asked(
    provider_double: ProviderDouble, alice: User, bob: User
) -> None:
    assert Client().get(START, {"link": ""})["Location"] == "/accounts/login/"
    browser = sign_in_as(alice)
    asked = provider_double.go(browser, link="")
    provider_double.expect(asked["nonce"])
    browser.force_login(bob)
    session = browser.session
    # As after signing out and in as someone else in another tab, had the session been kept.
    session["sign_on_requests"] = {
        asked["state"]: {
            "nonce": asked["nonce"],
            "verifier": "v",
            "next_page": "/",
            "began_at": timezone.now().timestamp(),
            "linked_id": alice.pk,
        }
    }
    session.save()
    answer = browser.get(CALLBACK, {"code": "abc", "state": asked["state"]})
    assert answer.status_code == 403
    assert not Identity.objects.exists()


def test_an_operator_links_and_unlinks_an_account(
    provider_double: ProviderDouble, alice: User, bob: User
) -> None:
    call_command("link_single_sign_on", "alice", "id|dana")
    for arguments in (["alice", "id|x"], ["bob", "id|dana"], ["nobody", "id|y"], ["bob"]):
        with pytest.raises(CommandError):
            call_command("link_single_sign_on", *arguments)
    browser = Client()
    provider_double.sign_in(browser)
    assert has_text(browser.get(ACCOUNT), "alice")
    call_command("link_single_sign_on", "alice", remove=True)
    assert not is_signed_in(browser)
    kinds = LockEvent.objects.filter(kind__startswith="sign_on").values_list("kind", flat=True)
    assert list(kinds.order_by("id")) == ["sign_on.linked", "sign_on.unlinked"]


def test_no_admin_makes_a_password_link_for_someone_who_is_linked(
    provider_double: ProviderDouble, acme: Workspace, alice: User, bob: User
) -> None:
    link_identity(bob, ISSUER, "id|bob", actor=SYSTEM)
    membership = acme.memberships.get(user=bob)
    page = sign_in_as(alice).post(f"/acme/settings/members/{membership.id}/password-link/")
    assert has_text(page, "signs in at the identity provider")


def test_a_paused_account_is_resumed_by_signing_in(
    provider_double: ProviderDouble, acme: Workspace, bob: User
) -> None:
    identity = link_identity(bob, ISSUER, "id|dana", actor=SYSTEM)
    browser = Client()
    provider_double.sign_in(browser)
    identity.refresh_from_db()
    # An answer about a token that was replaced meanwhile is none.
    assert not pause_account(identity.pk, used="an older one")
    assert is_signed_in(browser)
    assert pause_account(identity.pk, used=identity.refresh_token)
    assert not is_signed_in(browser)
    bob.refresh_from_db()
    assert not bob.is_active
    provider_double.sign_in(browser)
    assert is_signed_in(browser)
    kinds = LockEvent.objects.filter(kind__startswith="account.").order_by("id")
    assert [each.kind for each in kinds] == ["account.paused", "account.resumed"]


def test_an_operator_ends_what_signing_in_would_resume(
    provider_double: ProviderDouble, bob: User
) -> None:
    identity = link_identity(bob, ISSUER, "id|dana", actor=SYSTEM)
    sam = User.objects.create_user("sam", is_superuser=True)
    provider_double.sign_in(Client())
    identity.refresh_from_db()
    pause_account(identity.pk, used=identity.refresh_token)
    people = sign_in_as(sam).get("/admin/people/")
    assert has_text(people, "Paused")
    assert has_text(people, f"/admin/people/{bob.pk}/deactivate/")
    assert deactivate_person(bob, actor=SYSTEM, even_last_admin=True)
    assert provider_double.sign_in(Client()).status_code == 403
    assert reactivate_person(bob, actor=SYSTEM)
    assert provider_double.sign_in(Client()).status_code == 302


def test_an_answer_without_a_refresh_token_counts_for_minutes(
    provider_double: ProviderDouble,
) -> None:
    provider_double.gives_refresh_token = False
    browser = Client()
    provider_double.sign_in(browser)
    assert is_signed_in(browser)
    minutes = (Identity.objects.get().vouched_until - timezone.now()) / timedelta(minutes=1)
    assert 14 < minutes <= 15.1


def test_many_people_of_one_name_are_told_apart() -> None:
    for number in range(3):
        begin_sign_on(ISSUER, Person(f"id|{number}", "dana", frozenset()), "")
    assert User.objects.filter(username__startswith="dana").count() == 3
