import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from immutability.policy.protection import Protection
from tests.conftest import is_postgresql
from tests.problems import read_problem
from workspaces.access import SYSTEM, Scope
from workspaces.access_tokens import find_access_token, find_valid_token
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


# Whatever is sent as a secret.


@pytest.mark.parametrize(
    "odd",
    ["", "\0", "a\0b", "é", "\u0101", "\udcff", "x" * 1024 * 1024, "taglock_" + "é" * 43],
    ids=lambda odd: ascii(odd[:12]),
)
def test_whatever_is_no_secret_finds_no_token(secret: str, odd: str) -> None:
    for presented in (odd, secret + odd, odd + secret):
        if presented != secret:
            assert find_access_token(presented) is None


@pytest.mark.parametrize("odd", ["é" * 43, "\xff\0", "\u0101", "x" * 19_000], ids=len)
def test_odd_and_huge_secrets_are_challenged(secret: str, odd: str) -> None:
    # As a server hands the header over: without Django's client, which sends nothing like this.
    client = Client(raise_request_exception=False)
    assert_challenged(client.get(URL, HTTP_AUTHORIZATION=f"Bearer {odd}"))


# What else looks for tokens: the registry's token service, and the gate.


def make_token(workspace: Workspace | None, *scopes: Scope) -> tuple[AccessToken, str]:
    secret = create_access_token(workspace, "it", scopes, actor=SYSTEM)
    return AccessToken.objects.get(name="it"), secret


def test_a_token_is_found_by_its_secret_or_its_id_with_its_workspace(acme: Workspace) -> None:
    token, secret = make_token(acme, Scope.PUSH)
    for found in (find_access_token(secret), find_valid_token(token.id)):
        assert found == token
        with CaptureQueriesContext(connection) as queries:
            assert found.workspace == acme
        assert not queries


def test_looking_by_id_notes_no_use(acme: Workspace) -> None:
    token, _ = make_token(acme, Scope.PUSH)
    find_valid_token(token.id)
    assert AccessToken.objects.get().last_used_at is None


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"revoked_at": timezone.now()},
        lambda: {"revoked_at": timezone.now() + timedelta(days=1)},
        lambda: {"expires_at": timezone.now()},
        lambda: {"expires_at": timezone.now() - timedelta(days=1)},
    ],
    ids=["revoked", "revoked by a clock ahead", "expires now", "expired"],
)
def test_what_is_not_valid_now_is_not_found(
    acme: Workspace, change: Callable[[], dict[str, Any]]
) -> None:
    token, secret = make_token(acme, Scope.PUSH)
    AccessToken.objects.update(**change())
    assert find_access_token(secret) is None
    assert find_valid_token(token.id) is None
    assert AccessToken.objects.get().last_used_at is None


@pytest.mark.parametrize("token_id", [0, -1, 999_999, 10**30])
@pytest.mark.django_db
def test_an_id_that_nothing_has_finds_nothing(token_id: int) -> None:
    assert find_valid_token(token_id) is None


@pytest.mark.parametrize("is_ahead", [True, False])
def test_the_databases_clock_says_whether_a_token_has_expired(
    secret: str, monkeypatch: pytest.MonkeyPatch, *, is_ahead: bool
) -> None:
    """A node whose own clock is a day ahead, or a day behind, judges like all others."""
    days = timedelta(days=1 if is_ahead else -1)
    AccessToken.objects.update(expires_at=timezone.now() + days / 2)
    off = timezone.now() + days
    monkeypatch.setattr("django.utils.timezone.now", lambda: off)
    assert (find_access_token(secret) is not None) is is_ahead


# Noting the use must not cost anyone a request.


def test_in_the_hot_path_one_query_finds_the_token(acme: Workspace) -> None:
    _, secret = make_token(acme, Scope.PUSH)
    find_access_token(secret)
    with CaptureQueriesContext(connection) as queries:
        assert find_access_token(secret) is not None
    assert len(queries) == 1


def test_where_the_use_cannot_be_noted_the_request_goes_on(
    secret: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_updates(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE"):
            # An error of the server's own, which spoils the transaction that it happens in.
            execute("SELECT * FROM no_such_table", None, *rest[1:])
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse_updates):
        assert get(f"Bearer {secret}").status_code == 200
    assert "was not noted" in caplog.text
    assert secret not in caplog.text
    assert AccessToken.objects.get().last_used_at is None


@pytest.mark.django_db(transaction=True)
def test_a_token_that_somebody_is_changing_is_not_waited_for(acme: Workspace) -> None:
    if not is_postgresql():
        # SQLite locks no single rows: a writer waits for all others, for milliseconds.
        return
    token, secret = make_token(acme, Scope.PUSH)

    def find() -> AccessToken | None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
        return find_access_token(secret)

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        AccessToken.objects.filter(id=token.id).update(name="held")
        found = pool.submit(with_own_connection, find).result(30)
    assert found == token
    assert AccessToken.objects.get().last_used_at is None


def with_own_connection(call: Callable[[], Any]) -> Any:
    """Run `call` in a thread whose connection goes away with it."""
    try:
        return call()
    finally:
        connection.close()


# A token for every workspace.


def ask(secret: str, repository: str) -> Any:
    body = {"repository": repository, "tag": "v1", "digest": "sha256:" + "a" * 64}
    return Client(raise_request_exception=False).post(
        "/api/v1/check-push",
        json.dumps(body),
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )


def test_a_token_for_every_workspace_asks_for_each_and_no_other(
    acme: Workspace, globex: Workspace, protect: Callable[..., Any]
) -> None:
    _, secret = make_token(None, Scope.REGISTRY)
    for workspace in (acme, globex):
        protect(workspace, Protection.ALL)
        response = ask(secret, f"{workspace.slug}/api")
        assert (response.status_code, response.json()["outcome"]) == (200, "locked_now")
        event = LockEvent.objects.get(workspace=workspace.slug, kind="tag.locked")
        assert (event.actor, event.actor_kind) == ("it", "token")
    read_problem(ask(secret, "nowhere/api"), 404, "NAME_UNKNOWN")
    AccessToken.objects.update(revoked_at=timezone.now())
    assert_challenged(ask(secret, "acme/api"))


@pytest.mark.parametrize(
    "what", ["container-settings", "locked-tags", "lock-log", "access-tokens", "repositories"]
)
def test_a_token_for_every_workspace_reads_nothing_in_any(
    acme: Workspace, globex: Workspace, what: str
) -> None:
    _, secret = make_token(None, Scope.REGISTRY)
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    for slug in ("acme", "globex"):
        read_problem(client.get(f"/api/v1/workspaces/{slug}/{what}"), 403, "forbidden")
    read_problem(client.get(f"/api/v1/workspaces/nowhere/{what}"), 404, "NAME_UNKNOWN")
