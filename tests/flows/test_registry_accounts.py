"""Taglock before registries that keep accounts, know Taglock alone, or let everyone in."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from rest_framework.test import APIClient

from containers.connection import connect
from containers.models import Tag as TagRecord
from containers.names import RepositoryName, TagName
from containers.registries import first_connection
from immutability.models import LockedTag
from immutability.policy.protection import PolicyRule, Protection
from packages_site.demo_images import make_demo_images
from tests.conftest import make_api_client, protect_workspace, skip_or_fail
from tests.flows.asking import (
    IMMUTABLE,
    RESERVED,
    UNDELETABLE,
    digest_of_layout,
    skopeo_login,
    skopeo_pull,
)
from tests.flows.clients import Clients, Crane, Helm, ImageClient, Oras, Regctl, Skopeo, make_chart
from tests.services.front import running_edge, standing_before
from tests.services.registries import (
    PASSWORD,
    PULLER,
    PUSHER,
    STRANGER,
    AnyRegistry,
    has_docker_registry,
    running_registry,
)
from tests.services.registry_user import (
    INDEX_TYPE,
    Repository,
    digest_of,
    make_index,
    send,
)
from workspaces.access import Scope
from workspaces.log.models import LockEvent
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]

# The kind of registry, and who keeps the accounts.
SCENES = [
    ("htpasswd", "registry"),
    ("token", "registry"),
    ("private", "registry"),
    ("htpasswd", "taglock"),
    ("open", "taglock"),
]
# What no answer to someone without access may tell.
TELLING = ("sha256:", "immutable", "lock-log", "Versions", "reserved", "pushed by", "claim")


@dataclass(frozen=True)
class Scene:
    """An edge before a registry; the gate is this process."""

    port: int
    kind: str
    accounts: str
    registry: AnyRegistry
    # Of a repository of the test's own.
    name: str = ""

    @property
    def pusher(self) -> str:
        return PUSHER if self.accounts == "registry" else "bob"

    @property
    def puller(self) -> str:
        """Someone who may pull, and nothing else; a file of passwords has no such one."""
        return "olga" if self.accounts == "taglock" else PULLER

    @property
    def outsiders(self) -> list[tuple[str, str]]:
        """Those who may do nothing here: names and passwords."""
        strangers = {"taglock": "mallory", "registry": STRANGER if self.kind == "token" else ""}
        name = strangers[self.accounts]
        return [("", ""), (self.pusher, "wrong")] + ([(name, PASSWORD)] if name else [])

    @property
    def actor(self) -> str:
        """How the pusher is shown."""
        return PUSHER + " (registry account)" if self.accounts == "registry" else "bob"

    def as_(self, name: str, password: str = PASSWORD) -> Repository:
        """Return the repository as someone sees it who logs in as clients do."""
        account: Any = Login(self.port, name, password)
        return Repository(self.port, self.name, account)

    def find(self, tag: str) -> str | None:
        """Return what the registry has under a tag, as Taglock sees it."""
        registry = connect(first_connection())
        assert registry is not None
        found = registry.head_manifest(RepositoryName(self.name), TagName(tag))
        return str(found.digest) if found else None


@dataclass(frozen=True)
class Login:
    """Answers the challenge of `GET /v2/`, whatever it is."""

    port: int
    name: str
    password: str

    def header(self, repository: str) -> str:
        challenge = send(self.port, "GET", "/v2/").headers["www-authenticate"]
        basic = base64.b64encode(f"{self.name}:{self.password}".encode()).decode()
        if challenge.lower().startswith("basic"):
            return f"Authorization: Basic {basic}\r\n" if self.name else ""
        found = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        scope = f"repository:{repository}:pull,push,delete"
        query = urlencode({"service": found["service"], "scope": scope})
        headers = {"Authorization": f"Basic {basic}"} if self.name else {}
        try:
            with urlopen(Request(f"{found['realm']}?{query}", headers=headers)) as answer:
                return f"Authorization: Bearer {json.loads(answer.read())['token']}\r\n"
        except OSError:
            return f"Authorization: Basic {basic}\r\n"


@pytest.fixture(scope="module", params=SCENES, ids=["-".join(each) for each in SCENES])
def running(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    live_server: Any,
    built: dict[str, str],
) -> Iterator[Scene]:
    """A registry and an edge. One of the registries is crane's, which has to be built first."""
    if not has_docker_registry():
        skip_or_fail("Debian's docker-registry and nginx")
    kind, accounts = request.param
    folder = tmp_path_factory.mktemp(f"{kind}-{accounts}")
    with (
        running_registry(kind, folder / "registry") as registry,
        running_edge(folder, registry, live_server.url, accounts) as port,
    ):
        yield Scene(port, kind, accounts, registry)


