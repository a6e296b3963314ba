"""Read what someone types or pastes into a search box for tags. No Django.

Anything that Taglock, registries and their clients print of an image can be pasted: a reference
with or without the registry's address, a digest or its beginning, an address, a whole refusal.
"""

import re
from dataclasses import dataclass

# A refusal that is pasted whole fits.
MAX_SEARCH_LENGTH = 1000
# Fewer hexadecimal digits are only looked for in names.
MIN_HEX_LENGTH = 6

_REPOSITORY = r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
_DIGEST = r"sha(?:256|512):[0-9a-f]+"

# What Taglock's messages say, and the addresses of registries and of Taglock's pages.
_MESSAGES = (
    re.compile(rf'\btag \\?"(?P<tag>{_TAG})\\?" of (?P<repository>{_REPOSITORY})'),
    re.compile(rf'(?P<repository>{_REPOSITORY}) has no tag \\?"(?P<tag>{_TAG})\\?"'),
)
_MANIFEST_ADDRESS = re.compile(
    rf"/v2/(?P<repository>{_REPOSITORY})/manifests/(?:(?P<digest>{_DIGEST})|(?P<tag>{_TAG}))"
)
_PAGE_ADDRESS = re.compile(rf"/repositories/(?P<repository>{_REPOSITORY})(?::(?P<tag>{_TAG}))?")

_SCHEME = re.compile(r"[a-z][a-z0-9+-]*://", re.IGNORECASE)
# How Docker tells a registry's address from the first part of a repository's name.
_HOST = re.compile(r"(?:localhost|[^/:]*\.[^/:]*|[^/:]+(?=:))(?::[0-9]+)?/", re.I)
_WITH_ALGORITHM = re.compile(r"@?(sha(?:256|512)):([0-9a-f]*)", re.IGNORECASE)
_HEX = re.compile(rf"[0-9a-f]{{{MIN_HEX_LENGTH},128}}", re.IGNORECASE)
_SHA256_HEX_LENGTH = 64
# What surrounds a reference in a sentence, a shell or JSON.
_AROUND = "\"'`´‘’“”<>()[]{},;"
# What says that the rest of a digest was cut off.
_CUTS = ("…", "...")


@dataclass(frozen=True)
class TagSearch:
    """What to look for.

    `name` is a part of "repository:tag", in which case does not count: text before a colon ends the
    repository's name, and text after it begins the tag. `digest` is how the digest
    begins, with its algorithm. Both have to match, or, with `is_either`, one of them: hexadecimal
    digits may be a part of a name too. What is empty matches everything.
    """

    name: str = ""
    digest: str = ""
    is_either: bool = False

    @property
    def repository_end(self) -> str:
        """How the repository's name ends; empty if `name` does not say."""
        return self.name.rpartition(":")[0]

    @property
    def tag_start(self) -> str:
        """How the tag begins; empty if `name` does not say."""
        _, colon, tag = self.name.rpartition(":")
        return tag if colon else ""

    def decide(self, *, has_name: bool, has_digest: bool) -> bool:
        """Whether what has this name, or this digest, is looked for."""
        return (has_name or has_digest) if self.is_either else (has_name and has_digest)

    def matches(self, repository: str, tag: str, *digests: str) -> bool:
        """Whether a tag, with these digests, is looked for."""
        return self.decide(
            has_name=self.name.lower() in f"{repository}:{tag}".lower(),
            has_digest=not self.digest or any(each.startswith(self.digest) for each in digests),
        )


EVERYTHING = TagSearch()


def parse_search(text: str) -> TagSearch:
    """Return what a text looks for. Anything else is a part of a name."""
    words = text.split()
    line = " ".join(words)
    if len(words) == 1:
        return _parse_word(line)
    for message in _MESSAGES:
        if told := message.search(line):
            return TagSearch(f"{told['repository']}:{told['tag']}")
    references = [found for word in words if (found := _find_reference(word))]
    if references:
        # A command names what it reads before what it writes.
        return max(reversed(references), key=lambda each: bool(each.name))
    if len(words) == 2:
        # Two cells of a table, copied at once.
        return TagSearch(":".join(words))
    return TagSearch(line)


def _parse_word(word: str) -> TagSearch:
    """Read a text without blanks: an address, a reference, a digest, or a part of a name."""
    if address := _parse_address(word):
        return address
    word = _SCHEME.sub("", word.strip(_AROUND), count=1)
    if digest := _parse_digest(word):
        return TagSearch(digest=digest)
    shown = _without_cut(word)
    if _HEX.fullmatch(shown):
        algorithm = "sha512" if len(shown) > _SHA256_HEX_LENGTH else "sha256"
        digest = f"{algorithm}:{shown.lower()}"
        # Only digests are cut off.
        return TagSearch(shown, digest, is_either=True) if shown == word else TagSearch("", digest)
    name, _, behind = word.removeprefix(_read_host(word)).partition("@")
    return TagSearch(_without_cut(name), _parse_digest(behind))


def _find_reference(word: str) -> TagSearch | None:
    """Read a word of a sentence or a command; None if it need not be an image or a digest."""
    if address := _parse_address(word):
        return address
    if word.lower().startswith(("http://", "https://")):
        return None
    word = _SCHEME.sub("", word.strip(_AROUND).rstrip(".:!?").strip(_AROUND), count=1)
    rest = word.removeprefix(_read_host(word))
    is_image = rest != word or ("/" in rest and any(mark in rest for mark in ":@"))
    return _parse_word(word) if is_image or _parse_digest(word) else None


def _parse_address(word: str) -> TagSearch | None:
    """Read the address of a page, or of a registry's manifest; None for anything else."""
    if found := _MANIFEST_ADDRESS.search(word):
        if found["digest"]:
            return TagSearch(found["repository"], found["digest"])
        return TagSearch(f"{found['repository']}:{found['tag']}")
    if found := _PAGE_ADDRESS.search(word):
        return TagSearch(f"{found['repository']}:{found['tag'] or ''}")
    return None


def _read_host(word: str) -> str:
    """Return the address of a registry that a reference begins with, and its slash, or nothing."""
    found = _HOST.match(word)
    return found[0] if found else ""


def _parse_digest(text: str) -> str:
    """Return how a digest begins; empty if the text is not a digest."""
    found = _WITH_ALGORITHM.fullmatch(_without_cut(text))
    return f"{found[1]}:{found[2]}".lower() if found else ""


def _without_cut(text: str) -> str:
    for cut in _CUTS:
        text = text.removesuffix(cut)
    return text
