"""Read manifests: what a manifest refers to. No Django.

Source: https://github.com/opencontainers/image-spec/blob/main/image-index.md and manifest.md, and
Docker's manifest list and image manifest of schema version 2.

Registries that are written in Go match keys whatever their case (encoding/json, Unmarshal). What a
registry reads as a reference is read here too, or the manifest is refused: a reference that was
overlooked could be deleted from under a locked index.
"""

from dataclasses import dataclass
from typing import Any

from containers.names import Digest, InvalidReferenceError, parse_digest
from containers.registry.strict_json import InvalidJsonError, parse_json
from workspaces.text import quote

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
# A petabyte: no image has more, whatever a manifest says.
MAX_IMAGE_BYTES = 2**50

SCHEMA_1_MEDIA_TYPES = (
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
)

# Every kind of manifest. A registry that is asked without these may answer 404 for a manifest that
# it has, or convert one to another digest.
MANIFEST_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    *SCHEMA_1_MEDIA_TYPES,
)

_IMAGE_MEDIA_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)

# By these regctl deletes a tag where the registry cannot: it pushes an image over the tag, which it
# then deletes by digest. Its layer is said to be an archive, and is "{}", which no archive is.
_LAYER_MEDIA_TYPES = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)
_EMPTY_JSON_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

# The keys of manifests and descriptors, as the specifications write them.
_KEYS = frozenset(
    {
        "annotations",
        "artifactType",
        "blobSum",
        "blobs",
        "config",
        "data",
        "digest",
        "fsLayers",
        "history",
        "layers",
        "manifests",
        "mediaType",
        "platform",
        "schemaVersion",
        "signatures",
        "size",
        "subject",
        "urls",
    }
)
# Go folds these two to ASCII letters, and no other character from outside of ASCII.
_GO_FOLDS = str.maketrans({"\N{LATIN SMALL LETTER LONG S}": "s", "\N{KELVIN SIGN}": "k"})
_KEY_OF = {key.lower(): key for key in _KEYS}
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})


@dataclass(frozen=True)
class ManifestFacts:
    """What is known of a manifest: the manifests that it lists, and the one that it is about."""

    media_type: str
    size: int
    children: tuple[Digest, ...]
    subject: Digest | None
    # Docker's oldest format, whose digest is not that of its bytes.
    is_schema_1: bool = False
    # What a client pushes over a tag in order to delete it.
    is_placeholder: bool = False
    # The bytes of an image, which are its manifest, its config and its layers; None for an index,
    # and where a descriptor does not say its size.
    image_size: int | None = None


class UnreadableManifestError(ValueError):
    """The bytes are not a readable manifest: what it refers to is not known."""


def read_manifest(body: bytes, media_type: str) -> ManifestFacts:
    """Return what the manifest refers to. Raises UnreadableManifestError.

    An absent list and null are an empty list, as registries take them.
    """
    if len(body) > MAX_MANIFEST_BYTES:
        raise UnreadableManifestError(f"it has more than {MAX_MANIFEST_BYTES} bytes")
    try:
        document = parse_json(body)
    except InvalidJsonError as error:
        raise UnreadableManifestError(str(error)) from error
    if not isinstance(document, dict):
        raise UnreadableManifestError("not a JSON object")
    _require_spellings(document)
    kind = media_type.partition(";")[0].strip().lower()
    listed = [_digest_of(descriptor) for descriptor in _list_of(document, "manifests")]
    for blob in _blobs_of(document, kind):
        # A registry looks for these among its manifests, and clients may do so too.
        if blob.get("mediaType") in MANIFEST_MEDIA_TYPES:
            listed.append(_digest_of(blob))
        elif not blob.get("urls"):
            _digest_of(blob)
    subject = document.get("subject")
    return ManifestFacts(
        media_type=media_type,
        size=len(body),
        children=tuple(dict.fromkeys(listed)),
        subject=_digest_of(subject) if subject is not None else None,
        is_schema_1=kind in SCHEMA_1_MEDIA_TYPES or document.get("schemaVersion") == 1,
        is_placeholder=_is_placeholder(document),
        image_size=None if listed else _add_sizes(len(body), _blobs_of(document, kind)),
    )


def _add_sizes(manifest_size: int, blobs: list[dict[str, Any]]) -> int | None:
    """Return the bytes of a manifest and its blobs; None where they are not known."""
    # A larger number is read as 0, and true is no number.
    sizes = [size for blob in blobs if type(size := blob.get("size")) is int and size > 0]
    total = manifest_size + sum(sizes)
    is_known = blobs and len(sizes) == len(blobs) and total <= MAX_IMAGE_BYTES
    return total if is_known else None


def _is_placeholder(document: dict[str, Any]) -> bool:
    """Whether this is the image by which regctl deletes a tag (regclient, scheme/reg/tag.go)."""
    layers = _list_of(document, "layers")
    return (
        len(layers) == 1
        and layers[0].get("digest") == _EMPTY_JSON_DIGEST
        and layers[0].get("mediaType") in _LAYER_MEDIA_TYPES
    )


def _require_spellings(document: dict[str, Any]) -> None:
    """Raise UnreadableManifestError for a second spelling of a known key, at any depth.

    Not within annotations: their keys are free, and Go reads the keys of a map as they are.
    """
    pending: list[Any] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            for key, held in value.items():
                known = key if key in _KEYS else _KEY_OF.get(key.translate(_GO_FOLDS).lower(), key)
                if known != key:
                    raise UnreadableManifestError(f'write the key {quote(key)} as "{known}"')
                if key != "annotations":
                    pending.append(held)


def _blobs_of(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the descriptors of what an image consists of."""
    blobs = [*_list_of(document, "layers"), *_list_of(document, "blobs")]
    config = document.get("config")
    if config is not None:
        blobs.append(config)
    elif kind in _IMAGE_MEDIA_TYPES:
        raise UnreadableManifestError('"config" is missing')
    if not all(isinstance(blob, dict) for blob in blobs):
        raise UnreadableManifestError(
            'something in "config", "layers" or "blobs" is not a descriptor'
        )
    return blobs


def _list_of(document: dict[str, Any], key: str) -> list[Any]:
    listed = document.get(key)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise UnreadableManifestError(f'"{key}" is not a list')
    return listed


def _digest_of(descriptor: Any) -> Digest:
    if not isinstance(descriptor, dict) or not isinstance(descriptor.get("digest"), str):
        raise UnreadableManifestError("a descriptor without a digest")
    try:
        digest = parse_digest(descriptor["digest"])
    except InvalidReferenceError as error:
        raise UnreadableManifestError(error.message) from error
    if digest.value.partition(":")[0] not in _ALGORITHMS:
        raise UnreadableManifestError(f"{digest} uses an algorithm that registries do not know")
    return digest
