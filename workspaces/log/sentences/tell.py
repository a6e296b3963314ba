"""The sentence of every kind of event."""

from workspaces.log.kinds import EventKind
from workspaces.log.sentences.people import PEOPLE_TELLERS
from workspaces.log.sentences.pieces import Happened, Sentence, Tellers
from workspaces.log.sentences.settings import SETTINGS_TELLERS
from workspaces.log.sentences.tags import TAG_TELLERS
from workspaces.log.sentences.workspaces import WORKSPACE_TELLERS


def tell(event: Happened) -> Sentence:
    """Return what `event` says happened. What its details do not have is left out."""
    return _TELLERS[EventKind(event.kind)](event)


_TELLERS: Tellers = {**TAG_TELLERS, **SETTINGS_TELLERS, **WORKSPACE_TELLERS, **PEOPLE_TELLERS}
