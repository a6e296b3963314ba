"""What can happen. An event's kind is `<subject>.<what happened>`, both in plain words."""

from enum import StrEnum

REF_LENGTH = 12


class EventKind(StrEnum):
    """The kind of an event, as models, API and pages name it."""

    TAG_LOCKED = "tag.locked"
    TAG_ADOPTED = "tag.adopted"
    TAG_DELETED = "tag.deleted"
    PUSH_REFUSED = "push.refused"
    PUSH_IDENTICAL = "push.identical"
    DELETE_REFUSED = "delete.refused"
    LOCK_ENDED = "lock.ended"
    LOCK_RELEASED = "lock.released"
    LOCK_FREED = "lock.freed"
    CLAIM_DROPPED = "claim.dropped"
    DRIFT_FOUND = "drift.found"
    DRIFT_REPAIRED = "drift.repaired"
    REPEATS_COUNTED = "repeats.counted"
    SETTINGS_CHANGED = "settings.changed"
    SETTINGS_COUNTED = "settings.counted"
    WORKSPACE_CREATED = "workspace.created"
    WORKSPACE_ARCHIVED = "workspace.archived"
    WORKSPACE_UNARCHIVED = "workspace.unarchived"
    WORKSPACE_HANDED_OVER = "workspace.handed_over"
    GROUP_ROLE_SET = "group_role.set"
    GROUP_ROLE_REMOVED = "group_role.removed"
    MEMBER_ADDED = "member.added"
    MEMBER_CHANGED = "member.changed"
    MEMBER_REMOVED = "member.removed"
    PERSON_DEACTIVATED = "person.deactivated"
    PERSON_REACTIVATED = "person.reactivated"
    SITE_ADMIN_ADDED = "site_admin.added"
    SITE_ADMIN_REMOVED = "site_admin.removed"
    INVITATION_MADE = "invitation.made"
    INVITATION_WITHDRAWN = "invitation.withdrawn"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105  (a kind, not a secret)
    PASSWORD_LINK_MADE = "password.link_made"  # noqa: S105
    EMAIL_CHANGED = "email.changed"
    ACCOUNT_LINKED = "account.linked"
    ACCOUNT_UNLINKED = "account.unlinked"
    ACCOUNT_PAUSED = "account.paused"
    ACCOUNT_RESUMED = "account.resumed"
    SIGN_ON_LINKED = "sign_on.linked"
    SIGN_ON_UNLINKED = "sign_on.unlinked"
    TOKEN_CREATED = "token.created"  # noqa: S105
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    PERSONAL_TOKEN_CREATED = "token.personal_created"  # noqa: S105
    PERSONAL_TOKEN_REVOKED = "token.personal_revoked"  # noqa: S105
    REPOSITORY_PUBLISHED = "repository.published"
    REPOSITORY_CLOSED = "repository.closed"
    PREFIX_ADDED = "prefix.added"
    PREFIX_REMOVED = "prefix.removed"
    REGISTRY_CHOSEN = "registry.chosen"

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    EventKind.TAG_LOCKED: "Tag locked",
    EventKind.TAG_ADOPTED: "Tag adopted",
    EventKind.TAG_DELETED: "Tag deleted",
    EventKind.PUSH_REFUSED: "Push refused",
    EventKind.PUSH_IDENTICAL: "Identical push",
    EventKind.DELETE_REFUSED: "Delete refused",
    EventKind.LOCK_ENDED: "Lock ended",
    EventKind.LOCK_RELEASED: "Lock released",
    EventKind.LOCK_FREED: "Name freed",
    EventKind.CLAIM_DROPPED: "Claim dropped",
    EventKind.DRIFT_FOUND: "Drift found",
    EventKind.DRIFT_REPAIRED: "Drift repaired",
    EventKind.REPEATS_COUNTED: "Repeats counted",
    EventKind.SETTINGS_CHANGED: "Settings changed",
    EventKind.SETTINGS_COUNTED: "Locks counted",
    EventKind.WORKSPACE_CREATED: "Workspace created",
    EventKind.WORKSPACE_ARCHIVED: "Workspace archived",
    EventKind.WORKSPACE_UNARCHIVED: "Workspace unarchived",
    EventKind.WORKSPACE_HANDED_OVER: "Workspace handed over",
    EventKind.GROUP_ROLE_SET: "Group’s role set",
    EventKind.GROUP_ROLE_REMOVED: "Group’s role removed",
    EventKind.MEMBER_ADDED: "Member added",
    EventKind.MEMBER_CHANGED: "Member changed",
    EventKind.MEMBER_REMOVED: "Member removed",
    EventKind.PERSON_DEACTIVATED: "Person deactivated",
    EventKind.PERSON_REACTIVATED: "Person reactivated",
    EventKind.SITE_ADMIN_ADDED: "Site administrator added",
    EventKind.SITE_ADMIN_REMOVED: "Site administrator removed",
    EventKind.INVITATION_MADE: "Invitation made",
    EventKind.INVITATION_WITHDRAWN: "Invitation withdrawn",
    EventKind.PASSWORD_CHANGED: "Password changed",
    EventKind.PASSWORD_LINK_MADE: "Password link made",
    EventKind.EMAIL_CHANGED: "E-mail address changed",
    EventKind.ACCOUNT_LINKED: "Registry account linked",
    EventKind.ACCOUNT_UNLINKED: "Registry account unlinked",
    EventKind.ACCOUNT_PAUSED: "Account paused",
    EventKind.ACCOUNT_RESUMED: "Account resumed",
    EventKind.SIGN_ON_LINKED: "Single sign-on linked",
    EventKind.SIGN_ON_UNLINKED: "Single sign-on unlinked",
    EventKind.TOKEN_CREATED: "Access token created",
    EventKind.TOKEN_REVOKED: "Access token revoked",
    EventKind.PERSONAL_TOKEN_CREATED: "Personal access token created",
    EventKind.PERSONAL_TOKEN_REVOKED: "Personal access token revoked",
    EventKind.REPOSITORY_PUBLISHED: "Repository made public",
    EventKind.REPOSITORY_CLOSED: "Repository made private",
    EventKind.PREFIX_ADDED: "Prefix added",
    EventKind.PREFIX_REMOVED: "Prefix removed",
    EventKind.REGISTRY_CHOSEN: "Registry chosen",
}

