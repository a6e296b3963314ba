"""Read a request's path: which repository and which reference. No Django.

A repository may itself be named `a/manifests/b` or `a/blobs/uploads`, so a path is split at its
last `/manifests/`.
"""

from dataclasses import dataclass

from containers.names import (
    Digest,
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_digest,
    parse_repository,
    parse_tag,
)

MAX_TAGS_PER_PUSH = 100


@dataclass(frozen=True)
class ManifestRoute:
    """A manifest's address."""

    repository: RepositoryName
    reference: TagName | Digest


def parse_route(path: str) -> ManifestRoute | None:
    """Parse `<repository>/manifests/<reference>`, which follows /v2/; None for any other path.

    Raises InvalidReferenceError if it is such an address with a bad name, tag or digest.
    """
    name, separator, reference = path.rpartition("/manifests/")
    if not separator or "/" in reference:
        return None
    return ManifestRoute(parse_repository(name), parse_reference(reference))


def parse_reference(text: str) -> TagName | Digest:
    """Parse a tag or a digest: only a digest has a colon. Raises InvalidReferenceError."""
    return parse_digest(text) if ":" in text else parse_tag(text)


def parse_tags(texts: list[str]) -> tuple[TagName, ...]:
    """Parse the tags of a push by digest, sorted and each once. Raises InvalidReferenceError."""
    if len(texts) > MAX_TAGS_PER_PUSH:
        raise InvalidReferenceError(
            "NAME_INVALID", f"A push has at most {MAX_TAGS_PER_PUSH} tags, not {len(texts)}."
        )
    return tuple(sorted({parse_tag(text) for text in texts}))
