"""The gate before CNCF Distribution 3, which deletes single tags."""

from collections.abc import Iterator

import pytest

from tests.flows.asking import (
    IMMUTABLE,
    RESERVED,
    UNDELETABLE,
    Api,
    digest_of_layout,
    run_as_printed,
    skopeo_delete,
    skopeo_login,
    skopeo_push,
)
from tests.services.distribution import Distribution3
from tests.services.registry_user import Repository, send
from tests.services.site import Site, run_command

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def site(distribution_3: Distribution3) -> Iterator[Site]:
    site = Site(distribution_3.data_dir, distribution_3.edge_port, registry_url=distribution_3.url)
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def api(site: Site) -> Api:
    return Api(site)


def test_the_whole_life_of_a_locked_tag(site: Site, api: Api) -> None:
    api.call("PUT", "container-settings", {"protection": "all"}, If_Match="*")
    repository = Repository(site.port, "acme/api", site.account("bob"))
    digest = digest_of_layout(site.data_dir / "images" / "one")
    run_command(site.login)
    one, same, other = site.pushes[:3]
    run_command(one)
    run_command(same)
    refused = run_as_printed(other)
    assert refused.returncode != 0
    assert IMMUTABLE in refused.stderr
    assert repository.tags == {"v1.2.0": digest}

    (lock,) = api.call("GET", "locked-tags?repository=acme/api")["results"]
    answer = api.call("DELETE", f"locked-tags/{lock['id']}?name=reserve&reason=mistake")
    assert answer["locked_tag"]["state"] == "reserved"
    assert repository.tags == {}

    # Only the deleted image may come back.
    assert RESERVED in run_as_printed(other).stderr
    run_command(one)
    assert repository.tags == {"v1.2.0": digest}
    assert api.locks_of("acme/api") == {"v1.2.0": ("locked", digest)}


def test_an_admin_deletes_one_of_two_tags_of_an_image(site: Site, api: Api) -> None:
    """Through the registry, by tag: the other one stays, although the manifest is the same."""
    api.call("PUT", "container-settings", {"protection": "all"}, If_Match="*")
    bob = Repository(site.port, "acme/two-tags", site.account("bob"))
    alice = Repository(site.port, "acme/two-tags", site.account("alice"))
    one, two = bob.make_image("one"), bob.make_image("two")
    for tag in ("v1", "v2"):
        assert bob.put(tag, one).status == 201
    refused = bob.delete("manifests/v1")
    assert (refused.status, refused.code) == (403, "DENIED")
    assert UNDELETABLE in refused.error["message"]
    assert alice.delete("manifests/v1").status == 202
    assert set(bob.tags) == {"v2"}
    assert api.locks_of(bob.name)["v1"][0] == "reserved"
    assert api.locks_of(bob.name)["v2"][0] == "locked"
    assert RESERVED in bob.put("v1", two).error["message"]
    # skopeo deletes by digest, and with it every tag of the image.
    assert skopeo_login(site.port, "alice").returncode == 0
    done = skopeo_delete(site.port, f"{bob.name}:v2")
    assert done.returncode == 0, done.stderr
    assert bob.tags == {}
    assert {state for state, _ in api.locks_of(bob.name).values()} == {"reserved"}
    assert bob.put("v1", two).status == 403
    assert bob.put("v1", one).status == 201


def test_the_keys_of_tokens_are_changed_step_by_step(
    site: Site, api: Api, distribution_3: Distribution3
) -> None:
    api.call("PUT", "container-settings", {"protection": "all"}, If_Match="*")
    image = site.data_dir / "images" / "one"
    bob = site.account("bob")
    old = Repository(site.port, "acme/keys", bob).login
    tags = "/v2/acme/keys/tags/list"

    def restart() -> None:
        distribution_3.part.stop()
        distribution_3.part.start()

    def push(tag: str) -> None:
        """Log in and push as a person does, by the token service of this moment."""
        assert skopeo_login(site.port, "bob").returncode == 0
        done = skopeo_push(image, site.port, f"acme/keys:{tag}")
        assert done.returncode == 0, done.stderr

    site.manage("token_keys", "prepare")
    restart()
    push("v1")
    site.manage("token_keys", "use")
    push("v2")
    assert send(site.port, "GET", tags, headers=old).status == 200
    site.manage("token_keys", "retire")
    push("v3")
    # The gate reads the file anew, and the registry when it starts.
    anonymous = Repository(site.port, "acme/keys")
    assert anonymous.put("v4", b"{}", headers=old).status == 401
    restart()
    push("v4")
    assert send(site.port, "GET", tags, headers=old).status == 401
    assert set(api.locks_of("acme/keys")) == {"v1", "v2", "v3", "v4"}
