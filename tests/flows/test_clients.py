"""What the clients do to locked tags, before either registry."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.asking import IMMUTABLE, RESERVED, Api, Done, digest_of_layout
from tests.flows.clients import Clients, Crane, Helm, ImageClient, Oras, Regctl, Skopeo, make_chart
from tests.services.registry_user import Answer, Repository, digest_of, make_index, to_json
from tests.services.site import Site

pytestmark = pytest.mark.process

DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
NOWHERE = "sha256:" + 64 * "0"


@pytest.fixture
def one(site: Site) -> Path:
    return site.data_dir / "images" / "one"


@pytest.fixture
def two(site: Site) -> Path:
    return site.data_dir / "images" / "two"


@pytest.fixture
def clients(site: Site, built: dict[str, str]) -> Clients:
    return Clients(site.port, built)


@pytest.fixture
def alices(site: Site, repository: Repository) -> Repository:
    """The test's repository, as Alice sees it."""
    return Repository(site.port, repository.name, site.account("alice"))


@pytest.fixture
def hidden(repository: Repository) -> str:
    """What a test's own names begin with."""
    return repository.name.partition("/")[2]


def succeed(done: Done) -> None:
    assert done.returncode == 0, done


def fail_with(text: str, done: Done) -> None:
    assert done.returncode != 0, done
    assert text in (done.stdout + done.stderr).replace('\\"', '"'), done


# ---- pushes and deletes of each client -------------------------------------------------------


@pytest.mark.parametrize("kind", [Skopeo, Crane, Oras, Regctl])
def test_the_whole_life_of_a_tag(
    repository: Repository,
    api: Api,
    clients: Clients,
    one: Path,
    two: Path,
    kind: type[ImageClient],
) -> None:
    client = clients.make(kind)
    name, digest = f"{repository.name}:v1", digest_of_layout(one)

    def delete() -> Done:
        return client.delete(repository.name, "v1", digest)

    assert client.push(one, name).returncode != 0
    succeed(client.log_in("bob"))
    succeed(client.push(one, name))
    succeed(client.push(one, name))
    fail_with(IMMUTABLE, client.push(two, name))
    fail_with(client.told_of_delete, delete())
    assert repository.tags == {"v1": digest}
    assert api.locks_of(repository.name) == {"v1": ("locked", digest)}
    succeed(client.log_in("alice"))
    succeed(delete())
    assert repository.tags == {}
    assert api.locks_of(repository.name) == {"v1": ("reserved", digest)}
    succeed(client.log_in("bob"))
    fail_with(RESERVED, client.push(two, name))
    succeed(client.push(one, name))
    assert repository.tags == {"v1": digest}
    assert api.locks_of(repository.name) == {"v1": ("locked", digest)}


def test_a_chart_is_locked_and_packaged_again_it_is_another(
    repository: Repository,
    api: Api,
    hidden: str,
    clients: Clients,
    tmp_path: Path,
) -> None:
    helm = clients.make(Helm)
    first, second = (make_chart(tmp_path, hidden, "1.2.3", text) for text in ("first", "second"))
    succeed(helm.log_in("bob"))
    succeed(helm.push_chart(first, "acme"))
    digest = repository.tags["1.2.3"]
    succeed(helm.push_chart(first, "acme"))
    fail_with(IMMUTABLE, helm.push_chart(second, "acme"))
    assert repository.tags == {"1.2.3": digest}
    assert api.locks_of(repository.name) == {"1.2.3": ("locked", digest)}


# ---- deletes, by registry --------------------------------------------------------------------

# Tags of the image; who deletes what; the answer of 2.8.2, which deletes no single tags, and of
# Distribution 3; and what is left there and of the locks.
DELETES = [
    ("v1", "bob", "v1", 403, 403),
    ("v1", "bob", "digest", 403, 403),
    ("v1 v2", "bob", "v1", 403, 403),
    ("v1 latest", "bob", "digest", 403, 403),
    ("v1", "alice", "v1", 202, 202),
    ("v1", "alice", "digest", 202, 202),
    ("v1", "alice", "page", 200, 200),
    ("v1 v2", "alice", "v1", 405, 202),
    ("v1 latest", "alice", "v1", 405, 202),
    ("v1 v2", "alice", "digest", 202, 202),
    ("latest", "bob", "latest", 202, 202),
    ("latest next", "bob", "latest", 405, 202),
    ("latest next", "bob", "digest", 202, 202),
    ("v1", "alice", "v2", 404, 404),
]


