"""A site that keeps no passwords, and the ways in that are left."""

import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from containers.tokens.clients import BadCredentialsError, log_in
from tests.conftest import sign_in_as
from tests.workspaces.single_sign_on.double import ProviderDouble
from workspaces.access import SYSTEM, Origin, Role
from workspaces.actions import sign_in_links
from workspaces.actions.invitations import invite
from workspaces.actions.passwords import LINK_TOKENS
from workspaces.mail import make_password_link_address
from workspaces.models import Membership, User, Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def no_passwords(provider_double: ProviderDouble, settings: Any) -> ProviderDouble:
    settings.LOCAL_PASSWORDS = False
    return provider_double


def path_of(address: str) -> str:
    return address.removeprefix(django_settings.PUBLIC_URL)


def make_link(username: str) -> str:
    out = StringIO()
    call_command("make_sign_in_link", username, stdout=out)
    return path_of(out.getvalue().strip())


def test_no_password_is_accepted(no_passwords: ProviderDouble, alice: User) -> None:
    browser = Client()
    page = browser.get("/accounts/login/").content.decode()
    assert "Sign in with Example ID" in page
    assert 'type="password"' not in page
    sent = browser.post("/accounts/login/", {"username": "alice", "password": "demo"})
    assert sent.status_code == 403
    with pytest.raises(BadCredentialsError, match="Use a personal access token"):
        log_in("alice", "demo", Origin())
    assert browser.get("/accounts/forgot/").status_code == 404
    link = path_of(make_password_link_address(alice, LINK_TOKENS.make_token(alice)))
    assert browser.get(link).status_code == 404
    # A session that began with a password is over.
    assert sign_in_as(alice).get("/accounts/").status_code == 302


def test_an_invitation_is_taken_by_signing_in(
    no_passwords: ProviderDouble, acme: Workspace, alice: User
) -> None:
    secret = invite(acme, "dana", Role.MEMBER, inviter=alice, actor=SYSTEM)
    browser = Client()
    page = browser.get(f"/invitations/{secret}/").content.decode()
    assert "Make an account" not in page
    assert browser.post(f"/invitations/{secret}/", {"username": "x"}).status_code == 403
    back = no_passwords.sign_in(browser, "/invitations/continue/")
    assert back["Location"] == "/invitations/continue/"
    assert browser.post(back["Location"], {"join_as": "dana"}).status_code == 302
    assert Membership.objects.filter(workspace=acme, user__username="dana").exists()


def test_an_operator_lets_a_site_administrator_in(
    no_passwords: ProviderDouble, alice: User, bob: User
) -> None:
    for username in ("bob", "nobody"):
        with pytest.raises(CommandError):
            make_link(username)
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    link, browser = make_link("alice"), Client()
    assert "Sign in as alice" in browser.get(link).content.decode()
    assert browser.post(link).status_code == 302
    assert browser.get("/accounts/").status_code == 200
    # Once.
    assert Client().post(link).status_code == 404
    assert Client().get(link).status_code == 404


def test_such_a_link_ends_by_itself_and_is_no_other(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    link = make_link("alice")
    uid, token = re.findall(r"[^/]+", link)[-2:]
    assert Client().get(f"/accounts/password/{uid}/{token}/").status_code == 404
    other = LINK_TOKENS.make_token(User.objects.get(pk=alice.pk))
    assert Client().get(link.replace(token, other)).status_code == 404
    assert Client().get(link.replace(uid, "x")).status_code == 404
    later = timezone.now().replace(tzinfo=None) + timedelta(minutes=11)
    monkeypatch.setattr(sign_in_links.SIGN_IN_TOKENS, "_now", lambda: later)
    assert Client().get(link).status_code == 404
