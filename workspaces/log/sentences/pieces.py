"""What sentences are made of, and what is read from an event for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from workspaces.access import ActorKind, describe_actor
from workspaces.log.kinds import EventKind
from workspaces.text import to_sentence


class Happened(Protocol):
    """What a sentence needs to know of an event."""

    @property
    def kind(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def tag(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def other_digest(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def actor_kind(self) -> str: ...
    @property
    def rule_name(self) -> str: ...
    @property
    def settings_version(self) -> int | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def details(self) -> Mapping[str, Any] | None: ...


class Style(StrEnum):
    """How a part of a sentence is shown."""

    PLAIN = "plain"
    STRONG = "strong"
    TAG = "tag"
    REPOSITORY = "repository"


@dataclass(frozen=True)
class Part:
    """A piece of a sentence. A part of style TAG or REPOSITORY is the event's own."""

    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True)
class Sentence:
    """What happened; below it, in Taglock's words, why; and what a person gave as the reason."""

    parts: tuple[Part, ...]
    note: str = ""
    quote: str = ""

    def __str__(self) -> str:
        return "".join(part.text for part in self.parts)


# The sentence of each kind of event.
Tellers = Mapping[EventKind, Callable[[Happened], Sentence]]

TAGLOCK = Part("Taglock", Style.STRONG)


def who(event: Happened) -> Part:
    """Return who did it."""
    return Part(describe_actor(event.actor, event.actor_kind) or "Someone", Style.STRONG)


def whose(event: Happened) -> Part:
    """Return who did it, as the owner of what follows."""
    return Part(f"{who(event).text}’s", Style.STRONG)


def tag_of(event: Happened) -> Part:
    """Return the tag that it is about, or its repository where it names no tag."""
    if not event.repository or not event.tag:
        return repository_of(event)
    return Part(f"{event.repository}:{event.tag}", Style.TAG)


def repository_of(event: Happened) -> Part:
    """Return the repository that it is about."""
    return Part(event.repository or "a tag", Style.REPOSITORY if event.repository else Style.PLAIN)


def member_of(event: Happened) -> Part:
    """Return the person whom it is about."""
    return Part(read_text(event, "member") or "a member", Style.STRONG)


def named(event: Happened, name: str) -> Sequence[Part]:
    """Return a detail after a space, or nothing where the event lacks it."""
    text = read_text(event, name)
    return (Part(" "), Part(text, Style.STRONG)) if text else ()


def is_about_actor(event: Happened) -> bool:
    """Whether someone did it to themselves."""
    return event.actor_kind == ActorKind.PERSON and event.actor == read_text(event, "member")


def because(parts: tuple[Part, ...], event: Happened) -> Sentence:
    """Return a sentence with the reason: quoted, where a person or a token gave it."""
    if event.actor_kind in (ActorKind.PERSON, ActorKind.TOKEN) and event.reason not in _OWN_REASONS:
        return Sentence(parts, quote=event.reason)
    return Sentence(parts, to_note(event.reason))


# What Taglock writes as the reason where no one gives one.
_OWN_REASONS = frozenset({"deleted through the registry"})


def by_actor(event: Happened) -> str:
    """Return the note that says who did it, or "" where no one is to be named."""
    if not event.actor or event.actor_kind == ActorKind.SYSTEM:
        return ""
    return f"By {who(event).text}"


def to_note(text: str) -> str:
    """Return a reason with a capital letter and, like every note, without a full stop."""
    return to_sentence(text).removesuffix(".") if text else ""


def count_of(number: int, noun: str) -> str:
    """Return how many: "1 lock", "1,200 locks"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def read_text(event: Happened, name: str) -> str:
    """Return a detail, or "" where it is no text."""
    value = (event.details or {}).get(name)
    return value if isinstance(value, str) else ""


def read_number(event: Happened, name: str) -> int | None:
    """Return a detail, or None where it is no number."""
    value = (event.details or {}).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_settings(event: Happened, name: str) -> Mapping[str, Any]:
    """Return the settings in a detail, or none where it has none."""
    value = (event.details or {}).get(name)
    return value if isinstance(value, Mapping) else {}
