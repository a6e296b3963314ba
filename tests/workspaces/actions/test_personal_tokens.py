"""Personal access tokens: what people log in to the registry with."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from containers.tokens.clients import BadCredentialsError, log_in
from tests.conftest import sign_in_as
from workspaces.access import SYSTEM, Origin
from workspaces.actions.people import deactivate_person
from workspaces.actions.personal_tokens import MAX_PERSONAL_TOKENS, create_personal_token
from workspaces.models import LockEvent, PersonalToken, User

pytestmark = pytest.mark.django_db
PAGE = "/accounts/tokens/"


def can_log_in(username: str, secret: str) -> bool:
    try:
        return log_in(username, secret, Origin()).person_id != 0
    except BadCredentialsError:
        return False


def test_a_token_is_its_owners_password_at_the_registry(alice: User, bob: User) -> None:
    secret = create_personal_token(bob, "laptop", 30, actor=SYSTEM)
    assert log_in("bob", secret, Origin()).person_id == bob.pk
    assert not can_log_in("alice", secret)
    assert not can_log_in("bob", f"{secret}x")
    assert not can_log_in("bob", secret + "x" * 300)
    assert PersonalToken.objects.get().last_used_at is not None
    # It opens no page and no call of the API.
    assert (
        Client().post("/accounts/login/", {"username": "bob", "password": secret}).status_code
        == 200
    )
    api = Client(headers={"Authorization": f"Bearer {secret}"})
    assert api.get("/api/v1/workspaces/acme/locked-tags").status_code == 401
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert not can_log_in("bob", secret)


def test_a_token_ends(alice: User, bob: User) -> None:
    secret = create_personal_token(bob, "laptop", 30, actor=SYSTEM)
    PersonalToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert not can_log_in("bob", secret)
    # An expired one gives its name back.
    secret = create_personal_token(bob, "laptop", 30, actor=SYSTEM)
    assert can_log_in("bob", secret)
    deactivate_person(bob, actor=SYSTEM)
    assert not PersonalToken.objects.exists()


def test_tokens_are_few_and_have_names(bob: User) -> None:
    create_personal_token(bob, "Laptop", 30, actor=SYSTEM)
    for name in ("laptop", "", "a\0b"):
        with pytest.raises(ValidationError) as refused:
            create_personal_token(bob, name, 30, actor=SYSTEM)
        assert "name" in refused.value.message_dict
    for number in range(MAX_PERSONAL_TOKENS - 1):
        create_personal_token(bob, f"t{number}", 30, actor=SYSTEM)
    with pytest.raises(ValidationError, match="the maximum"):
        create_personal_token(bob, "one more", 30, actor=SYSTEM)


def test_people_create_and_revoke_their_own(alice: User, bob: User) -> None:
    browser = sign_in_as(bob)
    assert browser.post(PAGE, {"name": "", "days": "9"}).status_code == 422
    made = browser.post(PAGE, {"name": "laptop", "days": "30"})
    assert b"taglock_personal_" in made.content
    assert b"taglock_personal_" not in browser.get(PAGE).content
    assert browser.post(PAGE, {"name": "laptop", "days": "30"}).status_code == 422
    token = PersonalToken.objects.get()
    revoke = f"{PAGE}{token.id}/revoke/"
    assert sign_in_as(alice).post(revoke).status_code == 404
    assert browser.post(revoke).status_code == 302
    assert not PersonalToken.objects.exists()
    kinds = LockEvent.objects.filter(workspace="acme", kind__contains="personal").order_by("id")
    assert [each.kind for each in kinds] == ["token.personal_created", "token.personal_revoked"]
