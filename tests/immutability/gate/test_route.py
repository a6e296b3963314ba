"""Paths, split at their last /manifests/, and the references at their end."""

import pytest

from containers.names import Digest, InvalidReferenceError, RepositoryName, TagName
from immutability.gate.route import (
    MAX_TAGS_PER_PUSH,
    ManifestRoute,
    parse_reference,
    parse_route,
    parse_tags,
)
from tests.conftest import AA

SHA512 = "sha512:" + 128 * "a"


@pytest.mark.parametrize(
    ("path", "repository", "reference"),
    [
        ("acme/api/manifests/v1", "acme/api", TagName("v1")),
        ("acme/a/b/c/manifests/v1", "acme/a/b/c", TagName("v1")),
        (f"acme/api/manifests/{AA}", "acme/api", Digest(AA)),
        (f"acme/api/manifests/{SHA512}", "acme/api", Digest(SHA512)),
        ("acme/api/manifests/manifests", "acme/api", TagName("manifests")),
        ("acme/manifests/manifests/v1", "acme/manifests", TagName("v1")),
        ("acme/a/manifests/b/manifests/v1", "acme/a/manifests/b", TagName("v1")),
        ("acme/a/blobs/uploads/manifests/v1", "acme/a/blobs/uploads", TagName("v1")),
        ("acme/tags/list/manifests/v1", "acme/tags/list", TagName("v1")),
        ("acme/api/manifests/_v1.2-3", "acme/api", TagName("_v1.2-3")),
        ("acme/api/manifests/" + 128 * "a", "acme/api", TagName(128 * "a")),
        ("acme/a--b__c.d/manifests/v1", "acme/a--b__c.d", TagName("v1")),
    ],
)
def test_an_address_has_a_repository_and_a_reference(
    path: str, repository: str, reference: TagName | Digest
) -> None:
    assert parse_route(path) == ManifestRoute(RepositoryName(repository), reference)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "acme/api",
        "acme/api/manifests",
        "/manifests",
        "manifests/v1",
        "acme/api/manifests/v1/",
        "acme/api/manifests/a/b",
        "acme/api/manifest/v1",
        "acme/api/Manifests/v1",
        "acme/api/tags/list",
        "acme/api/blobs/uploads/",
        "acme/api/manifests/v1/../../blobs/uploads/x",
        "acme%2Fapi%2Fmanifests%2Fv1",
    ],
)
def test_any_other_path_is_no_manifests_address(path: str) -> None:
    assert parse_route(path) is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/manifests/v1", "NAME_INVALID"),
        ("/acme/api/manifests/v1", "NAME_INVALID"),
        ("acme//api/manifests/v1", "NAME_INVALID"),
        ("acme/api//manifests/v1", "NAME_INVALID"),
        ("acme/./api/manifests/v1", "NAME_INVALID"),
        ("acme/../globex/manifests/v1", "NAME_INVALID"),
        ("Acme/api/manifests/v1", "NAME_INVALID"),
        ("acme/Api/manifests/v1", "NAME_INVALID"),
        ("acme/api\n/manifests/v1", "NAME_INVALID"),
        ("acme%2Fapi/manifests/v1", "NAME_INVALID"),
        ("acme/a%2Fb/manifests/v1", "NAME_INVALID"),
        ("acme/-a/manifests/v1", "NAME_INVALID"),
        ("acme/äpi/manifests/v1", "NAME_INVALID"),
        ("acme/api١/manifests/v1", "NAME_INVALID"),
        (f"acme/{251 * 'a'}/manifests/v1", "NAME_INVALID"),
        ("acme/api/manifests/", "NAME_INVALID"),
        ("acme/api/manifests/v1\n", "NAME_INVALID"),
        ("acme/api/manifests/ v1", "NAME_INVALID"),
        ("acme/api/manifests/v1%0A", "NAME_INVALID"),
        ("acme/api/manifests/..", "NAME_INVALID"),
        ("acme/api/manifests/.", "NAME_INVALID"),
        ("acme/api/manifests/-v1", "NAME_INVALID"),
        ("acme/api/manifests/v1+x", "NAME_INVALID"),
        ("acme/api/manifests/v1\x00", "NAME_INVALID"),
        ("acme/api/manifests/v１", "NAME_INVALID"),
        ("acme/api/manifests/" + 129 * "a", "NAME_INVALID"),
        ("acme/api/manifests/:", "DIGEST_INVALID"),
        ("acme/api/manifests/v1:", "DIGEST_INVALID"),
        ("acme/api/manifests/sha256:", "DIGEST_INVALID"),
        ("acme/api/manifests/sha256:abc", "DIGEST_INVALID"),
        (f"acme/api/manifests/{AA.upper()}", "DIGEST_INVALID"),
        (f"acme/api/manifests/{AA}\n", "DIGEST_INVALID"),
        (f"acme/api/manifests/{AA}a", "DIGEST_INVALID"),
        (f"acme/api/manifests/{AA}:v1", "DIGEST_INVALID"),
        (f"acme/api/manifests/v1@{AA}", "DIGEST_INVALID"),
    ],
)
def test_a_bad_name_or_reference_is_said_with_its_code(path: str, code: str) -> None:
    with pytest.raises(InvalidReferenceError) as raised:
        parse_route(path)
    assert raised.value.code == code


def test_only_a_digest_has_a_colon() -> None:
    assert parse_reference(AA) == Digest(AA)
    assert parse_reference(AA.replace(":", "-")) == TagName(AA.replace(":", "-"))


def test_tags_are_sorted_and_each_comes_once() -> None:
    assert parse_tags(["b", "a", "b"]) == (TagName("a"), TagName("b"))
    assert parse_tags([]) == ()


def test_a_push_has_no_more_tags_than_the_limit() -> None:
    most = [f"t{number}" for number in range(MAX_TAGS_PER_PUSH)]
    assert len(parse_tags(most)) == MAX_TAGS_PER_PUSH
    with pytest.raises(InvalidReferenceError, match=f"at most {MAX_TAGS_PER_PUSH} tags"):
        parse_tags([*most, "one-more"])


@pytest.mark.parametrize("bad", ["", "a b", "a:b", "a\n", "a/b"])
def test_one_bad_tag_spoils_them_all(bad: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_tags(["good", bad])
