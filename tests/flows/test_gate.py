"""The gate before a real registry: real clients, raw requests, and every other way in."""

import json
import re
import socket
import subprocess
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from containers.registry.checkup import Checkup, Outcome
from containers.registry.client import RegistryClient
from containers.tokens.tokens import Caller, CallerKind
from packages_site.local import Ports, edge_command, find_free_ports, registry_command
from tests.deploy.tricks import TRICKS, aim
from tests.flows.asking import (
    IMMUTABLE,
    RESERVED,
    UNDELETABLE,
    Api,
    digest_of_layout,
    run_as_printed,
    skopeo,
    skopeo_delete,
    skopeo_login,
    skopeo_push,
)
from tests.services.accounts import Account, OwnKeys, SiteKeys, bundle_of, taglocks_own
from tests.services.registry_user import (
    IMAGE_TYPE,
    INDEX_TYPE,
    PATIENCE_SECONDS,
    Repository,
    digest_of,
    log_in,
    make_index,
    send,
    send_raw,
    to_json,
)
from tests.services.site import Site

pytestmark = pytest.mark.process


@pytest.fixture
def logged_in(site: Site, auth_file: Path) -> None:
    """Bob has logged in with skopeo."""
    done = skopeo_login(site.port, "bob")
    assert done.returncode == 0, done.stderr


# The commands that are printed. test_make_run.py does so before Debian's registry.


@pytest.mark.parametrize("registry_kind", ["distribution-3"], indirect=True, scope="session")
def test_the_printed_commands_do_what_is_printed_above_them(site: Site, api: Api) -> None:
    commands = site.registry_commands
    done = [run_as_printed(command) for command in commands]
    verbs = [_verb(command) for command in commands]
    assert list(zip(verbs, [each.returncode == 0 for each in done], strict=True)) == [
        ("login", True),
        ("copy", True),
        ("copy", True),
        ("copy", False),
        ("copy", True),
        ("copy", True),
        ("delete", False),
        ("login", True),
        ("delete", True),
        ("copy", False),
        ("copy", True),
    ]
    refused, kept, reserved = (done[number].stderr.replace('\\"', '"') for number in (3, 6, 9))
    assert f'denied: tag "v1.2.0" of acme/api {IMMUTABLE}' in refused
    assert "(pushed by bob)" in refused
    assert refused.count("denied: ") == 1
    assert UNDELETABLE in kept
    assert RESERVED in reserved
    for text in (refused, kept, reserved):
        link = re.search(r"http://\S+/acme/lock-log/[0-9A-Z]{12}", text)
        assert link is not None, text
        assert link[0].startswith(site.url)
    one, two = (digest_of_layout(site.data_dir / "images" / name) for name in ("one", "two"))
    assert Repository(site.port, "acme/api", site.account("bob")).tags == {
        "v1.2.0": one,
        "feature-x": two,
    }
    assert api.locks_of("acme/api") == {"v1.2.0": ("locked", one)}


def _verb(command: str) -> str:
    found = re.search(r"skopeo (?:--\S+ )?(\w+)", command)
    assert found is not None, command
    return found[1]


# Indexes.


def test_skopeo_pushes_every_image_of_an_index(
    repository: Repository, api: Api, site: Site, logged_in: None
) -> None:
    source = repository.named(repository.name + "-source")
    one, two = source.make_image("one"), source.make_image("two")
    for each in (one, two):
        source.put(digest_of(each), each)
    source.put("latest", make_index(one, two), INDEX_TYPE)
    address = f"docker://127.0.0.1:{site.port}/{{}}"
    done = skopeo(
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
    repository: Repository, api: Api, site: Site
) -> None:
    behind = repository.at(site.registry_port)
    one, two = behind.make_image("one"), behind.make_image("two")
    assert behind.put("v1", one).status == 201
    assert behind.put("v2", one).status == 201
    refused = repository.put("v1", two)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert repository.put("v2", one).status == 201
    locked = ("locked", digest_of(one))
    assert api.locks_of(repository.name) == {"v1": locked, "v2": locked}
    assert repository.tags == {"v1": digest_of(one), "v2": digest_of(one)}


