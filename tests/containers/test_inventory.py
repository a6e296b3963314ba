"""What manifests list: ancestors, descendants, and lists that are not known."""

import pytest

from containers.inventory import (
    find_all_ancestors,
    find_ancestors,
    find_descendants,
    find_unknown,
    record_manifest,
)
from containers.models import Manifest, ManifestReference
from containers.names import Digest, RepositoryName
from containers.registry.manifest import ManifestFacts
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

API = RepositoryName("acme/api")


def _digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


def _record(
    workspace: Workspace, parent: int, *children: int, repository: RepositoryName = API
) -> None:
    facts = ManifestFacts("type", 7, tuple(_digest(child) for child in children), None)
    record_manifest(workspace, repository, _digest(parent), facts)


def _ancestors(workspace: Workspace, number: int) -> set[Digest]:
    return find_ancestors(workspace, API, _digest(number))


def _unknown(workspace: Workspace, *numbers: int) -> set[Digest]:
    return find_unknown(workspace, API, [_digest(number) for number in numbers])


def test_every_manifest_that_lists_another_is_its_ancestor_to_any_depth(acme: Workspace) -> None:
    depth = 30
    for number in range(1, depth):
        _record(acme, number, number + 1)
    assert _ancestors(acme, depth) == {_digest(number) for number in range(1, depth)}
    assert _ancestors(acme, 1) == set()
    assert find_descendants(acme, API, {_digest(1)}) == {
        _digest(number) for number in range(1, depth + 1)
    }


def test_the_ancestors_of_several_are_found_at_once(acme: Workspace) -> None:
    _record(acme, 1, 2)
    _record(acme, 3, 4)
    _record(acme, 5, 3)
    several = {_digest(number).value for number in (2, 4, 9)}
    assert find_all_ancestors(acme, API, several) == {_digest(number).value for number in (1, 3, 5)}
    assert find_all_ancestors(acme, API, set()) == set()


def test_a_child_has_every_parent(acme: Workspace) -> None:
    _record(acme, 1, 3)
    _record(acme, 2, 3, 4)
    assert _ancestors(acme, 3) == {_digest(1), _digest(2)}
    assert _ancestors(acme, 4) == {_digest(2)}


def test_a_circle_comes_to_an_end(acme: Workspace) -> None:
    _record(acme, 1, 2)
    _record(acme, 2, 3)
    _record(acme, 3, 1, 3)
    everyone = {_digest(1), _digest(2), _digest(3)}
    assert _ancestors(acme, 1) == everyone
    assert _unknown(acme, 1) == set()


def test_other_repositories_and_workspaces_do_not_count(acme: Workspace, globex: Workspace) -> None:
    _record(acme, 1, 2, repository=RepositoryName("acme/web"))
    _record(globex, 3, 2)
    assert _ancestors(acme, 2) == set()
    assert _unknown(acme, 1, 3) == {_digest(1), _digest(3)}


def test_what_was_never_read_is_unknown_to_any_depth(acme: Workspace) -> None:
    _record(acme, 1, 2, 3)
    _record(acme, 2, 4)
    assert _unknown(acme, 1) == {_digest(3), _digest(4)}
    assert _unknown(acme, 5) == {_digest(5)}
    assert _unknown(acme) == set()
    for number in (3, 4):
        _record(acme, number)
    assert _unknown(acme, 1) == set()


def test_recording_a_manifest_again_changes_nothing(acme: Workspace) -> None:
    for _ in range(2):
        _record(acme, 1, 2, 3)
    assert Manifest.objects.count() == 1
    assert ManifestReference.objects.count() == 2


def test_an_index_with_many_children_is_read_at_once(acme: Workspace) -> None:
    many = range(2, 3002)
    _record(acme, 1, *many)
    assert len(_unknown(acme, 1)) == len(many)
    assert _ancestors(acme, 3001) == {_digest(1)}