def before(*scenes: tuple[str, str]) -> pytest.MarkDecorator:
    """Run a test in these scenes alone."""
    ids = ["-".join(each) for each in scenes]
    return pytest.mark.parametrize("running", scenes, ids=ids, indirect=True, scope="module")


@pytest.fixture
def scene(
    running: Scene,
    request: pytest.FixtureRequest,
    settings: Any,
    acme: Workspace,
    globex: Workspace,
    alice: User,
    bob: User,
    olga: User,
    mallory: User,
) -> Iterator[Scene]:
    """Acme before it, where every tag that begins with v is protected."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    with standing_before(running.registry, settings, accounts=running.accounts, port=running.port):
        protect_workspace(
            acme, Protection.SOME, PolicyRule("Versions", "^v"), PolicyRule("Charts", r"^\d+\.\d")
        )
        yield replace(running, name=f"acme/r{name}")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two images, as OCI layouts."""
    one, two = make_demo_images(tmp_path_factory.mktemp("images"))
    return one, two


@pytest.mark.parametrize("kind", [Skopeo, Crane])
def test_a_client_pushes_again_and_is_refused(
    scene: Scene,
    built: dict[str, str],
    images: tuple[Path, Path],
    kind: type[ImageClient],
    tmp_path: Path,
    acme: Workspace,
) -> None:
    client, (one, two) = Clients(scene.port, built).make(kind), images
    tag = f"v-{kind.__name__}"
    assert client.log_in(scene.pusher).returncode == 0
    for image in (one, one):
        done = client.push(image, f"{scene.name}:{tag}")
        assert done.returncode == 0, done.stderr
    refused = client.push(two, f"{scene.name}:{tag}")
    assert refused.returncode != 0
    assert IMMUTABLE in refused.stderr
    assert f"(pushed by {scene.actor})" in refused.stderr
    for image in (one, two):
        assert client.push(image, f"{scene.name}:latest").returncode == 0
    assert (scene.find(tag), scene.find("latest")) == (digest_of_layout(one), digest_of_layout(two))
    assert LockedTag.objects.get().state == "locked"
    kept = client.delete(scene.name, tag, digest_of_layout(one))
    assert kept.returncode != 0
    assert client.told_of_delete in kept.stderr
    assert skopeo_login(scene.port, scene.pusher).returncode == 0
    assert skopeo_pull(scene.port, f"{scene.name}:{tag}", tmp_path / "pulled").returncode == 0
    assert digest_of_layout(tmp_path / "pulled") == digest_of_layout(one)


def test_a_wrong_password_logs_no_one_in(scene: Scene) -> None:
    assert skopeo_login(scene.port, scene.pusher).returncode == 0
    assert skopeo_login(scene.port, scene.pusher, "wrong").returncode != 0


def test_an_admin_deletes_and_the_name_stays_reserved(
    scene: Scene, images: tuple[Path, Path], acme: Workspace
) -> None:
    pat = scene.as_(scene.pusher)
    one, two = pat.make_image("one"), pat.make_image("two")
    assert pat.put("v1", one).status == 201
    _delete_as_admin(make_api_client(acme, Scope.ADMIN))
    assert scene.find("v1") is None
    refused = pat.put("v1", two)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert RESERVED in refused.error["message"]
    # A delete by digest may have taken the manifest, whose layers are there still.
    assert pat.put("v1", one).status == 201
    assert LockedTag.objects.get().state == "locked"


def _delete_as_admin(admin: APIClient) -> None:
    lock = LockedTag.objects.get()
    address = f"/api/v1/workspaces/acme/locked-tags/{lock.pk}?name=reserve&reason=mistake"
    answer = admin.delete(address)
    assert answer.status_code == 200, answer.content


def test_an_index_is_pushed_and_keeps_what_it_lists(scene: Scene) -> None:
    pat = scene.as_(scene.pusher)
    one, two = pat.make_image("one"), pat.make_image("two")
    for each in (one, two):
        assert pat.put(digest_of(each), each).status == 201
    assert pat.put("v1", make_index(one, two), INDEX_TYPE).status == 201
    refused = pat.put("v1", make_index(two, one), INDEX_TYPE)
    assert IMMUTABLE in refused.error["message"]
    kept = pat.delete(f"manifests/{digest_of(one)}")
    assert (kept.status, kept.code) == (403, "DENIED")
    assert scene.find("v1") == digest_of(make_index(one, two))


