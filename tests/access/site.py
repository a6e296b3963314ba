"""What there is in the two workspaces, and how each caller asks for it."""

import base64
import json
import re
import time
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.test import Client, override_settings
from django.utils.http import urlsafe_base64_encode

from containers.models import Repository as KnownRepository
from containers.names import Digest, RepositoryName, TagName
from containers.tokens.grants import repository_access
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import read_token, sign_token
from immutability.gate import views
from immutability.models import LockedTag
from immutability.push.check import PushCheck, check_push
from immutability.push.plan import PushQuestion
from tests.access.matrix import API, BODIES, GATE, LIMITED, QUERIES
from tests.conftest import AA
from tests.immutability.registry_double import IMAGE_TYPE, RegistryDouble, image
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.invitations import invite
from workspaces.actions.passwords import LINK_TOKENS
from workspaces.log.checkpoints import make_checkpoint
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Registry, User, Workspace

IMAGE = image("fresh")


@dataclass(frozen=True)
class Things:
    """What an address can name in one workspace."""

    slug: str
    lock_id: int
    ref: str
    save_ref: str
    claim_id: str
    repository: str
    token_id: int
    membership_id: int
    invitation_id: int
    prefix_id: int
    workspace_id: int
    user_id: int
    registry_id: int
    row_id: int
    secret: str
    uidb64: str
    token: str

    def fill(self, address: str, **others: object) -> str:
        """Return the path of `address` with these things, some taken from `others`."""
        names = {
            "path": f"{self.slug}/api/manifests/locked",
            "repository": f"{self.slug}/api",
            "name": "rules",
            "tag": "locked",
            # One that is over: another workspace's is no other.
            "drift_id": 999_999,
            # No one's.
            "personal_token_id": 999_999,
            "export_id": UUID(int=0),
        }
        values = {**self.__dict__, **names, **others}
        path = re.sub(r"<\w+:(\w+)>", lambda found: str(values[found[1]]), address)
        return f"/{path}" + (f"?{urlencode(QUERIES[address])}" if address in QUERIES else "")


def _make_registry(name: str) -> Registry:
    return Registry.objects.create(
        name=name,
        url="http://127.0.0.1:1",
        host=f"{name}.example.org",
        accounts="tokens",
        service=f"taglock-{name}",
    )


def make_things(workspace: Workspace) -> Things:
    """Lock one tag, claim another, and have an event of a tag, a repository and a token.

    Of people: the last one who came, an invitation, and a password link.
    """

    def push(tag: str, *, is_two_phase: bool) -> Any:
        repository = RepositoryName(f"{workspace.slug}/api")
        push = PushQuestion(workspace, repository, (TagName(tag),), Digest(AA), is_check=True)
        check = PushCheck(push, is_two_phase=is_two_phase)
        return check_push(check, actor=SYSTEM, registry=None)

    push("locked", is_two_phase=False)
    claim_id = str(push("claimed", is_two_phase=True).claim.id)
    lock_id = LockedTag.objects.get(workspace=workspace, tag="locked").id
    ref = LockEvent.objects.get(workspace=workspace.slug, kind="tag.locked").ref
    name = f"{workspace.slug}/api"
    KnownRepository.objects.get_or_create(workspace=workspace, name=name)
    create_access_token(workspace, "thing", [Scope.PULL], actor=SYSTEM)
    token_id = AccessToken.objects.get(workspace=workspace, name="thing").id
    admin = workspace.memberships.get(role="admin").user
    secret = invite(workspace, "somebody", Role.MEMBER, inviter=admin, actor=SYSTEM)
    person = workspace.memberships.latest("id")
    make_checkpoint(workspace.slug)
    return Things(
        slug=workspace.slug,
        lock_id=lock_id,
        ref=ref,
        save_ref=LockEvent.objects.get(workspace=workspace.slug, kind="settings.changed").ref,
        claim_id=claim_id,
        repository=name,
        token_id=token_id,
        membership_id=person.id,
        invitation_id=workspace.invitations.get().id,
        prefix_id=workspace.prefixes.create(prefix=f"{workspace.slug}s").id,
        workspace_id=workspace.id,
        user_id=person.user_id,
        registry_id=_make_registry(workspace.slug).id,
        row_id=workspace.group_roles.create(group="staff", role="member").id,
        secret=secret,
        uidb64=urlsafe_base64_encode(str(person.user_id).encode()),
        token=LINK_TOKENS.make_token(person.user),
    )


@dataclass(frozen=True)
class Site:
    """Two workspaces with something in them, and everyone who may call."""

    acme: Things
    globex: Things
    clients: dict[str, Client]
    logins: dict[str, tuple[str, str]] = field(default_factory=dict)

    def call(self, caller: str, method: str, address: str, path: str) -> Any:
        """Make a request that is complete but for the caller's permission."""
        if address == GATE:
            return self.pass_gate(caller, method, path)
        body = BODIES.get((method, address), {})
        send: dict[str, Any] = {}
        if not address.startswith(API):
            send = {"data": body} if method == "POST" else {}
            return take(getattr(self.clients[caller], method.lower())(path, **send))
        if body:
            send = {"data": json.dumps(body), "content_type": "application/json"}
        headers = {"If-Match": "*"} if method == "PUT" else {}
        return take(getattr(self.clients[caller], method.lower())(path, headers=headers, **send))

    def pass_gate(self, caller: str, method: str, path: str) -> Any:
        """Push a new tag, or delete the locked one, with a token for more than the caller may."""
        double = RegistryDouble(manifests={AA: (IMAGE, IMAGE_TYPE)}, tags={"locked": AA})
        if method == "PUT":
            path = path.replace("/locked", "/fresh")
        headers = {}
        if caller in self.logins:
            # Who it is stands in the token that the service gives; what it grants is made more.
            identity = read_token(self.log_in(caller).json()["token"], token_keys()).caller
            access = [repository_access("acme/api", "pull", "push", "delete")]
            token = sign_token(token_keys().find_signing_key(), identity, access, int(time.time()))
            headers = {"Authorization": f"Bearer {token}"}
        with (
            override_settings(REGISTRY_URL="http://registry.internal:5000"),
            pytest.MonkeyPatch.context() as patched,
        ):
            patched.setattr(views, "connect", lambda _: double)
            return Client().generic(
                method,
                path,
                IMAGE if method == "PUT" else b"",
                content_type=IMAGE_TYPE,
                headers=headers,
            )

    def log_in(self, caller: str, *scopes: str) -> Any:
        """Ask the token service, as docker does."""
        headers = {}
        if caller in self.logins:
            encoded = base64.b64encode(":".join(self.logins[caller]).encode()).decode()
            headers = {"Authorization": f"Basic {encoded}"}
        return Client().get("/auth/token", {"scope": list(scopes)}, headers=headers)


def take(response: Any) -> Any:
    """Read a file to its end, as a client does."""
    if response.streaming:
        b"".join(response.streaming_content)
    return response


def client_of(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def make_secret(workspace: Workspace, *scopes: Scope) -> str:
    return create_access_token(workspace, "+".join(scopes), list(scopes), actor=SYSTEM)


def make_limited(workspace: Workspace, name: str) -> str:
    scope, globs = LIMITED[name]
    return create_access_token(workspace, name, [scope], actor=SYSTEM, repositories=globs)


def client_with(secret: str) -> Client:
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {secret}"})


def copy_of(client: Client) -> Client:
    copy = Client(raise_request_exception=False)
    copy.defaults = dict(client.defaults)
    copy.cookies = SimpleCookie(client.cookies.output(header="", sep=";"))
    return copy
