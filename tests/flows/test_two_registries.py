"""Two registries behind one gate: each has its host name, its workspaces and its own account."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command

from containers.registry_changes import add_registry
from immutability.actions.move_workspace import move_workspace
from immutability.policy.protection import Protection
from packages_site.demo_images import make_demo_images
from packages_site.local import Ports, edge_command, find_free_ports
from tests.conftest import protect_workspace, skip_or_fail
from tests.flows.asking import IMMUTABLE, Done, digest_of_layout, skopeo
from tests.services.front import standing_before
from tests.services.parts import Part, is_answering
from tests.services.registries import (
    PASSWORD,
    TAGLOCK,
    AnyRegistry,
    has_docker_registry,
    running_registry,
)
from workspaces.access import SYSTEM, Role
from workspaces.actions.members import add_member
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]

# Two names of this machine, one for each server of the edge.
FIRST, SECOND = "127.0.0.1", "127.0.0.2"
DENIED = ("unauthorized", "denied")


@dataclass(frozen=True)
class Scene:
    """An edge with two servers, before two registries that know Taglock's account alone."""

    port: int
    first: AnyRegistry
    second: AnyRegistry

    def push(self, image: Path, host: str, name: str) -> Done:
        target = f"docker://{host}:{self.port}/{name}"
        return skopeo("copy", "--dest-tls-verify=false", f"oci:{image}", target)

    def read(self, host: str, name: str) -> Done:
        """Return what someone who pulls finds: the digest on the standard output."""
        address = f"docker://{host}:{self.port}/{name}"
        return skopeo("inspect", "--tls-verify=false", "--format", "{{.Digest}}", address)

    def push_past(self, image: Path, registry: AnyRegistry, name: str) -> Done:
        """Push to a registry itself, with the account that Taglock has there."""
        target = f"docker://{urlsplit(registry.url).netloc}/{name}"
        credentials = f"{TAGLOCK}:{PASSWORD}"
        return skopeo(
            *("copy", "--dest-tls-verify=false", "--dest-creds", credentials),
            *(f"oci:{image}", target),
        )


@pytest.fixture
def scene(tmp_path: Path, live_server: Any, changing_registries: None) -> Iterator[Scene]:
    if not has_docker_registry():
        skip_or_fail("Debian's docker-registry and nginx")
    with (
        running_registry("htpasswd", tmp_path / "first") as first,
        running_registry("htpasswd", tmp_path / "second") as second,
    ):
        (port,) = find_free_ports(1)
        here, own = urlsplit(live_server.url).port or 0, urlsplit(first.url).port or 0
        command = edge_command(tmp_path, Ports(port, here, here, own), first.url, asks_gate=True)
        _add_server(tmp_path / "edge" / "nginx.conf", port, second)
        url = f"http://{FIRST}:{port}/_edge/access"
        edge = Part(command, tmp_path / "edge.out", is_ready=lambda: is_answering(url))
        try:
            edge.start()
            yield Scene(port, first, second)
        finally:
            edge.stop()


def _add_server(config: Path, port: int, registry: AnyRegistry) -> None:
    """Add what docs/registries.md says: one more upstream, and a server with the host name."""
    head, http, servers = config.read_text().partition("    server {")
    found = servers.partition("include ")[2].partition("taglock.conf")[0]
    upstream = f"    upstream second {{ server {urlsplit(registry.url).netloc}; }}\n"
    server = (
        f"    server {{\n        listen {SECOND}:{port};\n        server_name {SECOND};\n"
        f'        include {found}taglock.conf";\n'
        f'        include {found}taglock-accounts.conf";\n'
        "        set $taglock_registry http://second;\n    }\n"
    )
    whole = servers.rstrip().removesuffix("}")
    config.write_text(f"{head}{upstream}{http}{whole}{server}}}\n")


def test_each_host_leads_to_a_registry_and_none_into_the_other(
    scene: Scene, settings: Any, acme: Workspace, globex: Workspace, bob: User, tmp_path: Path
) -> None:
    one, two = make_demo_images(tmp_path / "images")
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    settings.REGISTRY_VARIABLES_SECRET = {
        "REGISTRY_SECOND_URL": scene.second.url,
        "REGISTRY_SECOND_PASSWORD": PASSWORD,
    }
    how = (scene.second.url, SECOND, "taglock", TAGLOCK)
    with standing_before(scene.first, settings, accounts="taglock", port=scene.port):
        move_workspace(globex, add_registry("second", *how, actor=SYSTEM), actor=SYSTEM)
        for workspace in (acme, globex):
            protect_workspace(workspace, Protection.ALL)
        for host in (FIRST, SECOND):
            login = ("--tls-verify=false", "--username", "bob", "--password-stdin")
            done = skopeo("login", *login, f"{host}:{scene.port}", stdin=PASSWORD)
            assert done.returncode == 0, done.stderr

        for host, name, image in ((FIRST, "acme/api:v1", one), (SECOND, "globex/api:v1", two)):
            pushed = scene.push(image, host, name)
            assert pushed.returncode == 0, pushed.stderr
            assert scene.read(host, name).stdout.strip() == digest_of_layout(image)
            other = SECOND if host == FIRST else FIRST
            for done in (scene.push(image, other, name), scene.read(other, name)):
                assert done.returncode != 0
                assert any(word in done.stderr for word in DENIED), done.stderr
        refused = scene.push(one, SECOND, "globex/api:v1")
        assert IMMUTABLE in refused.stderr

        # An older repository there, which has the name of someone else's workspace at the first.
        assert scene.push_past(one, scene.second, "acme/old:v1").returncode == 0
        assert scene.read(SECOND, "acme/old:v1").returncode != 0
        _assert_the_server_counts(scene)

        # What was changed past Taglock is found at the registry that has it.
        assert scene.push_past(one, scene.second, "globex/api:v1").returncode == 0
        assert _find_drift("acme") == []
        assert [line.partition(": ")[0] for line in _find_drift("globex")] == ["globex/api:v1"]


def _assert_the_server_counts(scene: Scene) -> None:
    """Assert that Host, which a client writes as it likes, changes no registry."""
    for server, host in ((FIRST, SECOND), (SECOND, FIRST)):
        connection = HTTPConnection(server, scene.port)
        connection.request("GET", "/v2/", headers={"Host": f"{host}:{scene.port}"})
        answer = connection.getresponse()
        service = "taglock-second-" if server == SECOND else '"taglock"'
        assert answer.status == 401
        assert service in answer.headers["WWW-Authenticate"]
        connection.close()


def _find_drift(workspace: str) -> list[str]:
    """Return the lines of check_drift about tags."""
    out = StringIO()
    with suppress(SystemExit):
        call_command("check_drift", workspace, stdout=out, stderr=StringIO())
    return [line for line in out.getvalue().splitlines() if ":v1" in line]
