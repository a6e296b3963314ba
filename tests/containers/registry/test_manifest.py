"""What manifests refer to, and what cannot be read."""

import json
import time
from typing import Any

import pytest

from containers.names import Digest
from containers.registry.manifest import (
    MAX_MANIFEST_BYTES,
    UnreadableManifestError,
    read_manifest,
)
from tests.conftest import AA, BB, CC
from tests.containers.registry.manifest_cases import CASES, Case

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def _to_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _descriptor(digest: str) -> dict[str, Any]:
    return {"mediaType": OCI_IMAGE, "digest": digest, "size": 1}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_manifest_is_read_or_refused(case: Case) -> None:
    """tests/containers/registry/test_registries.py asks real registries about the same table."""
    if case.children is None:
        with pytest.raises(UnreadableManifestError):
            read_manifest(case.body, case.media_type)
    else:
        facts = read_manifest(case.body, case.media_type)
        assert facts.children == tuple(map(Digest, case.children))


def test_media_type_and_size_are_kept() -> None:
    body = _to_json({"config": _descriptor(AA) | {"mediaType": "a/b"}, "layers": []})
    facts = read_manifest(body, OCI_IMAGE)
    assert (facts.media_type, facts.size) == (OCI_IMAGE, len(body))


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST, "application/json", ""])
def test_an_index_lists_its_children_in_order_and_each_once(media_type: str) -> None:
    body = _to_json({"manifests": [_descriptor(BB), _descriptor(AA), _descriptor(BB)]})
    assert read_manifest(body, media_type).children == (Digest(BB), Digest(AA))


@pytest.mark.parametrize(
    ("config", "layers", "expected"),
    [
        (3, [5, 7], 15),
        (3, [], 3),
        (None, [5], None),
        (3, [5, None], None),
        (3, ["5"], None),
        (3, [True], None),
        (3, [-5], None),
        (3, [2**50], None),
        (3, [10**30], None),
    ],
)
def test_an_image_is_as_large_as_all_that_it_lists(
    config: Any, layers: list[Any], expected: int | None
) -> None:
    def describe(size: Any) -> dict[str, Any]:
        return {"digest": AA} if size is None else {"digest": AA, "size": size}

    body = _to_json({"config": describe(config), "layers": [describe(each) for each in layers]})
    total = read_manifest(body, OCI_IMAGE).image_size
    assert total == (None if expected is None else expected + len(body))


def test_an_index_has_no_size_of_its_own() -> None:
    assert read_manifest(_to_json({"manifests": [_descriptor(AA)]}), OCI_INDEX).image_size is None


def test_a_subject_is_no_child() -> None:
    body = _to_json({"manifests": [_descriptor(AA)], "subject": _descriptor(CC)})
    facts = read_manifest(body, OCI_INDEX)
    assert (facts.children, facts.subject) == ((Digest(AA),), Digest(CC))


@pytest.mark.parametrize(
    ("document", "media_type", "is_schema_1"),
    [
        ({"schemaVersion": 1, "fsLayers": [{"blobSum": AA}]}, SCHEMA_1, True),
        ({"schemaVersion": 1, "fsLayers": [{"blobSum": AA}]}, "application/json", True),
        ({"fsLayers": None}, SCHEMA_1, True),
        ({"schemaVersion": 2, "manifests": []}, OCI_INDEX, False),
    ],
)
def test_docker_s_schema_1_is_known(
    document: dict[str, Any], media_type: str, *, is_schema_1: bool
) -> None:
    facts = read_manifest(_to_json(document), media_type)
    assert (facts.is_schema_1, facts.children) == (is_schema_1, ())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"manifests": [{"Digest": "x"}]}', 'write the key "Digest" as "digest"'),
        (b'{"a": 1, "a": 2}', 'an object has the key "a" twice'),
        (b'{"a": NaN}', "not JSON: NaN is not a number"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (101 * b"[" + 101 * b"]", "it is nested more than 100 deep, or does not end"),
        (b" " * (MAX_MANIFEST_BYTES + 1), f"it has more than {MAX_MANIFEST_BYTES} bytes"),
        (b'{"manifests": 5}', '"manifests" is not a list'),
    ],
    ids=lambda value: str(value[:20]),
)
def test_the_reason_says_what_to_change(body: bytes, reason: str) -> None:
    with pytest.raises(UnreadableManifestError) as caught:
        read_manifest(body, OCI_INDEX)
    assert str(caught.value) == reason


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [b'\\"', b"[", b"[]", b'"', b'{"a":', b'""', b"\\", b'{"a":{}},'], ids=repr
)
def test_the_largest_body_is_read_in_bounded_time(unit: bytes) -> None:
    """A generous bound: what grows with the square of the size takes hours."""
    body = b'{"a":"' + unit * (MAX_MANIFEST_BYTES // len(unit) - 6)
    started = time.monotonic()
    for each in (body, body[5:], body[6:]):
        with pytest.raises(UnreadableManifestError):
            read_manifest(each, OCI_INDEX)
    assert time.monotonic() - started < 30