def test_a_member_deletes_what_no_lock_holds(scene: Scene) -> None:
    pat = scene.as_(scene.pusher)
    one = pat.make_image("one")
    assert pat.put("latest", one).status == 201
    # Debian's registry deletes no tags, and crane's leaves the tags of what is deleted by digest.
    target = "latest" if scene.kind == "open" else digest_of(one)
    assert pat.delete(f"manifests/{target}").status == 202
    assert scene.find("latest") is None
    assert pat.put("v1", one).status == 201
    kept = pat.delete("manifests/v1")
    assert (kept.status, kept.code) == (403, "DENIED")
    assert UNDELETABLE in kept.error["message"]


@before(("token", "registry"), ("htpasswd", "taglock"), ("open", "taglock"))
def test_who_may_only_pull_pulls_and_nothing_else(scene: Scene) -> None:
    pat, puller = scene.as_(scene.pusher), scene.as_(scene.puller)
    one = pat.make_image("one")
    assert pat.put("v1", one).status == 201
    assert puller.read("v1") == digest_of(one)
    _assert_tells_nothing(scene, puller, one)


def test_outsiders_neither_pull_nor_learn_of_locks_nor_take_names(scene: Scene) -> None:
    pat = scene.as_(scene.pusher)
    one = pat.make_image("one")
    assert pat.put("v1", one).status == 201
    for name, password in scene.outsiders:
        outsider = scene.as_(name, password)
        assert outsider.read("v1") is None
        _assert_tells_nothing(scene, outsider, one)


def _assert_tells_nothing(scene: Scene, outsider: Repository, one: bytes) -> None:
    """Assert that pushes and deletes are answered 401 or 403, tell nothing, and leave nothing."""
    before = _everything()
    other = one + b"\n"
    for answer in (
        *(outsider.put(tag, body) for tag in ("v1", "v9", "latest") for body in (one, other)),
        outsider.put(digest_of(other), other, query="?tag=v1&tag=v9"),
        outsider.delete("manifests/v1"),
        outsider.delete("manifests/v9"),
        outsider.delete(f"manifests/{digest_of(one)}"),
        send(scene.port, "POST", f"/v2/{scene.name}/blobs/uploads/", b"", headers=outsider.login),
    ):
        assert answer.status in (401, 403), answer
        text = answer.body.decode()
        assert not [word for word in TELLING if word in text], text
    assert _everything() == before
    assert scene.find("v9") is None


def _everything() -> list[Any]:
    rows = (TagRecord.objects, LockedTag.objects, LockEvent.objects)
    return [list(each.order_by("pk").values()) for each in rows]


@before(("htpasswd", "taglock"), ("open", "taglock"))
def test_a_layer_is_not_mounted_from_where_the_caller_may_not_pull(scene: Scene) -> None:
    bob, mallory = scene.as_("bob"), scene.as_("mallory").named("globex/own")
    secret = bob.upload(b"a secret layer")
    for query in (f"?mount={secret['digest']}&from={scene.name}", f"?mount={secret['digest']}"):
        target = f"/v2/globex/own/blobs/uploads/{query}"
        assert send(scene.port, "POST", target, b"", headers=mallory.login).status == 202
    # Nor as a registry would read it in a form, or at the address of an upload.
    query = urlencode({"mount": secret["digest"], "from": scene.name})
    kind, uploads = "application/x-www-form-urlencoded", "/v2/globex/own/blobs/uploads/"
    started = send(scene.port, "POST", uploads, query.encode(), kind, mallory.login)
    assert started.status == 202
    location = started.headers["location"]
    target = f"{location}{'&' if '?' in location else '?'}{query}"
    assert send(scene.port, "POST", target, b"", headers=mallory.login).status == 403
    answer = send(
        scene.port, "GET", f"/v2/globex/own/blobs/{secret['digest']}", headers=mallory.login
    )
    # A registry that keeps blobs of all repositories together shows them in each.
    assert answer.status == (200 if scene.kind == "open" else 404)


@before(("htpasswd", "registry"), ("token", "registry"), ("htpasswd", "taglock"))
@pytest.mark.parametrize("kind", [Oras, Regctl, Helm])
def test_other_clients_are_refused_in_the_same_words(
    scene: Scene,
    built: dict[str, str],
    images: tuple[Path, Path],
    kind: type[ImageClient | Helm],
    tmp_path: Path,
) -> None:
    client, (one, two) = Clients(scene.port, built).make(kind), images
    assert client.log_in(scene.pusher).returncode == 0
    if isinstance(client, Helm):
        charts = [
            make_chart(tmp_path, scene.name.partition("/")[2], "1.0.0", text)
            for text in ("one", "two")
        ]
        first, second = (client.push_chart(chart, "acme") for chart in charts)
    else:
        first, second = (
            client.push(image, f"{scene.name}:v-{kind.__name__}") for image in (one, two)
        )
    assert first.returncode == 0, first.stderr
    assert second.returncode != 0
    assert IMMUTABLE in second.stderr
