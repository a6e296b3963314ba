"""What people type or paste into the log's search box, word by word. Pure: no Django.

`workspaces.search` reads names of images, digests, and whole messages that name one.
"""

import re
from dataclasses import dataclass

from workspaces.log.kinds import REF_LENGTH
from workspaces.search import TagSearch
from workspaces.search import parse_search as parse_tag_search

MAX_SEARCH_WORDS = 8

_REF = re.compile(rf"[0-9A-HJKMNP-TV-Z]{{{REF_LENGTH}}}")
_AROUND = "\"'`“”‘’.,;()[]<>"


@dataclass(frozen=True)
class Word:
    """A word to look for: in names, or where it may be one, as a digest's beginning or a ref."""

    text: str = ""
    digest: str = ""
    ref: str = ""


def parse_search(text: str, slug: str = "") -> tuple[Word, ...]:
    """Return the words of `text`, each of which an event has to match.

    The address of an event of the workspace `slug` is that event, also within a whole refusal.
    """
    event = re.search(rf"/{re.escape(slug)}/lock-log/([0-9A-Za-z]{{{REF_LENGTH}}})\b", text)
    if event:
        return (Word(ref=event[1].upper()),)
    words = text.split()
    found = parse_tag_search(text)
    if len(words) > 1 and found in (TagSearch(" ".join(words)), TagSearch(":".join(words))):
        # Nothing that is told of one image: parts of several names.
        return tuple(dict.fromkeys(part for word in words for part in _read(word)))
    return _to_words(found, words[0]) if words else ()


def _read(word: str) -> tuple[Word, ...]:
    return _to_words(parse_tag_search(word), word)


def _to_words(found: TagSearch, word: str) -> tuple[Word, ...]:
    """Return what a search for a tag looks for, and where it is a word alone, a reference too."""
    name = found.name.strip(_AROUND)
    upper = word.strip(_AROUND).upper()
    ref = upper if _REF.fullmatch(upper) else ""
    if found.is_either or ref:
        return (Word(name, found.digest, ref),)
    parts = (Word(name), Word(digest=found.digest))
    return tuple(part for part in parts if part != Word())
