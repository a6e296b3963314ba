"""Events of acme, and how the lock log's list is read."""

from django.db import transaction

from tests.conftest import AA
from tests.page import Page
from workspaces.access import Actor, ActorKind
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent

LOG = "/acme/lock-log/"
DANA = Actor("dana", ActorKind.REGISTRY)
ERIN = Actor("erin", ActorKind.PERSON)


def record(*events: Event, actor: Actor = DANA) -> list[LockEvent]:
    """Append events."""
    with transaction.atomic():
        return append_events(list(events), actor=actor)


def tag_event(tag: str, kind: EventKind = EventKind.PUSH_IDENTICAL, **fields: str) -> Event:
    """Return an event of a tag of acme/api."""
    return Event(kind, "acme", "acme/api", tag, **{"digest": AA, **fields})  # type: ignore[arg-type]


def rows_of(page: Page) -> list[str]:
    """Return what the rows of the story say, in their order."""
    return [said.text for said in page.main.find_all(class_="story-said")]


def tags_of(page: Page) -> list[str]:
    """Return the tags that the rows name, in their order."""
    return [
        link.text.removeprefix("acme/api:")
        for said in page.main.find_all(class_="story-said")
        for link in said.find_all("a")
    ]


def details_of(page: Page) -> list[str]:
    """Return where the rows lead."""
    return [link["href"] for link in page.main.find_all("a", class_="story-detail")]