@pytest.mark.parametrize(("tags", "who", "target", "old", "new"), DELETES)
def test_a_delete_takes_what_its_actor_may_lose_and_nothing_else(
    repository: Repository,
    alices: Repository,
    api: Api,
    registry_kind: str,
    tags: str,
    who: str,
    target: str,
    old: int,
    new: int,
) -> None:
    one = repository.make_image("one")
    digest = digest_of(one)
    for tag in tags.split():
        assert repository.put(tag, one).status == 201
    status = old if registry_kind == "docker-registry" else new
    actor = alices if who == "alice" else repository
    if target == "page":
        (lock,) = api.call("GET", f"locked-tags?repository={repository.name}")["results"]
        api.call("DELETE", f"locked-tags/{lock['id']}?name=reserve&reason=mistake")
    else:
        reference = digest if target == "digest" else target
        answer = actor.delete(f"manifests/{reference}")
        assert answer.status == status, answer
    is_done = status in (200, 202)
    taken = set(tags.split()) & ({target} if target in tags else set(tags.split()))
    taken = taken if is_done else set()
    assert repository.tags == dict.fromkeys(set(tags.split()) - taken, digest)
    assert api.locks_of(repository.name) == {
        tag: ("reserved" if tag in taken else "locked", digest)
        for tag in tags.split()
        if tag.startswith("v")
    }


def test_an_index_goes_before_what_it_lists(repository: Repository, alices: Repository) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    for each in (one, two):
        assert repository.put(digest_of(each), each).status == 201
    index = make_index(one, two)
    assert repository.put("v1", index, INDEX_TYPE).status == 201
    for child in (one, two):
        for actor in (repository, alices):
            assert actor.delete(f"manifests/{digest_of(child)}").status == 403
    assert alices.delete("manifests/v1").status == 202
    # Its name is reserved, and nothing is there that would need them.
    for child in (one, two):
        assert repository.delete(f"manifests/{digest_of(child)}").status == 202
    assert repository.put("v1", index, INDEX_TYPE).status == 400
    for child in (one, two):
        assert repository.put(digest_of(child), child).status == 201
    assert repository.put("v1", index, INDEX_TYPE).status == 201


@pytest.mark.parametrize("who", ["bob", "alice"])
@pytest.mark.parametrize("state", ["locked", "released"])
def test_regctl_leaves_a_tag_that_it_cannot_delete_as_it_was(
    repository: Repository,
    api: Api,
    clients: Clients,
    one: Path,
    two: Path,
    registry_kind: str,
    who: str,
    state: str,
) -> None:
    """Debian's registry deletes no single tags, and regctl knows another way."""
    regctl, digest = clients.make(Regctl), digest_of_layout(one)
    succeed(regctl.log_in("bob"))
    for tag in ("v1", "v2"):
        succeed(regctl.push(one, f"{repository.name}:{tag}"))
    if state == "released":
        rows = api.call("GET", f"locked-tags?repository={repository.name}")["results"]
        (lock,) = [row for row in rows if row["tag"] == "v1"]
        api.call("POST", f"locked-tags/{lock['id']}/release", {"reason": "a better build"})
    succeed(regctl.log_in(who))
    done = regctl.delete(repository.name, "v1", digest)
    if who == "alice" and registry_kind == "distribution-3":
        succeed(done)
        assert api.locks_of(repository.name)["v1"] == ("reserved", digest)
        return
    fail_with(IMMUTABLE, done)
    assert repository.tags == {"v1": digest, "v2": digest}
    assert api.locks_of(repository.name)["v1"] == (state, digest)
    if state == "released":
        succeed(regctl.push(two, f"{repository.name}:v1"))
        assert api.locks_of(repository.name)["v1"] == ("locked", digest_of_layout(two))


def test_regctl_deletes_an_unprotected_tag(
    repository: Repository, clients: Clients, one: Path
) -> None:
    regctl, digest = clients.make(Regctl), digest_of_layout(one)
    succeed(regctl.log_in("bob"))
    for tag in ("latest", "next"):
        succeed(regctl.push(one, f"{repository.name}:{tag}"))
    succeed(regctl.delete(repository.name, "latest", digest))
    assert repository.tags == {"next": digest}


