"""OCI's conformance suite: what passes at a registry passes through Taglock, but for what is named.

In each way of keeping accounts: Taglock's tokens before Distribution 3, and the two others before
Debian's registry, with the tokens of another service and with a file of passwords. In the last of
them all tags are protected.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from immutability.policy.protection import Protection
from tests.conftest import protect_workspace, skip_or_fail
from tests.flows.asking import Api
from tests.services.conformance import Report, run_suite
from tests.services.front import running_edge, standing_before
from tests.services.registries import PUSHER, AnyRegistry, has_docker_registry, running_registry
from tests.services.site import Site
from workspaces.models import User, Workspace

pytestmark = pytest.mark.process

# What Taglock answers otherwise than the registry by design, and why.
EXCEPTIONS = {
    "*/blob-delete": "blobs are never deleted through the edge, which says so: 405",
    "tag-param-sha256/push/manifest-by-tag": "done where no push takes `?tag=`; Taglock does",
}
# Under the tags of others: `index`, `image` and `tagged-artifact`.
SECOND_PUSHES = ("empty-index", "artifacts-with-subject", "index-with-subject", "missing-subject")
# What is refused as well, and what follows from it, where all tags are protected.
LOCKED = {
    "*/delete/manifest-delete": "what a locked tag needs is not deleted",
    "*/tag-list": "locked tags are still there, and the suite wants pages, which Debian's has not",
    **{
        f"{each}/*/manifest*-by-tag": "a locked tag is not moved, so another image is found there"
        for each in SECOND_PUSHES
    },
}


def _assert_only(lost: set[str], exceptions: dict[str, str]) -> None:
    """Assert that each lost test is an exception, and that each exception is needed."""
    unexpected = {name for name in lost if not any(fnmatch(name, each) for each in exceptions)}
    assert unexpected == set()
    unneeded = {each for each in exceptions if not any(fnmatch(name, each) for name in lost)}
    assert unneeded == set()


@pytest.mark.parametrize("registry_kind", ["distribution-3"], indirect=True, scope="session")
def test_what_passes_at_distribution_3_passes_with_taglocks_tokens(
    site: Site, api: Api, tmp_path: Path
) -> None:
    registry = run_suite(site.registry_port, "acme/bare", "bob", tmp_path / "registry")
    taglock = run_suite(site.port, "acme/conformance", "bob", tmp_path / "taglock")
    _assert_only(registry.find_lost(taglock), EXCEPTIONS)


@contextmanager
def _debians_registry(kind: str, folder: Path) -> Iterator[AnyRegistry]:
    if not has_docker_registry():
        skip_or_fail("Debian's docker-registry and nginx")
    with running_registry(kind, folder / "registry") as registry:
        yield registry


@pytest.fixture(scope="module")
def at_debians_registry(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What passes at the registry itself."""
    folder = tmp_path_factory.mktemp("at-registry")
    with _debians_registry("htpasswd", folder) as registry:
        port = urlsplit(registry.url).port or 0
        return run_suite(port, "acme/bare", PUSHER, folder / "report")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "accounts", "username", "protection"),
    [
        ("token", "registry", PUSHER, Protection.NONE),
        ("htpasswd", "taglock", "bob", Protection.ALL),
    ],
)
def test_what_passes_at_debians_registry_passes_with_other_accounts(
    at_debians_registry: Report,
    kind: str,
    accounts: str,
    username: str,
    protection: Protection,
    acme: Workspace,
    bob: User,
    live_server: Any,
    settings: Any,
    tmp_path: Path,
) -> None:
    with (
        _debians_registry(kind, tmp_path) as registry,
        running_edge(tmp_path, registry, live_server.url, accounts) as port,
        standing_before(registry, settings, accounts=accounts, port=port),
    ):
        protect_workspace(acme, protection)
        taglock = run_suite(port, "acme/conformance", username, tmp_path / "report")
    exceptions = EXCEPTIONS | LOCKED if protection == Protection.ALL else EXCEPTIONS
    _assert_only(at_debians_registry.find_lost(taglock), exceptions)
