"""Who may do what: the one place where roles and scopes become permissions."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a person is in a workspace."""

    ADMIN = "admin"
    MEMBER = "member"
    AUDITOR = "auditor"

    @property
    def label(self) -> str:
        return self.value.capitalize()


class Scope(StrEnum):
    """What an access token is for."""

    PULL = "pull"
    PUSH = "push"
    REGISTRY = "registry"
    AUDIT = "audit"
    ADMIN = "admin"


class Permission(StrEnum):
    """One thing that can be allowed in a workspace."""

    VIEW_SETTINGS = "view settings"
    CHANGE_SETTINGS = "change settings"
    VIEW_LOCKED_TAGS = "view locked tags"
    MANAGE_LOCKED_TAGS = "manage locked tags"
    VIEW_TAG_EVENTS = "view the events of tags"
    VIEW_ALL_EVENTS = "view every event"
    VIEW_PEOPLE = "view members"
    MANAGE_PEOPLE = "manage members"
    VIEW_ACCESS_TOKENS = "view access tokens"
    MANAGE_ACCESS_TOKENS = "manage access tokens"
    VIEW_REPOSITORIES = "view repositories"
    MANAGE_REPOSITORIES = "manage repositories"
    ASK = "ask whether a tag is free"
    CHECK = "check pushes and deletes"
    PULL = "pull images"
    PUSH = "push images"
    DELETE = "delete images"


_EVERYBODY = frozenset(
    {
        Permission.VIEW_SETTINGS,
        Permission.VIEW_LOCKED_TAGS,
        Permission.VIEW_TAG_EVENTS,
        Permission.VIEW_PEOPLE,
        Permission.VIEW_REPOSITORIES,
        Permission.ASK,
        Permission.PULL,
    }
)

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: _EVERYBODY
    | {
        Permission.CHANGE_SETTINGS,
        Permission.MANAGE_LOCKED_TAGS,
        Permission.VIEW_ALL_EVENTS,
        Permission.MANAGE_PEOPLE,
        Permission.VIEW_ACCESS_TOKENS,
        Permission.MANAGE_ACCESS_TOKENS,
        Permission.MANAGE_REPOSITORIES,
        Permission.PUSH,
        Permission.DELETE,
    },
    Role.MEMBER: _EVERYBODY | {Permission.PUSH, Permission.DELETE},
    Role.AUDITOR: _EVERYBODY | {Permission.VIEW_ALL_EVENTS, Permission.VIEW_ACCESS_TOKENS},
}

SCOPE_PERMISSIONS: dict[Scope, frozenset[Permission]] = {
    Scope.PULL: frozenset({Permission.PULL}),
    # Whoever may push may overwrite what is not protected, and clients that sign or attach delete
    # the list that they replace: so it deletes what no lock holds.
    Scope.PUSH: frozenset({Permission.ASK, Permission.PULL, Permission.PUSH, Permission.DELETE}),
    Scope.REGISTRY: frozenset({Permission.ASK, Permission.CHECK}),
    Scope.AUDIT: frozenset(
        {
            Permission.VIEW_SETTINGS,
            Permission.VIEW_LOCKED_TAGS,
            Permission.VIEW_TAG_EVENTS,
            Permission.VIEW_ALL_EVENTS,
            Permission.VIEW_REPOSITORIES,
            Permission.ASK,
        }
    ),
    Scope.ADMIN: frozenset(
        {
            Permission.VIEW_SETTINGS,
            Permission.CHANGE_SETTINGS,
            Permission.VIEW_LOCKED_TAGS,
            Permission.MANAGE_LOCKED_TAGS,
            Permission.VIEW_ACCESS_TOKENS,
            Permission.MANAGE_ACCESS_TOKENS,
            Permission.VIEW_REPOSITORIES,
            Permission.MANAGE_REPOSITORIES,
            Permission.ASK,
            Permission.PULL,
            Permission.DELETE,
        }
    ),
}


def permissions_of_scopes(scopes: list[str]) -> frozenset[Permission]:
    """Return what an access token with these scopes may do; an unknown scope gives nothing."""
    known = {scope.value: SCOPE_PERMISSIONS[scope] for scope in Scope}
    return frozenset().union(*(known.get(scope, frozenset()) for scope in scopes))


class ActorKind(StrEnum):
    """What kind of actor an event names."""

    PERSON = "person"
    TOKEN = "token"  # noqa: S105  (a kind, not a secret)
    REGISTRY = "registry"
    SYSTEM = "system"


@dataclass(frozen=True)
class Origin:
    """Where a request came from. Kept apart from the lock log, so that it can be erased."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True)
class Actor:
    """Who is acting, as the lock log names them."""

    name: str
    kind: ActorKind
    origin: Origin = Origin()


SYSTEM = Actor("taglock", ActorKind.SYSTEM)
