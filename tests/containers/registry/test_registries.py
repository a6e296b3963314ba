"""The table of manifests, before real registries: what they take, we read or refuse on purpose."""

import pytest

from tests.containers.registry.conftest import BareRegistry
from tests.containers.registry.manifest_cases import (
    CASES,
    CONFIG_BLOB,
    IMAGE,
    LAYER_BLOB,
    Case,
)
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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_registry_takes_is_refused_only_on_purpose(
    repository: Repository, bare_registry: BareRegistry, case: Case
) -> None:
    is_taken = repository.put("v1", case.body, case.media_type).status == 201
    if is_taken:
        assert case.children is not None or case.why
    if case.why and bare_registry.name == "docker-registry":
        assert is_taken, "no reason is needed for what the registry refuses too"


def test_most_of_the_table_is_taken_or_refused_by_both(repository: Repository) -> None:
    """So that the test above compares something, whatever a registry is set up to refuse."""
    taken = [repository.put("v1", case.body, case.media_type).status == 201 for case in CASES]
    assert sum(taken) > len(CASES) / 3
    assert sum(not is_taken for is_taken in taken) > len(CASES) / 4
