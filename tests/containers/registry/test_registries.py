"""The table of manifests, before real registries: what they take, we read or refuse on purpose."""

import pytest

from tests.containers.registry.conftest import BareRegistry
from tests.containers.registry.manifest_cases import (
    CASES,
    CONFIG_BLOB,
    IMAGE,
    LAYER_BLOB,
)
from tests.problems import Complaints
from tests.services.registry_user import Repository, digest_of

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def repository(bare_registry: BareRegistry) -> Repository:
    """A repository that has what the table's manifests need."""
    repository = bare_registry.repository("acme/table")
    for blob in (CONFIG_BLOB, LAYER_BLOB, IMAGE):
        repository.upload(blob)
    assert repository.put(digest_of(IMAGE), IMAGE).status == 201
    return repository


def test_what_a_registry_takes_is_refused_only_on_purpose(
    repository: Repository, bare_registry: BareRegistry
) -> None:
    complaints, count_taken = Complaints(), 0
    for case in CASES:
        is_taken = repository.put("v1", case.body, case.media_type).status == 201
        count_taken += is_taken
        with complaints.about(case.name):
            if is_taken:
                assert case.children is not None or case.why
            if case.why and bare_registry.name == "docker-registry":
                assert is_taken, "no reason is needed for what the registry refuses too"
    assert not complaints
    # So that this compares something, whatever a registry is set up to refuse.
    assert len(CASES) / 3 < count_taken < len(CASES) * 3 / 4
