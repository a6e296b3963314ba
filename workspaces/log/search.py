"""What people type or paste into the log's search box, word by word. Pure: no Django."""

import re
from dataclasses import dataclass

from workspaces.log.kinds import REF_LENGTH

MAX_SEARCH_LENGTH = 512
MAX_SEARCH_WORDS = 8
# With fewer characters a word is no digest's beginning that says anything.
_SHORTEST_DIGEST = 6

_HEX = re.compile(rf"[0-9a-f]{{{_SHORTEST_DIGEST},128}}")
_DIGEST = re.compile(r"[a-z0-9+._-]+:[0-9a-f]{6,128}")
_REF = re.compile(rf"[0-9a-hjkmnp-tv-z]{{{REF_LENGTH}}}")
_AROUND = "\"'`“”‘’.,;()[]<>"


@dataclass(frozen=True)
class Word:
    """A word to look for: in names, and where it may be one, as a digest's beginning or a ref."""

    text: str
    digest: str = ""
    ref: str = ""


def parse_search(text: str, slug: str) -> tuple[Word, ...]:
    """Return the words of `text`, each of which an event has to match.

    Takes what a refusal prints and what clients are given: with a registry's host in front, a
    digest behind, or the address of an event of the workspace `slug`.
    """
    pieces = (piece for each in text.split() for piece in _split(each, slug))
    return tuple(dict.fromkeys(_read(piece) for piece in pieces if piece))


def _split(word: str, slug: str) -> list[str]:
    """Return what a word is made of: an image's name, and the digest behind it."""
    word = word.strip(_AROUND).removesuffix("…").removesuffix("/")
    _, is_event, ref = word.rpartition(f"/{slug}/lock-log/")
    if is_event:
        return [ref]
    name, _, digest = word.partition("@")
    place = name.find(f"/{slug}/")
    return [name[place + 1 :] if place >= 0 else name, digest]


def _read(word: str) -> Word:
    lower = word.lower()
    ref = lower.upper() if _REF.fullmatch(lower) else ""
    if _DIGEST.fullmatch(lower):
        return Word(word, lower, ref)
    return Word(word, f"sha256:{lower}" if _HEX.fullmatch(lower) else "", ref)
