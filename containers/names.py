"""The names of the OCI distribution-spec: repository, tag and digest.

Text is parsed once, where it comes in; inward, only these values travel. No Django here.
Source of the grammar: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"Pulling manifests", and https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"Digests".
"""

import re
from dataclasses import dataclass

from workspaces.text import quote

MAX_REPOSITORY_LENGTH = 255
MAX_TAG_LENGTH = 128
MAX_DIGEST_LENGTH = 256

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", re.ASCII)
_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)

# Signing tools keep signatures, attestations and referrer lists under tags made of the signed
# image's digest, and rewrite them: cosign with a suffix, OCI 1.1 clients without. The latter take
# an algorithm, a hyphen, and the digest's encoded part cut to 64 characters (distribution-spec,
# "Referrers Tag Schema"). Only algorithms that registries know: any other word before a hyphen may
# be someone's own tag, such as release-<commit>.
_SIGNATURE_TAG = re.compile(
    r"(?:sha384|sha512|blake3)-[0-9a-f]{64}|sha256-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?", re.ASCII
)


class InvalidReferenceError(ValueError):
    """A text is not a repository name, tag or digest. `code` is the OCI error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, order=True)
class RepositoryName:
    """A repository's full name, such as "acme/api"."""

    name: str

    @property
    def first_part(self) -> str:
        return self.name.partition("/")[0]

    def is_under(self, prefix: str) -> bool:
        """Whether the name is `prefix`, or begins with it and a slash."""
        return f"{self.name}/".startswith(f"{prefix}/")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, order=True)
class TagName:
    """A tag's name."""

    name: str

    @property
    def is_signature(self) -> bool:
        """Whether signing tools write, and rewrite, this tag."""
        return _SIGNATURE_TAG.fullmatch(self.name) is not None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, order=True)
class Digest:
    """A manifest's digest."""

    value: str

    @property
    def short(self) -> str:
        """The algorithm and the first twelve characters, for people."""
        algorithm, _, encoded = self.value.partition(":")
        return self.value if len(encoded) <= 12 else f"{algorithm}:{encoded[:12]}…"

    def __str__(self) -> str:
        return self.value


def parse_repository(text: str) -> RepositoryName:
    """Parse the full name of a repository, such as "acme/api".

    Raises InvalidReferenceError (NAME_INVALID).
    """
    if len(text) > MAX_REPOSITORY_LENGTH:
        raise InvalidReferenceError(
            "NAME_INVALID",
            f"The repository name has {len(text)} characters; at most {MAX_REPOSITORY_LENGTH} "
            "are allowed.",
        )
    if not _REPOSITORY.fullmatch(text):
        raise InvalidReferenceError(
            "NAME_INVALID",
            f"{quote(text)} is not a repository name: use lower-case letters and digits, "
            "separated by dots, underscores, hyphens and slashes.",
        )
    return RepositoryName(text)


def parse_tag(text: str) -> TagName:
    """Parse a tag such as "v1.2.0". Raises InvalidReferenceError (NAME_INVALID)."""
    if len(text) > MAX_TAG_LENGTH:
        raise InvalidReferenceError(
            "NAME_INVALID",
            f"The tag has {len(text)} characters; at most {MAX_TAG_LENGTH} are allowed.",
        )
    if not _TAG.fullmatch(text):
        raise InvalidReferenceError(
            "NAME_INVALID",
            f"{quote(text)} is not a tag: use letters, digits, underscores, dots and hyphens, "
            "and begin with a letter, a digit or an underscore.",
        )
    return TagName(text)


def parse_digest(text: str) -> Digest:
    """Parse a digest such as "sha256:…". Raises InvalidReferenceError (DIGEST_INVALID)."""
    if len(text) > MAX_DIGEST_LENGTH or not _DIGEST.fullmatch(text):
        raise InvalidReferenceError(
            "DIGEST_INVALID",
            f"{quote(text)} is not a digest: write an algorithm, a colon and the hash, like "
            "sha256: and 64 hexadecimal digits.",
        )
    algorithm, _, encoded = text.partition(":")
    length = _HEX_LENGTH.get(algorithm)
    if length is not None and (len(encoded) != length or not _HEX.fullmatch(encoded)):
        raise InvalidReferenceError(
            "DIGEST_INVALID",
            f"{quote(text)} is not a {algorithm} digest: {length} lower-case hexadecimal digits "
            f"are needed after the colon, not these {len(encoded)} characters.",
        )
    return Digest(text)
