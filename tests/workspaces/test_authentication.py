import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.problems import read_problem
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import TOKEN_PREFIX, create_access_token
from workspaces.models import AccessToken, LockEvent, User, Workspace

URL = "/api/v1/workspaces/acme/container-settings"


@pytest.fixture
def secret(acme: Workspace) -> str:
    return create_access_token(acme, "pipeline", [Scope.ADMIN], actor=SYSTEM)


def get(authorization: str | None) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    return Client(raise_request_exception=False).get(URL, headers=headers)


def assert_challenged(response: Any) -> None:
    read_problem(response, 401)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="taglock"'


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer  {} "])
def test_a_bearer_token_signs_a_program_in(secret: str, form: str) -> None:
    assert get(form.format(secret)).status_code == 200


def test_without_a_token_the_answer_is_a_challenge(acme: Workspace) -> None:
    assert_challenged(get(None))


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer " + TOKEN_PREFIX,
        "Bearer {secret}x",
        "Bearer {secret} {secret}",
        "Bearer, {secret}",
        "Basic {secret}",
        "Token {secret}",
        "{secret}",
        "Bearer\t{secret}",
        "Bearer é",
        "Bearer \xff\xfe",
        "Bearer a\0b",
        "Bearer " + "x" * 5000,
    ],
    ids=ascii,
)
def test_whatever_is_no_bearer_token_is_challenged(secret: str, authorization: str) -> None:
    assert_challenged(get(authorization.format(secret=secret)))


def test_a_token_by_another_spelling_is_unknown(secret: str) -> None:
    assert_challenged(get(f"Bearer {secret.swapcase()}"))


def test_a_revoked_token_is_refused(secret: str) -> None:
    AccessToken.objects.update(revoked_at=timezone.now())
    response = get(f"Bearer {secret}")
    assert_challenged(response)
    assert "not valid" in response.json()["detail"]


@pytest.mark.parametrize(
    ("seconds_left", "status"), [(60, 200), (0, 401), (-1, 401), (-86_400, 401)]
)
def test_a_token_works_until_it_expires(secret: str, seconds_left: int, status: int) -> None:
    AccessToken.objects.update(expires_at=timezone.now() + timedelta(seconds=seconds_left))
    response = get(f"Bearer {secret}")
    assert response.status_code == status
    if status == 401:
        assert_challenged(response)
        assert "expired" in response.json()["detail"]


def test_a_refused_token_notes_no_use(secret: str) -> None:
    AccessToken.objects.update(revoked_at=timezone.now())
    get(f"Bearer {secret}")
    assert AccessToken.objects.get().last_used_at is None


def test_the_first_use_is_noted(secret: str) -> None:
    before = timezone.now()
    get(f"Bearer {secret}")
    noted = AccessToken.objects.get().last_used_at
    assert noted is not None
    assert before <= noted <= timezone.now()


@pytest.mark.parametrize(("minutes_ago", "is_noted_anew"), [(0, False), (59, False), (61, True)])
def test_the_use_is_noted_once_an_hour_at_most(
    secret: str, *, minutes_ago: int, is_noted_anew: bool
) -> None:
    earlier = timezone.now() - timedelta(minutes=minutes_ago)
    AccessToken.objects.update(last_used_at=earlier)
    with CaptureQueriesContext(connection) as queries:
        get(f"Bearer {secret}")
    assert (AccessToken.objects.get().last_used_at != earlier) is is_noted_anew
    updates = [query for query in queries.captured_queries if query["sql"].startswith("UPDATE")]
    assert len(updates) == is_noted_anew


def test_the_secret_is_kept_nowhere(secret: str) -> None:
    assert secret.startswith(TOKEN_PREFIX)
    row = AccessToken.objects.values().get()
    assert row["token_hash"] == hashlib.sha256(secret.encode()).hexdigest()
    kept = str([row, *LockEvent.objects.values()])
    assert secret not in kept
    assert secret.removeprefix(TOKEN_PREFIX) not in kept


def test_two_tokens_are_never_the_same(acme: Workspace) -> None:
    secrets = {
        create_access_token(acme, f"token {number}", [Scope.PULL], actor=SYSTEM)
        for number in range(20)
    }
    assert len(secrets) == 20
    # 256 random bits take 43 characters of base64.
    assert {len(secret) for secret in secrets} == {len(TOKEN_PREFIX) + 43}


def test_a_bad_token_is_refused_even_from_somebody_who_is_signed_in(
    secret: str, alice: User, sign_in: Callable[[User], Client]
) -> None:
    client = sign_in(alice)
    assert client.get(URL).status_code == 200
    assert_challenged(client.get(URL, headers={"Authorization": "Bearer nonsense"}))


def test_a_token_goes_before_the_session(
    acme: Workspace, alice: User, sign_in: Callable[[User], Client]
) -> None:
    weak = create_access_token(acme, "weak", [Scope.PULL], actor=SYSTEM)
    response = sign_in(alice).get(URL, headers={"Authorization": f"Bearer {weak}"})
    read_problem(response, 403, "forbidden")


def test_a_scope_that_nobody_knows_gives_nothing(secret: str) -> None:
    AccessToken.objects.update(scopes=["everything", "Admin", ""])
    read_problem(get(f"Bearer {secret}"), 403, "forbidden")