def test_a_checkup_finds_that_the_edge_leads_writes_to_the_gate(site: Site, api: Api) -> None:
    edge = f"http://127.0.0.1:{site.port}"
    client = RegistryClient(edge, authorize=taglocks_own(SiteKeys(site.data_dir)))
    finding = Checkup(edge, client, public_url=edge).run()[-1]
    assert (finding.step, finding.outcome) == ("Edge", Outcome.OK), finding


def test_an_unprotected_tag_moves(repository: Repository) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    assert [repository.put("latest", each).status for each in (one, two)] == [201, 201]
    assert repository.tags == {"latest": digest_of(two)}


# The registry refuses.


def test_the_same_image_in_another_format_is_another_image(
    repository: Repository, api: Api, site: Site, logged_in: None
) -> None:
    one, target = site.data_dir / "images" / "one", f"{repository.name}:v1"
    assert skopeo_push(one, site.port, target, "--format", "v2s2").returncode == 0
    docker = repository.read("v1")
    assert api.locks_of(repository.name) == {"v1": ("locked", docker)}
    refused = skopeo_push(one, site.port, target)
    assert refused.returncode != 0
    assert IMMUTABLE in refused.stderr
    assert repository.tags == {"v1": docker}


# Several tags.


def test_tags_in_the_query_are_pushed_whatever_the_registry_knows_of_them(
    repository: Repository, api: Api
) -> None:
    one = repository.make_image("one")
    answer = repository.put(digest_of(one), one, query="?tag=v1&tag=v2")
    assert (answer.status, answer.headers["oci-tag"]) == (201, "v1, v2")
    assert repository.tags == {"v1": digest_of(one), "v2": digest_of(one)}
    assert set(api.locks_of(repository.name)) == {"v1", "v2"}
    assert repository.put("v1", repository.make_image("two")).status == 403


def test_a_locked_tag_in_the_query_refuses_the_push(repository: Repository) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    repository.put("v1", one)
    refused = repository.put(digest_of(two), two, query="?tag=v2&tag=v1")
    assert (refused.status, refused.code) == (403, "DENIED")
    assert repository.tags == {"v1": digest_of(one)}


# Deletes.


def test_a_locked_tag_is_deleted_by_no_route(
    repository: Repository, site: Site, logged_in: None
) -> None:
    one = repository.make_image("one")
    repository.put("v1", one)
    config = json.loads(one)["config"]["digest"]
    for rest in ("manifests/v1", f"manifests/{digest_of(one)}"):
        refused = repository.delete(rest)
        assert (refused.status, refused.code) == (403, "DENIED")
    for digest in (config, digest_of(one)):
        refused = repository.delete(f"blobs/{digest}")
        assert (refused.status, refused.code) == (405, "UNSUPPORTED")
    done = skopeo_delete(site.port, f"{repository.name}:v1")
    assert done.returncode != 0
    assert UNDELETABLE in done.stderr
    assert repository.tags == {"v1": digest_of(one)}


# What is closed.


def test_the_catalog_is_closed(repository: Repository, site: Site) -> None:
    repository.put("latest", repository.make_image("one"))
    targets = (
        "/v2/_catalog",
        "/v2/_catalog?n=1",
        "/v2/_catalog/",
        "/v2//_catalog",
        "/v2/%5fcatalog",
    )
    for method, target, headers in product(
        ("GET", "HEAD", "POST"), targets, ("", repository.login)
    ):
        answer = send(site.port, method, target, headers=headers)
        assert answer.status >= 300, (method, target, answer)
        assert b"repositories" not in answer.body, (method, target, answer)


@pytest.mark.parametrize("name", ["nobody/api", "globex/api"])
def test_an_unknown_workspace_is_answered_as_one_of_others_is(
    site: Site, api: Api, account: Account, name: str
) -> None:
    anonymous = Repository(site.port, name).put("v1", b"{}")
    assert (anonymous.status, anonymous.code) == (401, "UNAUTHORIZED")
    assert f'scope="repository:{name}:pull,push"' in anonymous.headers["www-authenticate"]
    # With more than the token service would have given.
    denied = Repository(site.port, name, account).put("v1", b"{}")
    assert (denied.status, denied.code) == (403, "DENIED")
    assert denied.error["message"] == "requested access to the resource is denied"


