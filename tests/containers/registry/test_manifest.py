"""What manifests refer to, and what cannot be read."""

import json
from typing import Any

import pytest

from containers.reference import Digest
from containers.registry.manifest import UnreadableManifestError, read_manifest
from tests.conftest import AA, BB, CC

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def _to_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _descriptor(digest: str) -> dict[str, Any]:
    return {"mediaType": OCI_IMAGE, "digest": digest, "size": 1}


def test_an_image_lists_no_manifests() -> None:
    body = _to_json({"schemaVersion": 2, "config": _descriptor(AA), "layers": [_descriptor(BB)]})
    facts = read_manifest(body, OCI_IMAGE)
    assert (facts.children, facts.subject) == ((), None)
    assert (facts.media_type, facts.size) == (OCI_IMAGE, len(body))


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST, "application/json", ""])
def test_an_index_lists_its_children_in_order_and_each_once(media_type: str) -> None:
    body = _to_json({"manifests": [_descriptor(BB), _descriptor(AA), _descriptor(BB)]})
    assert read_manifest(body, media_type).children == (Digest(BB), Digest(AA))


def test_an_index_may_be_empty() -> None:
    assert read_manifest(b'{"manifests": []}', OCI_INDEX).children == ()


def test_a_subject_is_no_child() -> None:
    body = _to_json({"manifests": [_descriptor(AA)], "subject": _descriptor(CC)})
    facts = read_manifest(body, OCI_INDEX)
    assert (facts.children, facts.subject) == ((Digest(AA),), Digest(CC))


def test_a_list_within_a_descriptor_is_not_read() -> None:
    body = _to_json({"manifests": [_descriptor(AA) | {"manifests": [_descriptor(BB)]}]})
    assert read_manifest(body, OCI_INDEX).children == (Digest(AA),)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'"manifests"',
        b"5",
        b'{"manifests": [',
        b'{"manifests": null}',
        b'{"manifests": {}}',
        b'{"manifests": "x"}',
        b'{"manifests": [null]}',
        b'{"manifests": [5]}',
        b'{"manifests": [[]]}',
        b'{"manifests": [{}]}',
        b'{"manifests": [{"digest": null}]}',
        b'{"manifests": [{"digest": 5}]}',
        b'{"manifests": [{"digest": ["sha256:aa"]}]}',
        b'{"manifests": [{"digest": ""}]}',
        b'{"manifests": [{"digest": "v1"}]}',
        b'{"manifests": [{"digest": "sha256:aa"}]}',
        b'{"manifests": [{"digest": "\\ud800"}]}',
        _to_json({"manifests": [{"digest": AA + "\n"}]}),
        _to_json({"manifests": [{"digest": AA.upper()}]}),
        _to_json({"manifests": [_descriptor(AA), {"size": 1}]}),
        b'{"subject": 5}',
        b'{"subject": {}}',
        b'{"subject": {"digest": "x"}}',
        b'{"manifests": ' + 100_000 * b"[" + 100_000 * b"]" + b"}",
        100_000 * b'{"a":' + b"1" + 100_000 * b"}",
        b'{"a": ' + 5_000 * b"9" + b"}",
    ],
    ids=lambda body: str(body[:30]),
)
def test_what_cannot_be_read_is_said_and_not_taken_for_an_empty_list(body: bytes) -> None:
    with pytest.raises(UnreadableManifestError):
        read_manifest(body, OCI_INDEX)


@pytest.mark.parametrize("key", ["Manifests", "MANIFESTS", "manifeſts"])
def test_a_key_that_a_registry_reads_as_manifests_is_not_overlooked(key: str) -> None:
    """Registries in Go match the keys of JSON whatever their case (encoding/json, Unmarshal)."""
    try:
        facts = read_manifest(_to_json({key: [_descriptor(AA)]}), OCI_INDEX)
    except UnreadableManifestError:
        return
    assert facts.children == (Digest(AA),)
