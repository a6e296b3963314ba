"""Read manifests: what a manifest refers to. No Django.

Source: https://github.com/opencontainers/image-spec/blob/main/image-index.md and manifest.md, and
Docker's manifest list and image manifest of schema version 2.
"""

import json
from dataclasses import dataclass
from typing import Any

from containers.reference import Digest, InvalidReferenceError, parse_digest

MAX_MANIFEST_BYTES = 4 * 1024 * 1024

# Every kind of manifest. A registry that is asked without these may answer 404 for a manifest that
# it has, or convert one to another digest.
MANIFEST_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
)


_KEYS = frozenset({"manifests", "config", "layers", "subject"})
_INDEX = ("manifests",)
_IMAGE = ("config", "layers")
# Without these a registry may fail (500) instead of refusing, and nobody learns what it did.
_REQUIRED = {
    "application/vnd.oci.image.index.v1+json": _INDEX,
    "application/vnd.docker.distribution.manifest.list.v2+json": _INDEX,
    "application/vnd.oci.image.manifest.v1+json": _IMAGE,
    "application/vnd.docker.distribution.manifest.v2+json": _IMAGE,
}


@dataclass(frozen=True)
class ManifestFacts:
    """What is known of a manifest: the manifests that it lists, and the one that it is about."""

    media_type: str
    size: int
    children: tuple[Digest, ...]
    subject: Digest | None


class UnreadableManifestError(ValueError):
    """The bytes are no manifest that can be read, so nobody knows what it refers to."""


def read_manifest(body: bytes, media_type: str) -> ManifestFacts:
    """Return what the manifest refers to. Raises UnreadableManifestError."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableManifestError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UnreadableManifestError("not a JSON object")
    _require_shape(document, media_type)
    listed = document.get("manifests", [])
    if not isinstance(listed, list):
        raise UnreadableManifestError('"manifests" is not a list')
    children = tuple(dict.fromkeys(_digest_of(descriptor) for descriptor in listed))
    subject = document.get("subject")
    return ManifestFacts(
        media_type=media_type,
        size=len(body),
        children=children,
        subject=_digest_of(subject) if subject is not None else None,
    )


def _require_shape(document: dict[str, Any], media_type: str) -> None:
    for key in document:
        # Registries that are written in Go read a key in any case, and we must not overlook it.
        if key.casefold() in _KEYS and key not in _KEYS:
            raise UnreadableManifestError(f'"{key}" is no key of a manifest')
    for name in _REQUIRED.get(media_type.partition(";")[0].strip().lower(), ()):
        if name not in document:
            raise UnreadableManifestError(f'"{name}" is missing')
    if "config" in document and "layers" in document and isinstance(document["layers"], list):
        for descriptor in [document["config"], *document["layers"]]:
            _digest_of(descriptor)


def _digest_of(descriptor: Any) -> Digest:
    if not isinstance(descriptor, dict) or not isinstance(descriptor.get("digest"), str):
        raise UnreadableManifestError("a descriptor without a digest")
    try:
        digest = parse_digest(descriptor["digest"])
    except InvalidReferenceError as error:
        raise UnreadableManifestError(error.message) from error
    if digest.value.partition(":")[0] not in ("sha256", "sha384", "sha512"):
        raise UnreadableManifestError(f"{digest} is by no algorithm that registries know")
    return digest
