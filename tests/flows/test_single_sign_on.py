"""Single sign-on before a real identity provider: what it sends, and what becomes of it here."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone

from containers.tokens.clients import BadCredentialsError, log_in
from tests.services.identity_provider import (
    IdentityProvider,
    ProviderBrowser,
    running_identity_provider,
)
from tests.services.parts import wait_until
from workspaces.access import SYSTEM, Origin, Role
from workspaces.actions.personal_tokens import create_personal_token
from workspaces.models import Identity, User, Workspace
from workspaces.single_sign_on.checks import check_due_identities
from workspaces.single_sign_on.groups import save_group_role

pytestmark = [pytest.mark.django_db, pytest.mark.process]

PATH = "/accounts/single-sign-on/"


@pytest.fixture(scope="module")
def running_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    callback = f"{django_settings.PUBLIC_URL}{PATH}callback/"
    with running_identity_provider(tmp_path_factory.mktemp("provider"), callback) as running:
        yield running


@pytest.fixture
def provider(running_provider: IdentityProvider, settings: Any) -> IdentityProvider:
    settings.PROVIDER_SECRET = running_provider.settings
    return running_provider


class Visitor:
    """Someone with a browser that goes to the site and to the provider."""

    def __init__(self, subject: str) -> None:
        self.site, self.subject = Client(), subject
        self.provider = ProviderBrowser(f"{django_settings.PUBLIC_URL}{PATH}callback/")

    def sign_in(self) -> None:
        sent = self.site.get(PATH, {"next": "/docs/"})
        told = self.provider.sign_in(sent["Location"], self.subject)
        back = self.site.get(f"{PATH}callback/", told)
        assert (back.status_code, back["Location"]) == (302, "/docs/"), back.content

    def is_signed_in(self) -> bool:
        return self.site.get("/accounts/").status_code == 200


def let_checks_be_due() -> None:
    Identity.objects.update(next_check_at=timezone.now() - timedelta(seconds=1))


def test_people_come_with_their_groups_and_go_when_the_provider_forgets_them(
    provider: IdentityProvider, acme: Workspace, alice: User
) -> None:
    save_group_role("/eng", acme, Role.MEMBER, actor=SYSTEM)
    save_group_role("/leads", acme, Role.ADMIN, actor=SYSTEM)
    provider.set_person("f81d|dana", "/eng", "/other")
    dana = Visitor("f81d|dana")
    dana.sign_in()
    assert dana.is_signed_in()
    user = User.objects.get(username="dana")
    assert acme.memberships.get(user=user).role == "member"
    secret = create_personal_token(user, "laptop", 30, actor=SYSTEM)
    # The groups of now, twice: each check is given a new token for the next.
    for group, role in (("/leads", "admin"), ("/eng", "member")):
        provider.set_person("f81d|dana", group)
        let_checks_be_due()
        assert check_due_identities() == 1
        assert acme.memberships.get(user=user).role == role
    provider.forget_person("f81d|dana")
    let_checks_be_due()
    assert check_due_identities() == 1
    assert not dana.is_signed_in()
    with pytest.raises(BadCredentialsError):
        log_in("dana", secret, Origin())
    provider.set_person("f81d|dana", "/eng")
    dana.sign_in()
    assert dana.is_signed_in()
    assert log_in("dana", secret, Origin()).person_id == user.pk


def test_who_signs_out_there_is_signed_out_here(provider: IdentityProvider, db: None) -> None:
    provider.set_person("a|eve")
    first, second = Visitor("a|eve"), Visitor("a|eve")
    first.sign_in()
    second.sign_in()
    first.provider.sign_out(f"{provider.settings.issuer}/session/end")
    wait_until(lambda: bool(provider.logout_tokens))
    token = {"logout_token": provider.logout_tokens[-1]}
    assert second.site.post(f"{PATH}logout/", token).status_code == 200
    assert (first.is_signed_in(), second.is_signed_in()) == (False, True)
    assert first.site.post(f"{PATH}logout/", token).status_code == 400
