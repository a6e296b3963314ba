"""Going through what real registries have, page by page."""

from collections.abc import Iterator

import pytest

from containers.catalog import iterate_repositories, iterate_tags
from containers.names import RepositoryName
from containers.registry.client import RegistryClient
from containers.tokens.tokens import TAGLOCK
from packages_site.local import find_free_ports, registry_command
from tests.services import registry_user
from tests.services.accounts import Account, OwnKeys, bundle_of, taglocks_own
from tests.services.parts import Part, is_answering

pytestmark = [pytest.mark.process, pytest.mark.django_db]

# More than a page of them, and neighbours that some orders put between the two slashes.
NAMES = ["acme", *(f"acme/r{number:03}" for number in range(105))]
NEIGHBOURS = ["acm/a", "acme-x/a", "acme.x/a", "acme0/a", "acmf/a", "zebra/a"]
TAGS = [f"v{number:03}" for number in range(105)]


@pytest.fixture(scope="module")
def debians_registry(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, OwnKeys]]:
    """Its address, and the keys that it believes."""
    folder = tmp_path_factory.mktemp("catalog")
    keys = OwnKeys()
    (port,) = find_free_ports(1)
    url = f"http://127.0.0.1:{port}"
    registry = Part(
        registry_command(folder, port, bundle_of(keys), "http://127.0.0.1:8000"),
        folder / "registry.out",
        is_ready=lambda: is_answering(f"{url}/v2/"),
    )
    registry.start()
    try:
        yield url, keys
    finally:
        registry.stop()


@pytest.fixture(scope="module", params=["docker-registry", "distribution-3"])
def client(request: pytest.FixtureRequest) -> RegistryClient:
    """A registry in which all of this has been pushed."""
    if request.param == "docker-registry":
        url, keys = request.getfixturevalue("debians_registry")
    else:
        registry = request.getfixturevalue("distribution_3")
        url, keys = registry.url, registry.keys
    port, account = int(url.rpartition(":")[2]), Account(keys, TAGLOCK)
    for name in [*NAMES, *NEIGHBOURS]:
        repository = registry_user.Repository(port, name, account)
        assert repository.put("v000", repository.make_image("one")).status == 201
    tagged = registry_user.Repository(port, NAMES[0], account)
    image = tagged.make_image("one")
    for tag in TAGS:
        assert tagged.put(tag, image).status == 201
    return RegistryClient(url, authorize=taglocks_own(keys))


def test_every_repository_of_a_workspace_is_found_and_none_of_another(
    client: RegistryClient,
) -> None:
    assert sorted(each.name for each in iterate_repositories(client, "acme")) == NAMES
    assert [each.name for each in iterate_repositories(client, "acm")] == ["acm/a"]
    assert [each.name for each in iterate_repositories(client, "zebra")] == ["zebra/a"]
    assert list(iterate_repositories(client, "nobody")) == []


def test_it_goes_on_behind_a_repository(client: RegistryClient) -> None:
    found = [each.name for each in iterate_repositories(client, "acme")]
    behind = [each.name for each in iterate_repositories(client, "acme", found[50])]
    assert behind == found[51:]
    assert list(iterate_repositories(client, "acme", found[-1])) == []


def test_every_tag_is_found_from_the_start_and_from_behind_one(client: RegistryClient) -> None:
    repository = RepositoryName(NAMES[0])
    assert [tag.name for tag in iterate_tags(client, repository)] == TAGS
    assert [tag.name for tag in iterate_tags(client, repository, TAGS[101])] == TAGS[102:]
    assert list(iterate_tags(client, RepositoryName("acme/nothing"))) == []
