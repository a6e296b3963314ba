"""Whether the provider still vouches for people, asked in the background."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from containers.tokens.clients import BadCredentialsError, log_in
from packages_site.state import read_state
from packages_site.status import read_status
from tests.workspaces.single_sign_on.double import ProviderDouble
from workspaces.access import SYSTEM, Origin, Role
from workspaces.actions.personal_tokens import create_personal_token
from workspaces.models import Identity, LockEvent, SignOn, User, Workspace
from workspaces.single_sign_on import checks
from workspaces.single_sign_on.checks import check_due_identities
from workspaces.single_sign_on.groups import save_group_role
from workspaces.single_sign_on.people import AWAY_HOURS, encrypt_tokens_again, unlink_identity

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana(provider_double: ProviderDouble, acme: Workspace, alice: User) -> User:
    """A member of acme by their group, who waits for a check."""
    save_group_role("eng", acme, Role.MEMBER, actor=SYSTEM)
    provider_double.says["groups"] = ["eng"]
    provider_double.sign_in(Client())
    let_checks_be_due()
    return User.objects.get(username="dana")


def let_checks_be_due() -> None:
    Identity.objects.update(next_check_at=timezone.now() - timedelta(seconds=1))


def test_who_is_gone_is_out(provider_double: ProviderDouble, dana: User) -> None:
    secret = create_personal_token(dana, "laptop", 30, actor=SYSTEM)
    assert log_in("dana", secret, Origin()).person_id == dana.pk
    provider_double.refuses_refresh = "invalid_grant"
    assert check_due_identities() == 1
    dana.refresh_from_db()
    assert (dana.is_active, SignOn.objects.count()) == (False, 0)
    with pytest.raises(BadCredentialsError):
        log_in("dana", secret, Origin())
    assert LockEvent.objects.filter(kind="account.paused", workspace="acme").count() == 1
    # Until they sign in again, no one asks.
    let_checks_be_due()
    assert check_due_identities() == 0
    provider_double.sign_in(Client())
    assert log_in("dana", secret, Origin()).person_id == dana.pk


def test_who_is_gone_and_is_let_in_without_the_provider_has_no_tokens_from_before(
    provider_double: ProviderDouble, dana: User
) -> None:
    secret = create_personal_token(dana, "laptop", 30, actor=SYSTEM)
    provider_double.refuses_refresh = "invalid_grant"
    assert check_due_identities() == 1
    unlink_identity(dana, actor=SYSTEM)
    dana.refresh_from_db()
    assert dana.is_active
    with pytest.raises(BadCredentialsError):
        log_in("dana", secret, Origin())


@pytest.mark.parametrize("code", ["invalid_client", "temporarily_unavailable", None])
def test_a_provider_that_gives_no_answer_says_nothing_about_anyone(
    provider_double: ProviderDouble, dana: User, code: str | None
) -> None:
    provider_double.refuses_refresh, provider_double.is_away = code, code is None
    before = Identity.objects.get()
    assert check_due_identities() == 0
    after = Identity.objects.get()
    assert after.vouched_until == before.vouched_until
    # And is asked again in a while, by no one else meanwhile.
    assert after.next_check_at > timezone.now()
    dana.refresh_from_db()
    assert (dana.is_active, SignOn.objects.count()) == (True, 1)


def test_a_token_of_someone_who_was_not_vouched_for_in_a_day_is_refused(dana: User) -> None:
    secret = create_personal_token(dana, "laptop", 30, actor=SYSTEM)
    Identity.objects.update(vouched_until=timezone.now() - timedelta(seconds=1))
    with pytest.raises(BadCredentialsError):
        log_in("dana", secret, Origin())


def test_a_check_keeps_the_new_token_and_follows_the_groups(
    provider_double: ProviderDouble, acme: Workspace, dana: User
) -> None:
    before = Identity.objects.get()
    save_group_role("eng", acme, Role.AUDITOR, actor=SYSTEM)
    assert check_due_identities() == 1
    assert provider_double.forms[-1]["refresh_token"] == ["refresh"]
    after = Identity.objects.get()
    assert after.refresh_token != before.refresh_token
    assert after.vouched_until > before.vouched_until
    assert acme.memberships.get(user=dana).role == "auditor"
    assert check_due_identities() == 0


def test_an_answer_about_someone_else_counts_for_no_one(
    provider_double: ProviderDouble, acme: Workspace, dana: User
) -> None:
    provider_double.says |= {"sub": "id|eve", "groups": []}
    assert check_due_identities() == 0
    assert acme.memberships.filter(user=dana).exists()


def test_a_sign_in_during_a_check_counts_more(
    provider_double: ProviderDouble, dana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[[str], Any] = provider_double.client.refresh

    def refresh_late(refresh_token: str) -> Any:
        provider_double.refuses_refresh = None
        provider_double.sign_in(Client())
        provider_double.refuses_refresh = "invalid_grant"
        return original(refresh_token)

    monkeypatch.setattr(provider_double.client, "refresh", refresh_late)
    assert check_due_identities() == 1
    dana.refresh_from_db()
    assert dana.is_active


def test_what_another_key_has_encrypted_says_nothing_until_it_is_encrypted_again(
    dana: User, settings: Any
) -> None:
    old_key, settings.SECRET_KEY = settings.SECRET_KEY, "another" * 10
    assert check_due_identities() == 0
    dana.refresh_from_db()
    assert dana.is_active
    encrypt_tokens_again(old_key)
    let_checks_be_due()
    assert check_due_identities() == 1


def told() -> list[str]:
    return [each.what for each in read_status() if each.step == "Single sign-on"]


def test_those_who_watch_see_who_is_not_asked_about(dana: User, settings: Any) -> None:
    assert read_state().unvouched.count == 0
    assert told() == ["Everyone was checked lately."]
    an_hour_ago = timezone.now() + timedelta(hours=AWAY_HOURS - 1)
    Identity.objects.update(vouched_until=an_hour_ago)
    found = read_state().unvouched
    assert (found.count, round(found.seconds, -2)) == (1, 3600)
    assert told() == ["1 wait for a check, the first for 60 minutes."]
    settings.PROVIDER_SECRET = None
    assert read_state().unvouched.count == 0
    assert told() == []


def test_a_run_ends_in_time(dana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.RUN_SECONDS < 30
    assert check_due_identities(run_seconds=0) == 0
