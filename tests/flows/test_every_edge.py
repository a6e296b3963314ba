"""A newcomer's push and its refusal through each edge that is not nginx."""

from pathlib import Path

import pytest

from tests.deploy.edges import COMMANDS, run_edge
from tests.flows.asking import IMMUTABLE, Api, skopeo_login, skopeo_push
from tests.services.registry_user import Repository
from tests.services.site import Site

pytestmark = pytest.mark.process


@pytest.mark.parametrize("registry_kind", ["docker-registry"], indirect=True, scope="session")
@pytest.mark.parametrize("kind", [kind for kind in COMMANDS if kind != "nginx"])
def test_a_pushed_image_cannot_be_replaced(
    repository: Repository, api: Api, site: Site, kind: str, tmp_path: Path
) -> None:
    images, target = site.data_dir / "images", f"{repository.name}:v1"
    with run_edge(kind, tmp_path, **site.ports_behind) as ports:
        assert skopeo_login(ports.plain, "bob").returncode == 0
        assert skopeo_push(images / "one", ports.plain, target).returncode == 0
        refused = skopeo_push(images / "two", ports.plain, target)
        assert refused.returncode != 0
        assert f"{target.replace(':v1', '')} {IMMUTABLE}" in refused.stderr.replace('\\"', '"')
        through = Repository(ports.plain, repository.name, repository.account)
        assert through.tags == repository.tags
    assert api.locks_of(repository.name) == {"v1": ("locked", repository.read("v1"))}
