"""How actors are shown: a program is never taken for the person whose name it has."""

from collections.abc import Callable

import pytest
from django.test import Client
from rest_framework.test import APIClient

from immutability.actions.delete_tag import NameAfter, delete_locked_tag
from immutability.actions.hold import LockChange
from immutability.models import LockedTag
from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB
from workspaces.access import SYSTEM, Actor, ActorKind, Scope, describe_actor
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import AccessToken, User, Workspace

Protect = Callable[..., Policy]


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("dana", ActorKind.PERSON, "dana"),
        ("dana", ActorKind.TOKEN, 'token "dana"'),
        ("dana", ActorKind.REGISTRY, "dana via the registry"),
        ("taglock", ActorKind.SYSTEM, "Taglock"),
        ("taglock", ActorKind.PERSON, "taglock"),
        ("", ActorKind.SYSTEM, ""),
    ],
)
def test_everything_but_a_person_shows_its_kind(name: str, kind: ActorKind, shown: str) -> None:
    assert describe_actor(name, kind.value) == shown
    assert Actor(name, kind).shown_name == shown


@pytest.mark.parametrize("kind", ActorKind)
def test_an_actor_of_any_name_can_be_kept(kind: ActorKind) -> None:
    assert len(describe_actor("x" * 255, kind)) <= 255


@pytest.fixture
def namesake(acme: Workspace, alice: User, protect: Protect) -> APIClient:
    """An access token that is named like Alice, and may do everything."""
    protect(acme, Protection.SOME, PolicyRule("Versions", "^v"))
    secret = create_access_token(acme, "alice", list(Scope), actor=SYSTEM)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def check(client: APIClient, digest: str, **more: str) -> str:
    asked = {"repository": "acme/api", "tag": "v1", "digest": digest, **more}
    answer = client.post("/api/v1/check-push", asked, format="json").json()
    return str(answer["error"] and answer["error"]["body"]["errors"][0]["message"])


@pytest.mark.parametrize(
    ("named", "shown"), [({}, 'token "alice"'), ({"actor": "alice"}, "alice via the registry")]
)
def test_a_refusal_and_the_pages_tell_a_namesake_from_the_person(
    namesake: APIClient,
    alice: User,
    sign_in: Callable[[User], Client],
    named: dict[str, str],
    shown: str,
) -> None:
    check(namesake, AA, **named)
    message = check(namesake, BB, **named)
    assert f"(pushed by {shown})" in message
    ref = message.rpartition("/")[2]
    in_html = shown.replace('"', "&quot;")
    for page in ("locked-tags/", "lock-log/", f"lock-log/{ref}", "repositories/acme/api:v1/", ""):
        assert in_html in sign_in(alice).get(f"/acme/{page}").content.decode(), page


def test_who_deleted_a_tag_is_told_from_the_person(
    namesake: APIClient, acme: Workspace, alice: User, sign_in: Callable[[User], Client]
) -> None:
    check(namesake, AA)
    row = LockedTag.objects.get()
    token = AccessToken.objects.get(name="alice")
    actor = Actor("alice", ActorKind.TOKEN, token_id=token.id)
    delete_locked_tag(LockChange(acme, row.id, "why", actor), NameAfter.RESERVE, None)
    assert 'deleted by an admin (token "alice") on' in check(namesake, BB)
    page = sign_in(alice).get("/acme/locked-tags/").content.decode()
    assert "by token &quot;alice&quot;" in page


def test_who_saved_the_settings_is_told_from_the_person(
    namesake: APIClient, acme: Workspace
) -> None:
    response = namesake.put(
        "/api/v1/workspaces/acme/container-settings",
        {"protection": "all"},
        format="json",
        HTTP_IF_MATCH="*",
    )
    assert response.status_code == 200
    acme.container_settings.refresh_from_db()
    assert acme.container_settings.saved_by == 'token "alice"'