# ---- where all tags are protected ------------------------------------------------------------


@pytest.fixture(scope="module")
def all_protected(site: Site) -> None:
    """Globex protects all tags."""
    Api(site, workspace="globex").call(
        "PUT", "container-settings", {"protection": "all"}, If_Match="*"
    )


@pytest.fixture
def globex(site: Site, hidden: str, all_protected: None) -> Repository:
    """A repository of globex, where all tags are protected, as its admin Mallory sees it."""
    return Repository(site.port, f"globex/{hidden}", site.account("mallory"))


def test_signatures_are_written_again_beside_a_locked_image(globex: Repository) -> None:
    """As cosign does by default: one tag per image, whose manifest grows."""
    one = globex.make_image("one")
    assert globex.put("v1", one).status == 201
    for suffix in (".sig", ".att", ".sbom"):
        tag = digest_of(one).replace(":", "-") + suffix
        signatures = [globex.make_image(text) for text in ("first", "second")]
        assert [globex.put(tag, each).status for each in signatures] == [201, 201]
        assert globex.read(tag) == digest_of(signatures[1])
    assert globex.put("v1", globex.make_image("two")).status == 403


def test_oras_attaches_to_a_locked_image(
    globex: Repository,
    clients: Clients,
    one: Path,
    two: Path,
    tmp_path: Path,
) -> None:
    """Without an API of referrers oras keeps an index of them, and deletes the one before."""
    oras, name = clients.make(Oras), f"{globex.name}:v1"
    succeed(oras.log_in("mallory"))
    succeed(oras.push(one, name))
    for text in ("first", "second"):
        succeed(oras.attach(name, text, tmp_path))
    assert oras.count_attached(name) == 2
    assert globex.read("v1") == digest_of_layout(one)
    fail_with(IMMUTABLE, oras.push(two, name))


# ---- names of which nothing came ------------------------------------------------------------


def _with_layer(**layer: object) -> Callable[[Repository], tuple[bytes, str]]:
    def make(repository: Repository) -> tuple[bytes, str]:
        config = repository.upload(b"{}") | {"mediaType": DOCKER_CONFIG}
        layers = [{"digest": NOWHERE, "size": 7} | layer]
        document = {"schemaVersion": 2, "mediaType": DOCKER_IMAGE, "config": config}
        return to_json(document | {"layers": layers}), DOCKER_IMAGE

    return make


def _of_the_unknown(count: int) -> Callable[[Repository], tuple[bytes, str]]:
    def make(repository: Repository) -> tuple[bytes, str]:
        listed = [
            {"mediaType": DOCKER_IMAGE, "digest": f"sha256:{number:064x}", "size": 7}
            for number in range(count)
        ]
        document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed}
        return to_json(document), INDEX_TYPE

    return make


@pytest.mark.parametrize(
    "make_manifest",
    [
        # Both registries answer 500 to it.
        _with_layer(mediaType=FOREIGN_LAYER, urls=["https://a.example/"]),
        _with_layer(mediaType=DOCKER_LAYER),
        _of_the_unknown(1),
    ],
    ids=["foreign layers", "a missing layer", "an unknown child"],
)
def test_what_the_registry_does_not_take_leaves_the_name_free(
    repository: Repository, api: Api, make_manifest: Callable[[Repository], tuple[bytes, str]]
) -> None:
    _assert_leaves_the_name_free(repository, api, *make_manifest(repository))


# Once: it keeps a registry busy for a second.
@pytest.mark.parametrize("registry_kind", ["distribution-3"], indirect=True, scope="session")
def test_neither_does_a_refusal_that_is_larger_than_any_manifest_take_it(
    repository: Repository, api: Api
) -> None:
    _assert_leaves_the_name_free(repository, api, *_of_the_unknown(25_000)(repository))


def _assert_leaves_the_name_free(
    repository: Repository, api: Api, body: bytes, media_type: str
) -> None:
    refused: Answer = repository.put("v1", body, media_type)
    assert refused.status == 400, refused
    codes = {error["code"] for error in json.loads(refused.body)["errors"]}
    assert codes & {"MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID"}
    assert api.locks_of(repository.name) == {}
    good = repository.make_image("good")
    assert repository.put("v1", good).status == 201
    assert api.locks_of(repository.name) == {"v1": ("locked", digest_of(good))}
