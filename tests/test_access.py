"""Who may call what: every address of the site, every method, every kind of caller.

The addresses come from the URL configuration. One that has no line here fails, so that nobody adds
an address without deciding who may use it.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.db import transaction
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.http import urlsafe_base64_encode

from containers.models import Repository as KnownRepository
from containers.names import Digest, RepositoryName, TagName
from containers.prefixes import create_workspace
from containers.tokens.grants import repository_access
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import read_token, sign_token
from immutability.gate import views
from immutability.models import LockedTag
from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.push.check import PushCheck, check_push
from immutability.push.plan import PushQuestion
from tests.conftest import AA, BB, make_member, protect_workspace
from tests.immutability.registry_double import IMAGE_TYPE, RegistryDouble, image
from tests.problems import nothing_written, read_problem
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.invitations import invite
from workspaces.actions.passwords import LINK_TOKENS
from workspaces.log.checkpoints import make_checkpoint
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Registry, User, Workspace

Expected = dict[str, int]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
OF_SCOPES = [f"token {scope.value}" for scope in Scope]
# Tokens that are limited to repositories: to the one that everything here is about, or to others.
LIMITED = {
    "pull here": (Scope.PULL, ["a*"]),
    "push here": (Scope.PUSH, ["web", "api"]),
    "push elsewhere": (Scope.PUSH, ["web", "team/**", "api-*", "*/api"]),
    "push-only here": (Scope.PUSH_ONLY, ["**"]),
    "push-only elsewhere": (Scope.PUSH_ONLY, ["api-*"]),
    "registry here": (Scope.REGISTRY, ["api"]),
    "registry elsewhere": (Scope.REGISTRY, ["web"]),
}
TOKENS = [*OF_SCOPES, *LIMITED]
# Sam is a site administrator, and in no workspace: to each of them a stranger.
CALLERS = ["anonymous", "alice", "bob", "olga", "mallory", "sam", *TOKENS, "token of globex"]
API = "api/v1/"
GATE = "v2/<anything:path>"
IN_WORKSPACE = API + "workspaces/<str:slug>/"

ALICE, BOB, OLGA = "alice", "bob", "olga"
STRANGERS = ("mallory", "sam", "token of globex")
PULL, PUSH, PUSH_ONLY, REGISTRY, AUDIT, ADMIN = OF_SCOPES


def public(status: int = 200) -> Expected:
    """Everybody is answered the same."""
    return dict.fromkeys(CALLERS, status)


def api(*callers: str, status: int = 200) -> Expected:
    """Of the people and tokens of acme, these may; others are told so, strangers are not."""
    expected = dict.fromkeys(CALLERS, 403) | dict.fromkeys(callers, status)
    return expected | {"anonymous": 401} | dict.fromkeys(STRANGERS, 404)


def page(*callers: str, status: int = 200) -> Expected:
    """Of the people of acme, these may. An access token signs nobody in to a page."""
    sign_in = dict.fromkeys(["anonymous", *TOKENS, "token of globex"], 302)
    people = dict.fromkeys((ALICE, BOB, OLGA), 403) | dict.fromkeys(callers, status)
    return sign_in | people | {"mallory": 404, "sam": 404}


def site_admins_page(status: int = 200) -> Expected:
    """Site administrators may, and no one else."""
    return page() | {"mallory": 403, "sam": status}


EVERY_PERSON = (ALICE, BOB, OLGA)
VIEW_SETTINGS = api(*EVERY_PERSON, AUDIT, ADMIN)
VIEW_EVENTS = api(*EVERY_PERSON, AUDIT)
VIEW_TOKENS = api(ALICE, OLGA, ADMIN)
VIEW_ALL_EVENTS = api(ALICE, OLGA, AUDIT)
MANAGE = api(ALICE, ADMIN)
CHECK = api(REGISTRY, "registry here")
CLAIM = CHECK | {"registry elsewhere": 404}
PERSONS_PAGE = page(*EVERY_PERSON)
AT_THE_GATE = public(403) | {"anonymous": 401}
SIGNED_IN = dict.fromkeys((*EVERY_PERSON, "mallory", "sam"), 302)

# Of whoever is signed in.
OF_ONES_OWN = page(*EVERY_PERSON) | {"mallory": 200, "sam": 200}
NOT_THERE = page(*EVERY_PERSON, status=404) | {"mallory": 404, "sam": 404}

# Address, then method, then what each caller is answered. What is not here is not allowed: 405.
MATRIX: dict[str, dict[str, Expected]] = {
    # With tokens that grant more than their owners may do by now: the database decides.
    GATE: {
        "PUT": AT_THE_GATE
        | dict.fromkeys((ALICE, BOB, PUSH, PUSH_ONLY, "push here", "push-only here"), 201),
        "DELETE": AT_THE_GATE | dict.fromkeys((ALICE, ADMIN), 202),
    },
    # Names and passwords come by HTTP Basic: another header is a mistake.
    "auth/token": {
        "GET": public() | dict.fromkeys([*TOKENS, "token of globex"], 401),
        "POST": public(400),
    },
    "healthz": {"GET": public()},
    "readyz": {"GET": public()},
    "statusz": {"GET": site_admins_page()},
    "docs/": {"GET": public()},
    "docs/<slug:name>/": {"GET": public()},
    f"{API}schema": {"GET": public()},
    f"{API}docs": {"GET": public()},
    f"{API}check-push": {"POST": CHECK},
    f"{API}check-delete": {"POST": CHECK},
    # Of other workspaces it is heard, and nothing is done.
    f"{API}registry-events": {
        "POST": public(403)
        | {"anonymous": 401}
        | dict.fromkeys((REGISTRY, "registry here", "registry elsewhere", "token of globex"), 200)
    },
    f"{API}claims/<uuid:claim_id>/confirm": {"POST": CLAIM},
    f"{API}claims/<uuid:claim_id>/abandon": {"POST": CLAIM},
    f"{IN_WORKSPACE}container-settings": {"GET": VIEW_SETTINGS, "PUT": MANAGE},
    f"{IN_WORKSPACE}container-settings/test": {"POST": VIEW_SETTINGS},
    f"{IN_WORKSPACE}container-settings/preview": {"POST": MANAGE},
    f"{IN_WORKSPACE}locked-tags": {"GET": VIEW_SETTINGS},
    f"{IN_WORKSPACE}locked-tags/<int:lock_id>": {"GET": VIEW_SETTINGS, "DELETE": MANAGE},
    f"{IN_WORKSPACE}locked-tags/<int:lock_id>/release": {"POST": MANAGE},
    f"{IN_WORKSPACE}repositories": {"GET": VIEW_SETTINGS},
    f"{IN_WORKSPACE}repositories/<path:repository>/tags": {"GET": VIEW_SETTINGS},
    f"{IN_WORKSPACE}repositories/<path:repository>": {"GET": VIEW_SETTINGS, "PUT": MANAGE},
    f"{IN_WORKSPACE}access-tokens": {
        "GET": VIEW_TOKENS,
        "POST": api(ALICE, ADMIN, status=201),
    },
    f"{IN_WORKSPACE}access-tokens/<int:token_id>": {"GET": VIEW_TOKENS, "DELETE": MANAGE},
    f"{IN_WORKSPACE}lock-log": {"GET": VIEW_EVENTS},
    f"{IN_WORKSPACE}lock-log/checkpoint": {"GET": VIEW_ALL_EVENTS},
    f"{IN_WORKSPACE}lock-log/export": {"GET": VIEW_ALL_EVENTS},
    f"{IN_WORKSPACE}lock-log/<str:ref>": {"GET": VIEW_EVENTS},
    # Whoever is in one workspace alone is led straight to it.
    "": {"GET": public(302) | {"sam": 200}},
    "admin/workspaces/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    **{
        f"admin/workspaces/<int:workspace_id>/{what}/": {
            "GET": site_admins_page(),
            "POST": site_admins_page(302),
        }
        for what in ("archive", "unarchive", "hand-over")
    },
    "admin/people/": {"GET": site_admins_page()},
    **{
        f"admin/people/<int:user_id>/{what}/": {
            "GET": site_admins_page(),
            "POST": site_admins_page(302),
        }
        for what in ("deactivate", "reactivate")
    },
    "admin/registry/": {"GET": site_admins_page(), "POST": site_admins_page()},
    "admin/registry/add/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    "admin/registry/move/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    "admin/registry/<int:registry_id>/": {
        "GET": site_admins_page(),
        "POST": site_admins_page(302),
    },
    "admin/registry/<int:registry_id>/remove/": {
        "GET": site_admins_page(),
        "POST": site_admins_page(302),
    },
    "admin/prefixes/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    "admin/prefixes/<int:prefix_id>/remove/": {
        "GET": site_admins_page(),
        "POST": site_admins_page(302),
    },
    "admin/single-sign-on/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    "admin/single-sign-on/<int:row_id>/remove/": {
        "GET": site_admins_page(),
        "POST": site_admins_page(302),
    },
    # Whoever is signed in is led on before anything else is looked at.
    "accounts/login/": {
        "GET": public() | SIGNED_IN,
        "POST": public() | SIGNED_IN,
        "PUT": public() | SIGNED_IN,
        "PATCH": public(405) | SIGNED_IN,
        "DELETE": public(405) | SIGNED_IN,
    },
    "accounts/logout/": {"POST": public(302)},
    "accounts/": {"GET": page(*EVERY_PERSON) | {"mallory": 200, "sam": 200}, "POST": public(302)},
    "accounts/tokens/": {"GET": OF_ONES_OWN, "POST": OF_ONES_OWN},
    # Only one's own.
    "accounts/tokens/<int:personal_token_id>/revoke/": {"POST": NOT_THERE},
    # Without an identity provider there is nothing here.
    "accounts/single-sign-on/": {"GET": public(404)},
    "accounts/single-sign-on/callback/": {"GET": public(404)},
    "accounts/single-sign-on/link/": {"GET": NOT_THERE, "POST": NOT_THERE},
    "accounts/single-sign-on/logout/": {"POST": public(404)},
    # Only an operator makes one.
    "accounts/password/sign-in/<str:uidb64>/<str:token>/": {
        "GET": public(404),
        "POST": public(404),
    },
    # Without mail there is nothing to send.
    "accounts/forgot/": {"GET": public(), "POST": public()},
    # The token moves from the address into the session.
    "accounts/password/<str:uidb64>/<str:token>/": {"GET": public(302), "POST": public(302)},
    # Nobody of these opened one before signing in.
    "invitations/continue/": {"GET": public(404), "POST": public(404)},
    # Who is in the workspace already leaves it to others, and Sam is not the one who agreed.
    "invitations/<str:secret>/": {
        "GET": public(),
        "POST": public(302) | dict.fromkeys((*EVERY_PERSON, "sam"), 409),
    },
    "<str:slug>/": {"GET": PERSONS_PAGE},
    "<str:slug>/settings/": {"GET": PERSONS_PAGE},
    "<str:slug>/settings/access-tokens/": {"GET": page(ALICE, OLGA), "POST": page(ALICE)},
    "<str:slug>/settings/access-tokens/<int:token_id>/revoke/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/settings/members/": {"GET": PERSONS_PAGE, "POST": page(ALICE)},
    "<str:slug>/settings/members/<int:membership_id>/role/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/settings/members/<int:membership_id>/remove/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/settings/members/<int:membership_id>/password-link/": {
        "GET": page(ALICE),
        "POST": page(ALICE),
    },
    "<str:slug>/settings/members/invitations/<int:invitation_id>/withdraw/": {
        "POST": page(ALICE, status=302)
    },
    "<str:slug>/settings/packages/": {"GET": PERSONS_PAGE},
    "<str:slug>/settings/packages/containers/": {
        "GET": PERSONS_PAGE,
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/settings/packages/containers/test/": {"POST": page(ALICE)},
    "<str:slug>/settings/packages/containers/preview/": {"POST": page(ALICE)},
    "<str:slug>/settings/packages/containers/preview/list/": {"POST": page(ALICE)},
    "<str:slug>/lock-log/": {"GET": PERSONS_PAGE},
    "<str:slug>/lock-log/checkpoint/": {
        "GET": page(ALICE, OLGA),
        "POST": page(ALICE, OLGA, status=302),
    },
    "<str:slug>/lock-log/checkpoint/download/": {"GET": page(ALICE, OLGA)},
    # What moved while a change of settings was in force.
    "<str:slug>/lock-log/<str:save_ref>/moved/": {"GET": page(ALICE, OLGA)},
    "<str:slug>/lock-log/export/": {"GET": page(ALICE, OLGA)},
    "<str:slug>/lock-log/export/download/": {"GET": page(ALICE, OLGA)},
    "<str:slug>/lock-log/export/<uuid:export_id>/": {"GET": page(ALICE, OLGA)},
    "<str:slug>/lock-log/<str:ref>": {"GET": PERSONS_PAGE},
    "<str:slug>/repositories/": {"GET": PERSONS_PAGE},
    "<str:slug>/repositories/<path:repository>/-/visibility/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/repositories/<path:repository>/": {"GET": PERSONS_PAGE},
    "<str:slug>/repositories/<path:repository>:<str:tag>/": {"GET": PERSONS_PAGE},
    # The tag is locked: its own page asks.
    "<str:slug>/repositories/<path:repository>:<str:tag>/delete/": {
        "GET": page(ALICE, status=302),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/drift/": {"GET": PERSONS_PAGE},
    "<str:slug>/drift/compare/": {"POST": page(ALICE, status=302)},
    "<str:slug>/drift/<int:drift_id>/": {"POST": page(ALICE, status=302)},
    "<str:slug>/locked-tags/": {"GET": PERSONS_PAGE},
    # A selection is sent, and is in no address.
    "<str:slug>/locked-tags/change/": {"GET": page(ALICE, status=302), "POST": page(ALICE)},
    "<str:slug>/locked-tags/<int:lock_id>/delete/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/locked-tags/<int:lock_id>/release/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
}

REASON: dict[str, Any] = {"reason": "Because the matrix says so"}
NEW_PASSWORD = {"password": "correct horse battery", "repeated": "correct horse battery"}
# What makes a request that its caller may make succeed, so that the answer is about the caller.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", f"{API}check-push"): {"repository": "acme/api", "tag": "v9", "digest": AA},
    ("POST", f"{API}check-delete"): {"repository": "acme/api", "tag": "v9"},
    ("POST", f"{API}registry-events"): {"events": []},
    ("PUT", f"{IN_WORKSPACE}container-settings"): {"protection": "all"},
    ("POST", f"{IN_WORKSPACE}container-settings/test"): {"tags": ["v1"]},
    ("POST", f"{IN_WORKSPACE}container-settings/preview"): {"protection": "all"},
    ("DELETE", f"{IN_WORKSPACE}locked-tags/<int:lock_id>"): {"name": "reserve", **REASON},
    ("POST", f"{IN_WORKSPACE}locked-tags/<int:lock_id>/release"): REASON,
    # What a token gives, it has to have.
    ("POST", f"{IN_WORKSPACE}access-tokens"): {"name": "given", "scopes": ["admin"]},
    ("POST", "<str:slug>/settings/access-tokens/"): {
        "name": "given",
        "scopes": "push",
        "expiry": "never",
    },
    ("PUT", f"{IN_WORKSPACE}repositories/<path:repository>"): {"is_public": True},
    ("POST", "<str:slug>/repositories/<path:repository>/-/visibility/"): {"visibility": "public"},
    ("POST", "admin/workspaces/"): {"slug": "fresh", "name": "New", "username": "bob"},
    ("POST", "admin/workspaces/<int:workspace_id>/archive/"): REASON,
    ("POST", "admin/workspaces/<int:workspace_id>/unarchive/"): REASON,
    ("POST", "admin/workspaces/<int:workspace_id>/hand-over/"): {"username": "bob", **REASON},
    ("POST", "admin/people/<int:user_id>/deactivate/"): REASON,
    ("POST", "admin/people/<int:user_id>/reactivate/"): REASON,
    ("POST", "admin/registry/add/"): {
        "name": "zot",
        "url": "http://127.0.0.1:1",
        "host": "zot.example.org",
        "accounts": "tokens",
    },
    ("POST", "admin/registry/move/"): {"workspace": "globex"},
    ("POST", "admin/prefixes/"): {"name_prefix": "library", "workspace": "acme"},
    ("POST", "admin/single-sign-on/"): {"group": "eng", "role": "member", "workspace": "acme"},
    ("POST", "accounts/tokens/"): {"name": "laptop", "days": "30"},
    ("POST", "accounts/"): {"current_password": "demo", **NEW_PASSWORD},
    ("POST", "invitations/<str:secret>/"): {
        "join_as": "mallory",
        "username": "newcomer",
        **NEW_PASSWORD,
    },
    ("POST", "<str:slug>/settings/members/"): {"invitee": "dana", "role": "member"},
    ("POST", "<str:slug>/settings/members/<int:membership_id>/role/"): {"role": "member"},
    ("POST", "<str:slug>/settings/packages/containers/"): {"protection": "all", "version": "1"},
    ("POST", "<str:slug>/settings/packages/containers/test/"): {"sample_tags": "v1"},
    ("POST", "<str:slug>/repositories/<path:repository>:<str:tag>/delete/"): {
        "chosen": f"acme/api:locked mutable {AA}"
    },
    ("POST", "<str:slug>/locked-tags/change/"): {
        "action": "release",
        "tag": f"acme/api:locked locked {AA}",
        "confirmed": "yes",
        **REASON,
    },
    ("POST", "<str:slug>/locked-tags/<int:lock_id>/delete/"): {"name_after": "free", **REASON},
    ("POST", "<str:slug>/locked-tags/<int:lock_id>/release/"): REASON,
}
# What an address needs in its query to be answered at all.
QUERIES = {
    f"{IN_WORKSPACE}lock-log/export": {"format": "jsonl"},
    "<str:slug>/lock-log/export/download/": {"format": "csv"},
}


IMAGE = image("fresh")


def list_addresses(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[str]:
    """Yield every address that the site has, as the URL configuration writes it."""
    for entry in (resolver or get_resolver()).url_patterns:
        address = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield address
        else:
            yield from list_addresses(entry, address)


ADDRESSES = list(list_addresses())
WORKSPACE_ADDRESSES = [address for address in ADDRESSES if "<str:slug>" in address]


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
    """Read a file to its end, as whoever asks for one does."""
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


@pytest.fixture(scope="module")
def kept_site(kept_rows: None) -> Site:
    """What all tests here begin with; made once."""
    acme, globex = (
        create_workspace(slug, slug.title(), actor=SYSTEM) for slug in ("acme", "globex")
    )
    people = [
        make_member(acme, ALICE, Role.ADMIN),
        make_member(acme, BOB, Role.MEMBER),
        make_member(acme, OLGA, Role.AUDITOR),
        make_member(globex, "mallory", Role.ADMIN),
        User.objects.create_user("sam", password="demo", is_superuser=True),
    ]
    for workspace in (acme, globex):
        protect_workspace(workspace, Protection.ALL)
    clients = {"anonymous": Client(raise_request_exception=False)}
    clients |= {user.username: client_of(user) for user in people}
    logins = {user.username: (user.username, "demo") for user in people}
    logins |= {f"token {scope}": (f"acme+{scope}", make_secret(acme, scope)) for scope in Scope}
    logins |= {name: (f"acme+{name}", make_limited(acme, name)) for name in LIMITED}
    of_globex = ("globex+" + "+".join(Scope), make_secret(globex, *Scope))
    logins["token of globex"] = of_globex
    for caller in (*TOKENS, "token of globex"):
        clients[caller] = client_with(logins[caller][1])
    return Site(make_things(acme), make_things(globex), clients, logins)


@pytest.fixture
def site(changing_registries: None, kept_site: Site) -> Site:
    """Return it with clients that forget what this test makes them remember."""
    return replace(
        kept_site, clients={name: copy_of(each) for name, each in kept_site.clients.items()}
    )


@pytest.fixture
def acme(site: Site) -> Workspace:
    return Workspace.objects.get(slug="acme")


@pytest.fixture
def globex(site: Site) -> Workspace:
    return Workspace.objects.get(slug="globex")


@pytest.fixture
def alice(site: Site) -> User:
    return User.objects.get(username=ALICE)


def copy_of(client: Client) -> Client:
    copy = Client(raise_request_exception=False)
    copy.defaults = dict(client.defaults)
    copy.cookies = SimpleCookie(client.cookies.output(header="", sep=";"))
    return copy


def test_every_address_has_a_line_in_the_matrix() -> None:
    assert sorted(ADDRESSES) == sorted(MATRIX)


@pytest.mark.parametrize("address", ADDRESSES)
def test_each_caller_is_answered_as_the_matrix_says(site: Site, address: str) -> None:
    expected: dict[str, Expected] = {}
    answered: dict[str, Expected] = {}
    for method, by_caller in MATRIX[address].items():
        for each in (method, "HEAD") if method == "GET" else (method,):
            expected[each] = by_caller
            answered[each] = {}
            for caller in CALLERS:
                with transaction.atomic():
                    response = site.call(caller, each, address, site.acme.fill(address))
                    answered[each][caller] = response.status_code
                    # Nobody's request changes what the next one finds.
                    transaction.set_rollback(True)
    assert answered == expected


@pytest.mark.parametrize(
    ("caller", "actions"),
    [
        ("anonymous", set()),
        (ALICE, {"pull", "push", "delete"}),
        (BOB, {"pull", "push", "delete"}),
        (OLGA, {"pull"}),
        ("mallory", set()),
        ("sam", set()),
        (PULL, {"pull"}),
        (PUSH, {"pull", "push", "delete"}),
        (PUSH_ONLY, {"pull", "push"}),
        (REGISTRY, set()),
        (AUDIT, set()),
        (ADMIN, {"pull", "delete"}),
        ("pull here", {"pull"}),
        ("push here", {"pull", "push", "delete"}),
        ("push elsewhere", set()),
        ("push-only here", {"pull", "push"}),
        ("push-only elsewhere", set()),
        ("registry here", set()),
        ("token of globex", set()),
    ],
)
def test_the_token_service_grants_each_caller_what_they_may_do(
    site: Site, caller: str, actions: set[str]
) -> None:
    answer = site.log_in(caller, "repository:acme/api:pull,push,delete", "registry:catalog:*")
    access = read_token(answer.json()["token"], token_keys()).access
    assert {each.name: set(each.actions) for each in access} == (
        {"acme/api": actions} if actions else {}
    )


@pytest.mark.parametrize("address", ADDRESSES)
def test_other_methods_are_not_allowed_to_anybody(site: Site, address: str) -> None:
    allowed = {*MATRIX[address], *(["HEAD"] if "GET" in MATRIX[address] else [])}
    answered = {
        (method, caller): site.call(caller, method, address, site.acme.fill(address)).status_code
        for method in METHODS
        if method not in allowed
        for caller in ("anonymous", ALICE, "mallory", ADMIN, "token of globex")
    }
    # The API asks who is calling before it looks at the method.
    needs_caller = address.startswith(API) and address not in (f"{API}schema", f"{API}docs")
    assert answered == {
        key: 401 if needs_caller and key[1] == "anonymous" else 405 for key in answered
    }


OF_THE_API = [
    (address, method)
    for address in ADDRESSES
    if address.startswith(API) and address not in (f"{API}schema", f"{API}docs")
    for method in MATRIX[address]
]


def someone_who_may(address: str, method: str) -> str:
    return next(name for name, status in MATRIX[address][method].items() if status in (200, 201))


@pytest.mark.parametrize(("address", "method"), OF_THE_API)
def test_the_api_refuses_a_parameter_that_it_does_not_know(
    site: Site, address: str, method: str
) -> None:
    caller, path = someone_who_may(address, method), site.acme.fill(address)
    with nothing_written():
        for query in ("tga=v1", "dry_run=true", "from=abc", "tga=v1&tga=v2"):
            asked = f"{path}{'&' if '?' in path else '?'}{query}"
            problem = read_problem(site.call(caller, method, address, asked), 400, "invalid")
            pointers = [error["pointer"] for error in problem["errors"]]
            assert pointers == [f"#/{query.partition('=')[0]}"]
            assert problem["detail"].startswith("Unknown parameter. ")
        strangers = site.call("mallory", method, address, f"{path}?tga=v1")
        assert strangers.status_code == MATRIX[address][method]["mallory"] or address in ASKING


# Whose it is stands in the body, which is looked at afterwards.
ASKING = (f"{API}check-push", f"{API}check-delete")


@pytest.mark.parametrize(("address", "method"), OF_THE_API)
def test_the_api_refuses_a_parameter_that_is_given_twice(
    site: Site, address: str, method: str
) -> None:
    caller, path = someone_who_may(address, method), site.acme.fill(address)
    known = site.call(caller, method, address, f"{path}{'&' if '?' in path else '?'}tga=v1")
    _, _, names = known.json()["detail"].partition("Allowed parameters: ")
    for name in names.removesuffix(".").split(", ") if names else []:
        query = f"{name}=a&{name}=b"
        response = site.call(caller, method, address, f"{path.partition('?')[0]}?{query}")
        errors = read_problem(response, 400)["errors"]
        assert {
            "detail": "Must be given once.",
            "pointer": f"#/{name}",
            "code": "invalid",
        } in errors


FOREIGN = [
    (address, name)
    for address in ADDRESSES
    for name in (
        "lock_id",
        "ref",
        "save_ref",
        "claim_id",
        "repository",
        "token_id",
        "membership_id",
        "invitation_id",
    )
    if f":{name}>" in address
]


@pytest.mark.parametrize(("address", "name"), FOREIGN)
def test_the_ids_of_another_workspace_are_unknown(site: Site, address: str, name: str) -> None:
    foreign = getattr(site.globex, name)
    path = site.acme.fill(address, **{name: foreign})
    callers = (ALICE, REGISTRY, AUDIT, ADMIN) if address.startswith(API) else (ALICE,)
    with nothing_written():
        for method, by_caller in MATRIX[address].items():
            may = [caller for caller in callers if by_caller[caller] in (200, 302)]
            answered = {
                caller: site.call(caller, method, address, path).status_code for caller in may
            }
            assert may
            assert answered == dict.fromkeys(may, 404)


@pytest.mark.parametrize(("address", "name"), [each for each in FOREIGN if each[0].startswith(API)])
def test_another_workspaces_id_is_answered_like_one_that_never_was(
    site: Site, address: str, name: str
) -> None:
    foreign = getattr(site.globex, name)
    unknown = {
        "lock_id": 999_999,
        "ref": "0" * 12,
        "claim_id": str(UUID(int=0)),
        "repository": "globex/nowhere",
        "token_id": 999_999,
    }[name]
    method = next(iter(MATRIX[address]))
    caller = next(each for each in ("alice", REGISTRY) if MATRIX[address][method][each] == 200)
    answers = [
        site.call(caller, method, address, site.acme.fill(address, **{name: value}))
        for value in (foreign, unknown)
    ]
    first, second = (read_problem(answer, 404, "not_found") for answer in answers)
    assert str(first).replace(str(foreign), "?") == str(second).replace(str(unknown), "?")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("check-push", {"repository": "globex/api", "tag": "v1", "digest": AA}),
        ("check-push", {"repository": "globex/api", "tag": "v1", "dry_run": True}),
        ("check-delete", {"repository": "globex/api", "tag": "v1"}),
        ("check-delete", {"repository": "globex/api", "digest": AA}),
    ],
)
@pytest.mark.parametrize("caller", ["alice", *TOKENS])
def test_the_repositories_of_another_workspace_are_unknown(
    site: Site, path: str, body: dict[str, Any], caller: str
) -> None:
    with nothing_written():
        response = site.clients[caller].post(
            f"/api/v1/{path}", json.dumps(body), content_type="application/json"
        )
    read_problem(response, 404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        ("alice", 200),
        ("bob", 200),
        ("olga", 200),
        ("mallory", 404),
        (PULL, 403),
        (PUSH, 200),
        (PUSH_ONLY, 200),
        ("pull here", 403),
        ("push here", 200),
        ("push elsewhere", 403),
        ("registry here", 200),
        ("registry elsewhere", 403),
        (REGISTRY, 200),
        (AUDIT, 200),
        (ADMIN, 200),
        ("token of globex", 404),
    ],
)
def test_a_dry_run_is_for_everybody_in_the_workspace_who_may_push_or_read(
    site: Site, caller: str, status: int
) -> None:
    body = {"repository": "acme/api", "tag": "locked", "digest": BB, "dry_run": True}
    with nothing_written():
        response = site.clients[caller].post(
            "/api/v1/check-push", json.dumps(body), content_type="application/json"
        )
    assert response.status_code == status


@pytest.mark.parametrize("name", ["check-push", "check-delete"])
def test_a_limited_token_is_told_that_a_check_is_not_for_it(site: Site, name: str) -> None:
    body = BODIES["POST", f"{API}{name}"]
    with nothing_written():
        response = site.clients["registry elsewhere"].post(
            f"/api/v1/{name}", json.dumps(body), content_type="application/json"
        )
    problem = read_problem(response, 403, "forbidden")
    assert problem["detail"] == (
        "This access token is limited to other repositories than acme/api."
    )


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_limit_takes_all_that_is_not_about_one_repository(site: Site, address: str) -> None:
    """No token can be made with such scopes and a limit: if there is one, it still does nothing."""
    AccessToken.objects.filter(name__in=["audit", "admin"]).update(repositories=["web"])
    answered = {}
    expected = {}
    for method, by_caller in MATRIX[address].items():
        for caller in (AUDIT, ADMIN):
            with transaction.atomic():
                response = site.call(caller, method, address, site.acme.fill(address))
                answered[method, caller] = response.status_code
                transaction.set_rollback(True)
            is_let_in = by_caller[caller] < 300 and by_caller["token of globex"] >= 400
            expected[method, caller] = 403 if is_let_in else by_caller[caller]
    assert answered == expected


# What a browser sends along by itself must not be enough.


def list_writing_requests() -> list[tuple[str, str]]:
    return [
        (address, method)
        for address, by_method in MATRIX.items()
        for method, by_caller in by_method.items()
        if method in ("POST", "PUT", "DELETE")
        and address not in (GATE, "accounts/logout/", "auth/token")
        # A token proves that it comes from the provider.
        and address != "accounts/single-sign-on/logout/"
    ]


@pytest.mark.parametrize(("address", "method"), list_writing_requests())
def test_a_session_alone_writes_nothing(site: Site, alice: User, address: str, method: str) -> None:
    careful = Client(enforce_csrf_checks=True, raise_request_exception=False)
    careful.force_login(alice)
    with nothing_written():
        guarded = Site(site.acme, site.globex, {"alice": careful})
        response = guarded.call("alice", method, address, site.acme.fill(address))
    assert response.status_code == 403
    if address.startswith(API):
        assert "CSRF" in read_problem(response, 403)["detail"]


@pytest.mark.parametrize(
    ("method", "address"),
    [(method, address) for method, address in BODIES if address.startswith(IN_WORKSPACE)],
)
def test_a_session_with_the_csrf_token_writes(
    site: Site, alice: User, method: str, address: str
) -> None:
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(alice)
    careful.get("/accounts/login/")
    page = careful.get("/acme/settings/")
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
    assert found
    response = getattr(careful, method.lower())(
        site.acme.fill(address),
        data=json.dumps(BODIES[method, address]),
        content_type="application/json",
        headers={"X-CSRFToken": found[1], "If-Match": "*"},
    )
    assert response.status_code == MATRIX[address][method]["alice"]


def test_an_access_token_needs_no_csrf_token(site: Site, acme: Workspace) -> None:
    secret = create_access_token(acme, "pipeline", [Scope.REGISTRY], actor=SYSTEM)
    response = Client(enforce_csrf_checks=True).post(
        "/api/v1/check-push",
        json.dumps(BODIES["POST", f"{API}check-push"]),
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert response.status_code == 200


def test_somebody_who_left_the_workspace_is_a_stranger(site: Site, alice: User) -> None:
    alice.memberships.all().delete()
    answered = {
        (method, address): site.call("alice", method, address, site.acme.fill(address)).status_code
        for address in WORKSPACE_ADDRESSES
        for method in MATRIX[address]
    }
    assert answered == dict.fromkeys(answered, 404)


def test_a_deactivated_persons_session_is_over(site: Site, alice: User) -> None:
    alice.is_active = False
    alice.save()
    for address in WORKSPACE_ADDRESSES:
        for method in MATRIX[address]:
            response = site.call("alice", method, address, site.acme.fill(address))
            assert response.status_code == (401 if address.startswith(API) else 302)


@pytest.mark.parametrize("slug", ["nobody", "ACME", "acme.", "globe x", "%00", "%FF%FE", "a" * 300])
def test_a_workspace_that_is_not_there_is_unknown(site: Site, slug: str) -> None:
    answered = {
        (method, address): site.call(
            "alice", method, address, site.acme.fill(address, slug=slug)
        ).status_code
        for address in WORKSPACE_ADDRESSES
        for method in MATRIX[address]
    }
    assert answered == dict.fromkeys(answered, 404)


def test_a_rule_of_another_workspace_protects_nothing_here(
    site: Site, acme: Workspace, globex: Workspace, protect: Callable[..., Policy]
) -> None:
    protect(globex, Protection.SOME, PolicyRule("Ours", "^ours$"))
    protect(acme, Protection.NONE)
    body = {"repository": "acme/api", "tag": "ours", "digest": AA}
    response = site.clients[REGISTRY].post(
        "/api/v1/check-push", json.dumps(body), content_type="application/json"
    )
    assert response.json()["outcome"] == "unprotected"