# What a member may read: what happened to tags. The rest is for admins and auditors.
TAG_EVENT_KINDS = frozenset(
    kind
    for kind in EventKind
    if kind.split(".")[0] in ("tag", "push", "delete", "lock", "claim", "drift", "repeats")
)


class KindGroup(StrEnum):
    """Kinds that people look for together."""

    REFUSED = "refused"
    SETTINGS = "settings"
    LOCKED = "locked"
    RELEASED = "released"
    PEOPLE = "people"

    @property
    def label(self) -> str:
        return _GROUP_LABELS[self]


_GROUP_LABELS = {
    KindGroup.REFUSED: "Refused",
    KindGroup.SETTINGS: "Settings",
    KindGroup.LOCKED: "Locked",
    KindGroup.RELEASED: "Released and deleted",
    KindGroup.PEOPLE: "People and tokens",
}

# Identical pushes and drift belong to none: "Everything" has them.
KIND_GROUPS = {
    KindGroup.REFUSED: frozenset({EventKind.PUSH_REFUSED, EventKind.DELETE_REFUSED}),
    KindGroup.SETTINGS: frozenset(
        {
            EventKind.SETTINGS_CHANGED,
            EventKind.SETTINGS_COUNTED,
            EventKind.REPOSITORY_PUBLISHED,
            EventKind.REPOSITORY_CLOSED,
            EventKind.PREFIX_ADDED,
            EventKind.PREFIX_REMOVED,
            EventKind.REGISTRY_CHOSEN,
        }
    ),
    KindGroup.LOCKED: frozenset({EventKind.TAG_LOCKED, EventKind.TAG_ADOPTED}),
    KindGroup.RELEASED: frozenset(
        {
            EventKind.TAG_DELETED,
            EventKind.LOCK_ENDED,
            EventKind.LOCK_RELEASED,
            EventKind.LOCK_FREED,
            EventKind.CLAIM_DROPPED,
        }
    ),
    KindGroup.PEOPLE: frozenset(
        kind
        for kind in EventKind
        if kind.split(".")[0]
        in (
            *("workspace", "member", "person", "site_admin", "group_role", "invitation"),
            *("password", "email", "account", "sign_on", "token"),
        )
    ),
}
