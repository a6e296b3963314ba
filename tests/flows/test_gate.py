"""The gate before a real registry: real clients, raw requests, and every other way in."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from packages_site.local import Ports, edge_command, find_free_ports, registry_command
from tests.conftest import skip_or_fail
from tests.services.registry_user import (
    CONFIG_TYPE,
    IMAGE_TYPE,
    INDEX_TYPE,
    PATIENCE_SECONDS,
    Repository,
    digest_of,
    make_index,
    send,
    send_raw,
    to_json,
)
from tests.services.site import ROOT, Site

pytestmark = pytest.mark.process

IMMUTABLE = "cannot be overwritten because the tag is immutable"


@pytest.fixture(scope="module")
def _programs() -> None:
    for program, package in (
        ("skopeo", "Debian's skopeo"),
        ("curl", "curl"),
        ("docker-registry", "Debian's docker-registry"),
        ("nginx", "Debian's nginx"),
    ):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            skip_or_fail(package)


@pytest.fixture(scope="module", params=["docker-registry", "distribution-3"])
def site(
    _programs: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Site]:
    """A whole Taglock, in which every tag that begins with v is protected.

    Before either registry, with nothing changed but REGISTRY_URL.
    """
    is_own = request.param == "docker-registry"
    registry_url = "" if is_own else request.getfixturevalue("distribution_3")
    site = Site(tmp_path_factory.mktemp("gate") / "data", registry_url=registry_url)
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def api(site: Site) -> "Api":
    api = Api(site)
    api.protect([{"name": "Versions", "pattern": "^v"}])
    return api


class Api:
    """The API, as an admin's access token sees it."""

    def __init__(self, site: Site) -> None:
        made = subprocess.run(
            f"{sys.executable} manage.py create_access_token acme flows --scope admin".split(),
            cwd=ROOT,
            env={**os.environ, "DATA_DIR": str(site.data_dir)},
            capture_output=True,
            text=True,
            check=True,
        )
        self._token = made.stdout.strip()
        self._url = f"{site.url}/api/v1/workspaces/acme"

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Call the API below the workspace's address; return the document."""
        request = urllib.request.Request(
            f"{self._url}/{path}",
            json.dumps(body).encode() if body is not None else None,
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            | {name.replace("_", "-"): value for name, value in headers.items()},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return json.loads(response.read())

    def protect(self, rules: list[dict[str, str]]) -> None:
        """Protect what these rules match."""
        body = {"protection": "some", "rules": rules, "suspend_locks": True}
        self.call("PUT", "container-settings", body, If_Match="*")

    def locks_of(self, repository: str) -> dict[str, tuple[str, str]]:
        """Return state and digest of every lock of a repository, by tag."""
        found = self.call("GET", "locked-tags?limit=200")
        rows = found["results"] if isinstance(found, dict) else found
        return {
            row["tag"]: (row["state"], row["digest"])
            for row in rows
            if row["repository"] == repository
        }


@pytest.fixture
def repository(site: Site, api: Api, request: pytest.FixtureRequest) -> Repository:
    """A repository of the test's own."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return Repository(site.port, f"acme/r{name}")


def _skopeo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["skopeo", "--insecure-policy", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def _copy(source: Path, repository: Repository, tag: str, *more: str) -> Any:
    target = f"docker://127.0.0.1:{repository.port}/{repository.name}:{tag}"
    return _skopeo("copy", "--dest-tls-verify=false", *more, f"oci:{source}", target)


# The commands that are printed.


def test_the_printed_commands_do_what_is_printed_above_them(site: Site, api: Api) -> None:
    commands = [line.strip() for line in site.lines if line.startswith("skopeo ")]
    assert len(commands) == 5
    done = [
        subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        for command in commands
    ]
    assert [each.returncode == 0 for each in done] == [True, True, False, True, True]
    refused = done[2].stderr.replace('\\"', '"')
    assert f'denied: tag "v1.2.0" of acme/api {IMMUTABLE}' in refused
    assert refused.count("denied: ") == 1
    link = re.search(r"http://\S+/acme/lock-log/[0-9A-Z]{12}", refused)
    assert link is not None
    assert link[0].startswith(site.url)
    one, two = (
        json.loads((site.data_dir / f"images/{n}/index.json").read_text()) for n in ("one", "two")
    )
    assert Repository(site.port, "acme/api").tags == {
        "v1.2.0": one["manifests"][0]["digest"],
        "feature-x": two["manifests"][0]["digest"],
    }


# Indexes.


def test_an_index_with_children_is_pushed_and_its_child_is_not_deleted(
    repository: Repository, api: Api
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    for each in (one, two):
        assert repository.put(digest_of(each), each).status == 201
    pushed = repository.put("v1", make_index(one, two), INDEX_TYPE)
    assert pushed.status == 201
    refused = repository.delete(f"manifests/{digest_of(one)}")
    assert (refused.status, refused.code) == (403, "DENIED")
    assert repository.read(digest_of(one)) == digest_of(one)
    loose = repository.make_image("loose")
    repository.put(digest_of(loose), loose)
    assert repository.delete(f"manifests/{digest_of(loose)}").status == 202


def test_skopeo_pushes_every_image_of_an_index(
    repository: Repository, api: Api, site: Site, tmp_path: Path
) -> None:
    source = Repository(repository.port, repository.name + "-source")
    one, two = source.make_image("one"), source.make_image("two")
    for each in (one, two):
        source.put(digest_of(each), each)
    source.put("latest", make_index(one, two), INDEX_TYPE)
    address = f"docker://127.0.0.1:{site.port}/{{}}"
    done = _skopeo(
        "copy",
        "--all",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        address.format(f"{source.name}:latest"),
        address.format(f"{repository.name}:v1"),
    )
    assert done.returncode == 0, done.stderr
    assert repository.tags == {"v1": digest_of(make_index(one, two))}
    assert repository.delete(f"manifests/{digest_of(two)}").status == 403


# Before and after the protection.


def test_an_image_from_before_the_protection_is_adopted(
    repository: Repository, api: Api, registry_port: int
) -> None:
    behind = Repository(registry_port, repository.name)
    one, two = behind.make_image("one"), behind.make_image("two")
    assert behind.put("v1", one).status == 201
    assert behind.put("v2", one).status == 201
    refused = repository.put("v1", two)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert repository.put("v2", one).status == 201
    locked = ("locked", digest_of(one))
    assert api.locks_of(repository.name) == {"v1": locked, "v2": locked}
    assert repository.tags == {"v1": digest_of(one), "v2": digest_of(one)}


@pytest.fixture(scope="module")
def registry_port(site: Site) -> int:
    """The registry's own port, to which nobody but the edge and the gate talks in real life."""
    text = (site.data_dir / "edge" / "nginx.conf").read_text()
    found = re.search(r"upstream taglock_registry \{ server 127\.0\.0\.1:(\d+)", text)
    assert found is not None
    return int(found[1])


def test_an_unprotected_tag_moves(repository: Repository) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    assert [repository.put("latest", each).status for each in (one, two)] == [201, 201]
    assert repository.tags == {"latest": digest_of(two)}


# The registry refuses.


def test_a_manifest_that_the_registry_refuses_leaves_the_name_free(
    repository: Repository, api: Api
) -> None:
    config = {"mediaType": CONFIG_TYPE, "digest": digest_of(b"nowhere"), "size": 7}
    hollow = to_json({"schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": []})
    refused = repository.put("v1", hollow)
    assert 400 <= refused.status < 500
    assert refused.code in ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_INVALID")
    assert api.locks_of(repository.name) == {}
    good = repository.make_image("good")
    assert repository.put("v1", good).status == 201
    assert api.locks_of(repository.name) == {"v1": ("locked", digest_of(good))}


def test_the_same_image_in_another_format_is_another_image(
    repository: Repository, api: Api, site: Site
) -> None:
    one = site.data_dir / "images" / "one"
    assert _copy(one, repository, "v1", "--format", "v2s2").returncode == 0
    docker = repository.read("v1")
    assert api.locks_of(repository.name) == {"v1": ("locked", docker)}
    refused = _copy(one, repository, "v1")
    assert refused.returncode != 0
    assert IMMUTABLE in refused.stderr
    assert repository.tags == {"v1": docker}


# Several tags.


def test_tags_in_the_query_that_the_registry_ignores_are_not_locked(
    repository: Repository, api: Api
) -> None:
    one = repository.make_image("one")
    answer = repository.put(digest_of(one), one, query="?tag=v1&tag=v2")
    assert answer.status == 201
    named = {name.strip() for name in answer.headers.get("oci-tag", "").split(",") if name.strip()}
    assert set(repository.tags) == named == set(api.locks_of(repository.name))
    assert repository.put("v1", repository.make_image("two")).status == (403 if named else 201)


def test_a_locked_tag_in_the_query_refuses_the_push(repository: Repository) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    repository.put("v1", one)
    refused = repository.put(digest_of(two), two, query="?tag=v2&tag=v1")
    assert (refused.status, refused.code) == (403, "DENIED")
    assert repository.tags == {"v1": digest_of(one)}


# Deletes.


def test_a_locked_tag_is_deleted_by_no_route(repository: Repository, site: Site) -> None:
    one = repository.make_image("one")
    repository.put("v1", one)
    config = json.loads(one)["config"]["digest"]
    for rest in ("manifests/v1", f"manifests/{digest_of(one)}"):
        refused = repository.delete(rest)
        assert (refused.status, refused.code) == (403, "DENIED")
    for digest in (config, digest_of(one)):
        refused = repository.delete(f"blobs/{digest}")
        assert (refused.status, refused.code) == (405, "UNSUPPORTED")
    address = f"docker://127.0.0.1:{site.port}/{repository.name}:v1"
    done = _skopeo("delete", "--tls-verify=false", address)
    assert done.returncode != 0
    assert "cannot be deleted because the tag is immutable" in done.stderr
    assert repository.tags == {"v1": digest_of(one)}


def test_an_unprotected_image_is_deleted(repository: Repository, site: Site) -> None:
    one = repository.make_image("one")
    repository.put("latest", one)
    address = f"docker://127.0.0.1:{site.port}/{repository.name}:latest"
    done = _skopeo("delete", "--tls-verify=false", address)
    assert done.returncode == 0, done.stderr
    assert repository.tags == {}


def test_what_this_registry_says_of_a_delete_by_tag_is_passed_on(repository: Repository) -> None:
    """Debian's registry knows no delete by tag; a registry that does deletes it."""
    repository.put("latest", repository.make_image("one"))
    answer = repository.delete("manifests/latest")
    assert answer.status in (202, 400, 405)
    if answer.status != 202:
        assert answer.code in ("UNSUPPORTED", "DIGEST_INVALID")


# What is closed.


@pytest.mark.parametrize(
    "target",
    ["/v2/_catalog", "/v2/_catalog?n=1", "/v2/_catalog/", "/v2//_catalog", "/v2/%5fcatalog"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_catalog_is_closed(
    repository: Repository, site: Site, method: str, target: str
) -> None:
    repository.put("latest", repository.make_image("one"))
    answer = send(site.port, method, target)
    assert answer.status >= 300
    assert b"repositories" not in answer.body


def test_an_unknown_workspace_is_said_in_the_registrys_words(site: Site, api: Api) -> None:
    answer = Repository(site.port, "nobody/api").put("v1", b"{}")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize("size", [4 * 1024 * 1024 + 1, 5_000_000, 5 * 1024 * 1024 + 1])
def test_too_large_a_manifest_is_413_in_the_registrys_words(
    repository: Repository, size: int
) -> None:
    answer = repository.put("v1", b" " * size)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    assert answer.headers["content-type"].startswith("application/json")


# Every other way in.

TRICKS = [
    ("PUT", "/v2/{repo}/manifests%2Fv1"),
    ("PUT", "/v2/{repo}%2Fmanifests%2Fv1"),
    ("PUT", "/v2/acme%2f{rest}/manifests/v1"),
    ("PUT", "/v2/{repo}/manif%65sts/v1"),
    ("PUT", "/v2/{repo}/manifests/%76%31"),
    ("PUT", "/v2/{repo}/manifests/v1%0a"),
    ("PUT", "/v2/{repo}/manifests/v1%00"),
    ("PUT", "/v2/{repo}/manifests/v1%20"),
    ("PUT", "/v2/{repo}/manifests/v1%3Fx"),
    ("PUT", "/v2/{repo}/manifests/v1%23"),
    ("PUT", "/v2/{repo}/manifests/v1#x"),
    ("PUT", "/v2/{repo}/manifests/v1/"),
    ("PUT", "/v2/{repo}/manifests//v1"),
    ("PUT", "/v2//{repo}/manifests/v1"),
    ("PUT", "//v2/{repo}/manifests/v1"),
    ("PUT", "/./v2/{repo}/manifests/v1"),
    ("PUT", "/v2/./{repo}/manifests/v1"),
    ("PUT", "/v2/{repo}/manifests/./v1"),
    ("PUT", "/v2/{repo}/manifests/x/../v1"),
    ("PUT", "/v2/{repo}/manifests/%2e/v1"),
    ("PUT", "/v2/{repo}/manifests/x/%2e%2e/v1"),
    ("PUT", "/v2/x/../{repo}/manifests/v1"),
    ("PUT", "/x/../v2/{repo}/manifests/v1"),
    ("PUT", "/x/%2e%2e/v2/{repo}/manifests/v1"),
    ("PUT", "/static/../v2/{repo}/manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/../../manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/%2e%2e/%2e%2e/manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/x%2F..%2F..%2F..%2Fmanifests%2Fv1"),
    ("PUT", "/v2/{repo}/manifests/v1/../../blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1?/blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1%3F/../../blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1#/../../blobs/uploads/x"),
    ("PUT", "/v2/{repo}/blobs/uploads/x#/../../../manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/x%23/../../../manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/x;/../../../manifests/v1"),
    ("PUT", "/v2/{repo}\\manifests\\v1"),
    ("PUT", "/V2/{repo}/manifests/v1"),
    ("PUT", "/v2/{repo}/Manifests/v1"),
    ("PUT", "/v2/{upper}/manifests/v1"),
    ("PUT", "/v2/{repo}/manifests/v1?_method=GET&ref=v2"),
    ("PUT", "/v2/{repo}/manifests/v1?tag=v2"),
    ("PUT", "http://127.0.0.1/v2/{repo}/manifests/v1"),
    ("PUT", "http://elsewhere.example/v2/{repo}/manifests/v1"),
    ("PATCH", "/v2/{repo}/manifests/v1"),
    ("POST", "/v2/{repo}/manifests/v1"),
    ("POST", "/v2/{repo}/manifests/"),
    ("OPTIONS", "/v2/{repo}/manifests/v1"),
    ("MKCOL", "/v2/{repo}/manifests/v1"),
    ("put", "/v2/{repo}/manifests/v1"),
    ("Put", "/v2/{repo}/manifests/v1"),
    ("DELETE", "/v2/{repo}/manifests/v1"),
    ("DELETE", "/v2/{repo}/manifests/{digest}"),
    ("DELETE", "/v2/{repo}/manifests/sha256%3A{hex}"),
    ("DELETE", "/v2/{repo}//manifests/{digest}"),
    ("DELETE", "/v2/{repo}/blobs/uploads/../../manifests/{digest}"),
    ("DELETE", "/v2/{repo}/blobs/{digest}"),
    ("DELETE", "/v2/{repo}/blobs/x/../{digest}"),
    ("DELETE", "/v2/{repo}/blobs/../manifests/{digest}"),
    ("DELETE", "/v2/{repo}/blobs%2F{digest}"),
    ("GET", "/v2/{repo}/manifests/v1?_method=DELETE"),
]


def _aim(target: str, name: str, digest: str) -> str:
    rest = name.partition("/")[2]
    return target.format(
        repo=name, rest=rest, upper=name.upper(), digest=digest, hex=digest.partition(":")[2]
    )


def test_no_trick_moves_or_takes_a_locked_tag(repository: Repository, api: Api) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    assert repository.put("v1", one).status == 201
    for method, target in TRICKS:
        aimed = _aim(target, repository.name, digest_of(one))
        answer = send(
            repository.port, method, aimed, two, headers="X-HTTP-Method-Override: PUT\r\n"
        )
        assert repository.tags == {"v1": digest_of(one)}, f"{method} {target}: {answer}"
        assert answer.status >= 300 or method == "GET", f"{method} {target}: {answer}"
        assert answer.status < 500, f"{method} {target}: {answer}"
    assert api.locks_of(repository.name) == {"v1": ("locked", digest_of(one))}


def test_no_trick_sets_a_tag_undecided(repository: Repository, api: Api) -> None:
    two = repository.make_image("two")
    for method, target in TRICKS:
        if method == "DELETE":
            continue
        aimed = _aim(target.replace("v1", "v9"), repository.name, digest_of(two))
        answer = send(repository.port, method, aimed, two)
        locked = {tag: digest for tag, (_, digest) in api.locks_of(repository.name).items()}
        assert locked.items() >= repository.tags.items(), f"{method} {target}: {answer}"


@pytest.mark.parametrize(
    "tail", ["manifests/b", "blobs/uploads", "blobs/uploads/manifests", "tags/list", "manifests"]
)
def test_a_repository_may_be_named_like_a_part_of_the_api(
    repository: Repository, api: Api, tail: str
) -> None:
    odd = Repository(repository.port, f"{repository.name}/{tail}")
    plain = Repository(repository.port, repository.name)
    one = plain.make_image("one")
    mounted = send(
        odd.port,
        "POST",
        f"/v2/{odd.name}/blobs/uploads/?mount={json.loads(one)['config']['digest']}"
        f"&from={plain.name}",
        b"",
    )
    assert mounted.status == 201, mounted
    assert odd.put("v1", one).status == 201
    assert api.locks_of(odd.name) == {"v1": ("locked", digest_of(one))}
    two = to_json(json.loads(one) | {"annotations": {"other": "image"}})
    assert odd.put("v1", two).status == 403
    assert odd.tags == {"v1": digest_of(one)}
    assert odd.delete(f"manifests/{digest_of(one)}").status == 403


@pytest.mark.parametrize(
    "body_of",
    [
        lambda body: (b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        lambda body: (b"Content-Length: %d\r\nExpect: 100-continue" % len(body), body),
    ],
    ids=["chunked", "expecting 100"],
)
def test_a_body_sent_another_way_is_decided_like_any_other(
    repository: Repository, api: Api, body_of: Any
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    statuses = []
    for body in (one, two):
        length, sent = body_of(body)
        head = f"PUT /v2/{repository.name}/manifests/v1 HTTP/1.1\r\n".encode()
        head += (
            b"Host: 127.0.0.1\r\nConnection: close\r\nContent-Type: %s\r\n" % IMAGE_TYPE.encode()
        )
        statuses.append(send_raw(repository.port, head + length + b"\r\n\r\n" + sent).status)
    assert statuses == [201, 403]
    assert repository.tags == {"v1": digest_of(one)}


def test_a_request_hidden_behind_another_is_decided_too(repository: Repository) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    repository.put("v1", one)
    hidden = (
        f"PUT /v2/{repository.name}/manifests/v1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Connection: close\r\nContent-Type: {IMAGE_TYPE}\r\nContent-Length: {len(two)}\r\n\r\n"
    ).encode() + two
    get = f"GET /v2/{repository.name}/tags/list HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    upload = f"POST /v2/{repository.name}/blobs/uploads/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    for front in (
        f"{get}\r\n",
        f"{get}Content-Length: {len(hidden)}\r\n\r\n",
        f"{upload}Content-Length: 0\r\n\r\n",
        f"{upload}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        f"{upload}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        send_raw(repository.port, front.encode() + hidden)
        assert repository.tags == {"v1": digest_of(one)}, front


# The edge alone: what it sends where, and what it says when nobody is behind it.


class Recorder:
    """A server that answers 200 to everything, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                data = b""
                while b"\r\n" not in data and (more := connection.recv(65536)):
                    data += more
                self.asked.append(data.partition(b" HTTP/")[0].decode("latin-1"))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _start(command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["bash", "-c", command], stdin=subprocess.DEVNULL)


def _wait_for(port: int) -> None:
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")


@dataclass(frozen=True)
class Edge:
    """An edge between two recorders."""

    port: int
    gate: Recorder
    registry: Recorder


@pytest.fixture(scope="module")
def edge(_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    gate, registry = Recorder(), Recorder()
    port, closed = find_free_ports(2)
    folder = tmp_path_factory.mktemp("edge")
    process = _start(
        edge_command(folder, Ports(port, closed, gate.port, registry.port), registry.url)
    )
    try:
        _wait_for(port)
        yield Edge(port, gate, registry)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
        gate.close()
        registry.close()


@pytest.mark.parametrize(("method", "target"), TRICKS)
def test_the_registry_gets_reads_and_plain_uploads_and_nothing_else(
    edge: Edge, method: str, target: str
) -> None:
    """However a registry reads a path: what two could read differently does not get there."""
    edge.registry.asked.clear()
    send(edge.port, method, _aim(target, "acme/api", "sha256:" + 64 * "a"), b"{}")
    for asked in edge.registry.asked:
        verb, path = asked.split(" ", 1)
        if verb not in ("GET", "HEAD"):
            assert re.fullmatch(r"/v2/[a-z0-9/]+/blobs/uploads/[\w=.-]*(\?.*)?", path), asked


@pytest.mark.parametrize(
    ("method", "target", "goes_to"),
    [
        ("GET", "/v2/", "registry"),
        ("GET", "/v2/acme/api/manifests/v1", "registry"),
        ("HEAD", "/v2/acme/api/manifests/v1", "registry"),
        ("GET", "/v2/acme/api/tags/list?n=5&last=v1", "registry"),
        ("GET", "/v2/acme/api/blobs/sha256:aa", "registry"),
        ("POST", "/v2/acme/api/blobs/uploads/", "registry"),
        ("POST", "/v2/acme/api/blobs/uploads/?digest=sha256%3Aaa", "registry"),
        ("PATCH", "/v2/acme/api/blobs/uploads/123?_state=a%2Bb%3D", "registry"),
        ("PUT", "/v2/acme/api/blobs/uploads/123?_state=x&digest=sha256%3Aaa", "registry"),
        ("DELETE", "/v2/acme/api/blobs/uploads/123", "registry"),
        ("PUT", "/v2/acme/api/manifests/v1", "gate"),
        ("PUT", "/v2/acme/blobs/uploads/manifests/v1", "gate"),
        ("PUT", "/v2/acme/api/manifests/sha256:aa?tag=a&tag=b", "gate"),
        ("DELETE", "/v2/acme/api/manifests/v1", "gate"),
        ("DELETE", "/v2/acme/blobs/sha256:aa/manifests/v1", "gate"),
        ("POST", "/v2/", "gate"),
        ("DELETE", "/v2/acme/api/blobs/sha256:aa", ""),
        ("PUT", "/v2/acme/api/blobs/sha256:aa", ""),
    ],
)
def test_the_method_says_who_gets_a_request(
    edge: Edge, method: str, target: str, goes_to: str
) -> None:
    edge.registry.asked.clear()
    edge.gate.asked.clear()
    send(edge.port, method, target, None if method in ("GET", "HEAD") else b"{}")
    assert edge.registry.asked == ([f"{method} {target}"] if goes_to == "registry" else [])
    assert edge.gate.asked == ([f"{method} {target}"] if goes_to == "gate" else [])


@pytest.mark.usefixtures("_programs")
def test_without_a_gate_pulls_and_uploads_work_and_writes_are_tried_again_later(
    tmp_path: Path,
) -> None:
    port, site_port, gate_port, registry_port = find_free_ports(4)
    ports = Ports(port, site_port, gate_port, registry_port)
    started = [
        _start(registry_command(tmp_path, registry_port)),
        _start(edge_command(tmp_path, ports, f"http://127.0.0.1:{registry_port}")),
    ]
    try:
        _wait_for(registry_port)
        _wait_for(port)
        behind, repository = Repository(registry_port, "acme/api"), Repository(port, "acme/api")
        one = behind.make_image("one")
        behind.put("v1", one)
        assert repository.read("v1") == digest_of(one)
        two = repository.make_image("two")
        for answer in (repository.put("v1", two), repository.delete(f"manifests/{digest_of(one)}")):
            assert answer.status in (502, 503)
            assert answer.code == "UNAVAILABLE"
            assert answer.headers["content-type"].startswith("application/json")
            assert answer.headers["retry-after"].isdigit()
        assert behind.tags == {"v1": digest_of(one)}
        assert send(port, "GET", "/").status == 503
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(PATIENCE_SECONDS)
