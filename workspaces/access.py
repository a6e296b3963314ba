"""Who may do what: the one place where roles and scopes become permissions."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
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
    PUSH_ONLY = "push-only"
    REGISTRY = "registry"
    AUDIT = "audit"
    ADMIN = "admin"

    @property
    def label(self) -> str:
        return self.value.capitalize()

    @property
    def hint(self) -> str:
        return _SCOPE_HINTS[self]

    @property
    def hint_at_registry(self) -> str:
        """What it is for where the registry decides who pulls and pushes."""
        return _HINTS_AT_REGISTRY.get(self, self.hint)


_SCOPE_HINTS = {
    Scope.PULL: "pull images",
    Scope.PUSH: "pull, push, and delete what is not protected",
    Scope.PUSH_ONLY: "pull and push, but not delete",
    Scope.REGISTRY: "ask before pushes and deletes, and lock tags; for registries",
    Scope.AUDIT: "read settings, locked tags and the lock log",
    Scope.ADMIN: "change settings, locks and access tokens; delete locked tags",
}


_HINTS_AT_REGISTRY = {
    Scope.PULL: "nothing here: the registry decides who pulls",
    Scope.PUSH: "ask whether a push would be accepted",
    Scope.PUSH_ONLY: "ask whether a push would be accepted",
}


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
    # Anyone who can push can overwrite what is not protected, and clients that sign or attach
    # delete the list that they replace: so it deletes what no lock holds.
    Scope.PUSH: frozenset({Permission.ASK, Permission.PULL, Permission.PUSH, Permission.DELETE}),
    Scope.PUSH_ONLY: frozenset({Permission.ASK, Permission.PULL, Permission.PUSH}),
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


# What no one may do in a workspace that is archived. Who may read it can still be changed.
FROZEN_PERMISSIONS = frozenset(
    {
        Permission.CHANGE_SETTINGS,
        Permission.MANAGE_LOCKED_TAGS,
        Permission.MANAGE_REPOSITORIES,
        Permission.PUSH,
        Permission.DELETE,
    }
)

# What is about one repository each time. A token that is limited to some can do nothing else, so it
# has none of the scopes that are about the workspace as a whole.
REPOSITORY_PERMISSIONS = frozenset(
    {Permission.ASK, Permission.CHECK, Permission.PULL, Permission.PUSH, Permission.DELETE}
)
LIMITABLE_SCOPES = frozenset(
    scope for scope in Scope if SCOPE_PERMISSIONS[scope] <= REPOSITORY_PERMISSIONS
)
# What a token with a scope may give besides: each of these does a part of what the scope does.
_INCLUDED: dict[str, frozenset[str]] = {Scope.PUSH: frozenset({Scope.PUSH_ONLY})}


def permissions_of_scopes(scopes: list[str]) -> frozenset[Permission]:
    """Return what an access token with these scopes may do; an unknown scope gives nothing."""
    known = {scope.value: SCOPE_PERMISSIONS[scope] for scope in Scope}
    return frozenset().union(*(known.get(scope, frozenset()) for scope in scopes))


def describe_excess(
    giver_scopes: Collection[str],
    giver_expires_at: datetime | None,
    scopes: Collection[Scope],
    expires_at: datetime | None,
) -> str | None:
    """Return a sentence about what an access token cannot give to another, or None.

    A token can't give a scope that it lacks, or outlive itself. An expiry of None is never.
    """
    held = set(giver_scopes).union(*(_INCLUDED.get(scope, ()) for scope in giver_scopes))
    if missing := [scope.value for scope in scopes if scope.value not in held]:
        return (
            "An access token can give only scopes that it has itself. Missing: "
            f"{', '.join(missing)}."
        )
    if giver_expires_at is not None and (expires_at is None or expires_at > giver_expires_at):
        return (
            "An access token cannot give access for longer than it is valid itself: choose an "
            f"expiry no later than {giver_expires_at.isoformat().replace('+00:00', 'Z')}."
        )
    return None


class ActorKind(StrEnum):
    """What kind of actor an event names."""

    PERSON = "person"
    TOKEN = "token"  # noqa: S105  (a kind, not a secret)
    REGISTRY = "registry"
    ACCOUNT = "account"
    SYSTEM = "system"


# A registry may name an actor at length; what is stored of it has to fit.
_MAX_SHOWN_NAME = 200


def describe_actor(name: str, kind: str) -> str:
    """Return how an actor is shown, everywhere: nothing but a person is shown by a bare name.

    `dana` is a person, `token "ci"` an access token, `dana via the registry` whom a registry named,
    `dana (registry account)` an account that the registry keeps, and `Taglock` the system. Empty if
    no one is known.
    """
    if not name:
        return ""
    if len(name) > _MAX_SHOWN_NAME:
        name = f"{name[: _MAX_SHOWN_NAME - 1]}…"
    match ActorKind(kind):
        case ActorKind.PERSON:
            return name
        case ActorKind.TOKEN:
            return f'token "{name}"'
        case ActorKind.REGISTRY:
            return f"{name} via the registry"
        case ActorKind.ACCOUNT:
            return f"{name} (registry account)"
        case ActorKind.SYSTEM:
            return "Taglock"


@dataclass(frozen=True)
class Origin:
    """Where a request came from. Kept apart from the lock log, so that it can be erased."""

    address: str = ""
    user_agent: str = ""


@dataclass(frozen=True)
class Actor:
    """Who is acting, as the lock log names them.

    `token_id` is which access token that is, where one acts: once it is revoked, another one may
    have its name.
    """

    name: str
    kind: ActorKind
    origin: Origin = Origin()
    token_id: int | None = None

    @property
    def shown_name(self) -> str:
        """How the actor is shown; kept where there is no field for the kind."""
        return describe_actor(self.name, self.kind)


SYSTEM = Actor("taglock", ActorKind.SYSTEM)