@pytest.mark.parametrize("size", [4 * 1024 * 1024 + 1, 5_000_000, 5 * 1024 * 1024 + 1])
def test_too_large_a_manifest_is_413_in_the_registrys_words(
    repository: Repository, size: int
) -> None:
    answer = repository.put("v1", b" " * size)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    assert answer.headers["content-type"].startswith("application/json")


# Every other way in.


def test_no_trick_moves_or_takes_a_locked_tag(repository: Repository, api: Api) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    assert repository.put("v1", one).status == 201
    for method, target in TRICKS:
        aimed = aim(target, repository.name, digest_of(one))
        answer = send(
            repository.port,
            method,
            aimed,
            two,
            headers=f"{repository.login}X-HTTP-Method-Override: PUT\r\n",
        )
        assert repository.tags == {"v1": digest_of(one)}, f"{method} {target}: {answer}"
        assert answer.status >= 300 or method == "GET", f"{method} {target}: {answer}"
        assert answer.status < 500, f"{method} {target}: {answer}"
    assert api.locks_of(repository.name) == {"v1": ("locked", digest_of(one))}


def test_no_trick_sets_a_tag_undecided(repository: Repository, api: Api) -> None:
    two, known = repository.make_image("two"), dict[str, str | None]()
    for method, target in TRICKS:
        if method == "DELETE":
            continue
        aimed = aim(target.replace("v1", "v9"), repository.name, digest_of(two))
        answer = send(repository.port, method, aimed, two, headers=repository.login)
        if repository.tags != known:
            known = repository.tags
            locked = {tag: digest for tag, (_, digest) in api.locks_of(repository.name).items()}
            assert locked.items() >= known.items(), f"{method} {target}: {answer}"
    assert known


@pytest.mark.parametrize(
    "tail", ["manifests/b", "blobs/uploads", "blobs/uploads/manifests", "tags/list", "manifests"]
)
def test_a_repository_may_be_named_like_a_part_of_the_api(
    repository: Repository, api: Api, tail: str
) -> None:
    odd = repository.named(f"{repository.name}/{tail}")
    one = repository.make_image("one")
    scopes = (f"repository:{odd.name}:pull,push", f"repository:{repository.name}:pull")
    token = json.loads(log_in(odd.port, "bob", "demo", *scopes).body)["token"]
    mounted = send(
        odd.port,
        "POST",
        f"/v2/{odd.name}/blobs/uploads/?mount={json.loads(one)['config']['digest']}"
        f"&from={repository.name}",
        b"",
        headers=f"Authorization: Bearer {token}\r\n",
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
        head = f"PUT /v2/{repository.name}/manifests/v1 HTTP/1.1\r\n{repository.login}".encode()
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
        f"{repository.login}Connection: close\r\nContent-Type: {IMAGE_TYPE}\r\n"
        f"Content-Length: {len(two)}\r\n\r\n"
    ).encode() + two
    host = f"Host: 127.0.0.1\r\n{repository.login}"
    get = f"GET /v2/{repository.name}/tags/list HTTP/1.1\r\n{host}"
    upload = f"POST /v2/{repository.name}/blobs/uploads/ HTTP/1.1\r\n{host}"
    for front in (
        f"{get}\r\n",
        f"{get}Content-Length: {len(hidden)}\r\n\r\n",
        f"{upload}Content-Length: 0\r\n\r\n",
        f"{upload}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        f"{upload}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        send_raw(repository.port, front.encode() + hidden)
        assert repository.tags == {"v1": digest_of(one)}, front


# Without a gate.


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


@pytest.mark.usefixtures("programs")
def test_without_a_gate_pulls_and_uploads_work_and_writes_are_tried_again_later(
    tmp_path: Path,
) -> None:
    port, site_port, gate_port, registry_port = find_free_ports(4)
    ports, keys = Ports(port, site_port, gate_port, registry_port), OwnKeys()
    started = [
        _start(
            registry_command(tmp_path, registry_port, bundle_of(keys), f"http://127.0.0.1:{port}")
        ),
        _start(edge_command(tmp_path, ports, f"http://127.0.0.1:{registry_port}")),
    ]
    try:
        _wait_for(registry_port)
        _wait_for(port)
        bob = Account(keys, Caller(CallerKind.PERSON, 1, "bob"))
        repository = Repository(port, "acme/api", bob)
        behind = repository.at(registry_port)
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
