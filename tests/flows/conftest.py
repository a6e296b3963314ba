"""A whole Taglock before either registry; clients log in where nobody else's logins are."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REGISTRY_KINDS, skip_or_fail
from tests.flows.asking import Api
from tests.flows.clients import build_clients
from tests.services.accounts import Account
from tests.services.distribution import Distribution3, running_distribution_3
from tests.services.registry_user import Repository
from tests.services.site import Site, make_data_dir


@pytest.fixture(autouse=True)
def auth_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where skopeo keeps this test's logins; the other clients keep theirs beside it."""
    path = tmp_path / "auth" / "auth.json"
    path.parent.mkdir()
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    monkeypatch.setenv("DOCKER_CONFIG", str(path.parent))
    monkeypatch.setenv("REGCTL_CONFIG", str(path.parent / "regctl.json"))
    monkeypatch.setenv("HELM_REGISTRY_CONFIG", str(path.parent / "helm.json"))
    for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"):
        monkeypatch.setenv(name, str(path.parent))
    return path


@pytest.fixture(scope="session")
def programs() -> None:
    """Skip, or fail in CI, where a program is missing."""
    for program, package in (
        ("skopeo", "Debian's skopeo"),
        ("curl", "curl"),
        ("docker-registry", "Debian's docker-registry"),
        ("nginx", "Debian's nginx"),
    ):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            skip_or_fail(package)


@pytest.fixture(scope="session")
def built() -> dict[str, str]:
    """crane, oras, regctl and helm, by name."""
    return build_clients()


@pytest.fixture(scope="session", params=REGISTRY_KINDS)
def registry_kind(request: pytest.FixtureRequest) -> str:
    """Which registry it is: Debian's 2.8.2, which deletes no single tags, or Distribution 3.

    All tests before the same one share what is started, and a worker.
    """
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
def distribution_3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution3]:
    """The registry of Distribution 3."""
    with running_distribution_3(tmp_path_factory.mktemp("distribution-3")) as registry:
        yield registry


@pytest.fixture(scope="session")
def site(
    programs: None,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    registry_kind: str,
) -> Iterator[Site]:
    """A whole Taglock before either registry, started once for all tests of this folder."""
    settings = "tests.services.shared_site"
    if registry_kind == "docker-registry":
        site = Site(make_data_dir(tmp_path_factory.mktemp("site") / "data"), settings=settings)
    else:
        registry = request.getfixturevalue("distribution_3")
        site = Site(
            registry.data_dir, registry.edge_port, registry_url=registry.url, settings=settings
        )
        registry.trust(site)
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="session")
def api(site: Site) -> Api:
    """Acme's API. Every tag of acme that begins with v is protected, and every chart's."""
    api = Api(site)
    api.protect(
        [
            {"name": "Versions", "pattern": "^v"},
            {"name": "Charts", "pattern": r"^\d+\.\d+\.\d+$"},
        ]
    )
    return api


@pytest.fixture(scope="session")
def account(site: Site) -> Account:
    """Bob, a member of acme."""
    return site.account("bob")


@pytest.fixture
def repository(
    site: Site, api: Api, account: Account, request: pytest.FixtureRequest
) -> Repository:
    """A repository of the test's own, as Bob sees it."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return Repository(site.port, f"acme/r{name}", account)
