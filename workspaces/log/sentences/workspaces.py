"""What is said of workspaces, their repositories, prefixes and registries."""

from workspaces.log.kinds import EventKind
from workspaces.log.sentences.pieces import (
    Happened,
    Part,
    Sentence,
    Tellers,
    because,
    member_of,
    named,
    repository_of,
    who,
)


def _workspace_created(event: Happened) -> Sentence:
    return Sentence((who(event), Part(" created the workspace"), *named(event, "name")))


def _workspace_archived(event: Happened) -> Sentence:
    after = Part(": it can be read, and nothing in it changes")
    return because((who(event), Part(" archived the workspace"), after), event)


def _workspace_unarchived(event: Happened) -> Sentence:
    return because((who(event), Part(" unarchived the workspace")), event)


def _workspace_handed_over(event: Happened) -> Sentence:
    parts = (who(event), Part(" handed the workspace over to "), member_of(event))
    return because((*parts, Part(", as admin")), event)


def _repository_published(event: Happened) -> Sentence:
    after = Part(" public: anyone can pull from it")
    return Sentence((who(event), Part(" made "), repository_of(event), after))


def _repository_closed(event: Happened) -> Sentence:
    return Sentence((who(event), Part(" made "), repository_of(event), Part(" private")))


def _prefix_added(event: Happened) -> Sentence:
    parts = (who(event), Part(" gave this workspace the repositories under"))
    return Sentence((*parts, *named(event, "prefix")))


def _prefix_removed(event: Happened) -> Sentence:
    parts = (who(event), Part(" took from this workspace the prefix"), *named(event, "prefix"))
    return Sentence(parts, "Repositories that are known stay")


def _registry_chosen(event: Happened) -> Sentence:
    name = named(event, "registry") or (Part(" of REGISTRY_URL"),)
    return Sentence((who(event), Part(" chose for this workspace the registry"), *name))


WORKSPACE_TELLERS: Tellers = {
    EventKind.WORKSPACE_CREATED: _workspace_created,
    EventKind.WORKSPACE_ARCHIVED: _workspace_archived,
    EventKind.WORKSPACE_UNARCHIVED: _workspace_unarchived,
    EventKind.WORKSPACE_HANDED_OVER: _workspace_handed_over,
    EventKind.REPOSITORY_PUBLISHED: _repository_published,
    EventKind.REPOSITORY_CLOSED: _repository_closed,
    EventKind.PREFIX_ADDED: _prefix_added,
    EventKind.PREFIX_REMOVED: _prefix_removed,
    EventKind.REGISTRY_CHOSEN: _registry_chosen,
}
