"""Workspaces, the people in them, their access tokens, and how often someone called."""

from typing import ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower, Now

from workspaces.access import REPOSITORY_PERMISSIONS, Permission, Role, permissions_of_scopes
from workspaces.log.models import (
    Checkpoint,
    EventOrigin,
    EventRepeat,
    EventSeal,
    LockEvent,
    LogExport,
    SealProgress,
)
from workspaces.repository_globs import is_covered
from workspaces.single_sign_on.models import GroupRole, Identity, SignOn, UsedLogoutToken
from workspaces.slugs import MAX_SLUG_LENGTH, describe_bad_slug
from workspaces.text import describe_bad_character

__all__ = [
    "AccessToken",
    "CallCount",
    "Checkpoint",
    "EventOrigin",
    "EventRepeat",
    "EventSeal",
    "GroupRole",
    "Identity",
    "Invitation",
    "KeyFingerprint",
    "LockEvent",
    "LogExport",
    "Membership",
    "PasswordLinkRequest",
    "PersonalToken",
    "Registry",
    "RegistryAccount",
    "SealProgress",
    "SignOn",
    "TaskRun",
    "UsedLogoutToken",
    "User",
    "Workspace",
]

MAX_NAME_LENGTH = 100
MAX_USERNAME_LENGTH = 64
MAX_INVITEE_LENGTH = 254
MAX_EMAIL_LENGTH = 254


def validate_slug(slug: str) -> None:
    """Raise ValidationError if `slug` cannot name a workspace."""
    if problem := describe_bad_slug(slug):
        raise ValidationError(problem)


def validate_plain_text(text: str) -> None:
    """Raise ValidationError if `text` is blank, or has control characters or the like."""
    if not text.strip():
        raise ValidationError("Write something.")
    if problem := describe_bad_character(text):
        raise ValidationError(problem)


# Of the name of an account at the registry, as the lock log keeps it.
MAX_REGISTRY_ACCOUNT_LENGTH = 200
MAX_REGISTRY_NAME_LENGTH = 32
MAX_REGISTRY_URL_LENGTH = 500
MAX_HOST_LENGTH = 253


class User(AbstractUser):
    """A person who signs in."""

    # One spelling a name: an actor in the lock log is never ambiguous. No "+", which joins a
    # workspace and an access token's name in what registry clients send as user name.
    username = models.CharField(
        max_length=MAX_USERNAME_LENGTH,
        unique=True,
        validators=[
            RegexValidator(
                r"\A[a-z0-9][a-z0-9._@-]*\Z",
                "A user name begins with a lower-case letter or a digit, followed by lower-case "
                "letters, digits, dots, underscores, hyphens and @.",
            )
        ],
    )

    objects: ClassVar[UserManager[Self]] = UserManager()


class Registry(models.Model):
    """A registry besides the one of REGISTRY_URL, which has no row.

    It has no secrets: `containers/registry_secrets.py` finds them by its name.
    """

    # Parts of variables' names and of the service's begin with it, so it never changes.
    name = models.CharField(
        max_length=MAX_REGISTRY_NAME_LENGTH,
        unique=True,
        validators=[
            RegexValidator(
                r"\A[a-z][a-z0-9]*(-[a-z0-9]+)*\Z",
                "A name begins with a lower-case letter, followed by lower-case letters, digits "
                "and single hyphens.",
            )
        ],
    )
    url = models.CharField(max_length=MAX_REGISTRY_URL_LENGTH)
    # Who keeps the accounts of those who push and pull.
    accounts = models.CharField(max_length=16)
    # Of Taglock's own account there.
    username = models.CharField(max_length=255, blank=True, default="")
    # The name by which clients reach it, through the edge.
    host = models.CharField(max_length=MAX_HOST_LENGTH, unique=True)
    # What tokens for it are for, and for no other registry.
    service = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=Now())
    # When it last answered Taglock.
    seen_at = models.DateTimeField(null=True, blank=True)
    # What each step of the last check found.
    findings = models.JSONField(default=list, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(accounts__in=["tokens", "registry", "taglock"]),
                name="registry_accounts",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RegistryAccount(models.Model):
    """An account that a registry keeps, and the person whose rights count for its deletes."""

    # Null: the registry of REGISTRY_URL.
    registry = models.ForeignKey(
        Registry, models.CASCADE, null=True, blank=True, related_name="linked_accounts"
    )
    name = models.CharField(
        max_length=MAX_REGISTRY_ACCOUNT_LENGTH, validators=[validate_plain_text]
    )
    user = models.ForeignKey(User, models.CASCADE, related_name="registry_accounts")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["registry", "name"], name="registry_account_once"),
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(registry=None), name="first_account_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Workspace(models.Model):
    """A tenant: everything else belongs to one. Its slug never changes."""

    slug = models.CharField(max_length=MAX_SLUG_LENGTH, unique=True, validators=[validate_slug])
    name = models.CharField(max_length=MAX_NAME_LENGTH, validators=[validate_plain_text])
    # Where its repositories are; null: at the registry of REGISTRY_URL. It changes only while
    # nothing of the workspace is known.
    registry = models.ForeignKey(
        Registry, models.PROTECT, null=True, blank=True, related_name="workspaces"
    )
    created_at = models.DateTimeField(db_default=Now())
    # Since when nothing in it changes; see workspaces/actions/archive.py.
    archived_at = models.DateTimeField(null=True, blank=True)
    members = models.ManyToManyField(User, through="Membership", related_name="workspaces")

    def __str__(self) -> str:
        return self.slug

    @property
    def is_archived(self) -> bool:
        """Whether nothing in it changes any more, by the row as it was read."""
        return self.archived_at is not None

    @property
    def registry_keeps_accounts(self) -> bool:
        """Whether those who push and pull log in at the registry, and not at Taglock."""
        if self.registry is not None:
            return self.registry.accounts == "registry"
        return bool(settings.REGISTRY_URL) and settings.REGISTRY_ACCOUNTS == "registry"


class Membership(models.Model):
    """One person's role in one workspace."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=[(role.value, role.label) for role in Role])
    # By a group at the identity provider, which changes and ends it; or else by hand.
    is_by_group = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]), name="membership_role"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.workspace_id}"


class Invitation(models.Model):
    """A place in a workspace for the first person who opens its link.

    The row is deleted when it is taken. Only the hash of the link's secret is kept. It is invalid
    once `invited_by` is not an admin.
    """

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=16, choices=[(role.value, role.label) for role in Role])
    invitee = models.CharField(max_length=MAX_INVITEE_LENGTH, validators=[validate_plain_text])
    secret_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, models.CASCADE, related_name="invitations")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]), name="invitation_role"
            ),
        ]

    def __str__(self) -> str:
        return self.invitee


class AccessToken(models.Model):
    """A credential of a program. Only the hash of its secret is kept.

    Without a workspace it is for all of them: a registry's that serves many.
    """

    workspace = models.ForeignKey(
        Workspace, models.CASCADE, null=True, blank=True, related_name="access_tokens"
    )
    name = models.CharField(max_length=MAX_NAME_LENGTH, validators=[validate_plain_text])
    token_hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField()
    # Globs of the repositories that it is limited to, as repository_globs.py reads them. None of
    # them: it is for all of its workspace.
    repositories = models.JSONField(
        default=list, db_default=models.Value([], models.JSONField()), blank=True
    )
    created_by = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            # A revoked token gives its name back.
            models.UniqueConstraint(
                "workspace",
                Lower("name"),
                condition=models.Q(revoked_at=None),
                name="access_token_name_once",
                violation_error_message="There is an access token of this name already.",
            ),
            models.UniqueConstraint(
                Lower("name"),
                condition=models.Q(revoked_at=None, workspace=None),
                name="site_token_name_once",
                violation_error_message="There is an access token of this name already.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def permissions(self) -> frozenset[Permission]:
        """What it may do; if it is limited, only in its repositories."""
        permissions = permissions_of_scopes(self.scopes)
        return permissions & REPOSITORY_PERMISSIONS if self.repositories else permissions

    def is_for(self, repository: str, workspace: str) -> bool:
        """Whether its limit includes the repository of this full name, or it has no limit.

        `workspace` is the slug of the repository's workspace.
        """
        name = repository.removeprefix(f"{workspace}/")
        return not self.repositories or is_covered(self.repositories, name)

    @property
    def user_name(self) -> str | None:
        """What registry clients send as user name; None if the token is for all workspaces."""
        return f"{self.workspace.slug}+{self.name}" if self.workspace else None


class PersonalToken(models.Model):
    """What a person logs in to the registry with instead of a password. Only its hash is kept."""

    user = models.ForeignKey(User, models.CASCADE, related_name="personal_tokens")
    name = models.CharField(max_length=MAX_NAME_LENGTH, validators=[validate_plain_text])
    token_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint("user", Lower("name"), name="personal_token_name_once"),
        ]

    def __str__(self) -> str:
        return self.name


class CallCount(models.Model):
    """How many calls of one subject a limit has let through in one of its windows of time.

    `subject` is a hash: neither an address nor a name is kept.
    """

    subject = models.CharField(max_length=64)
    window = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subject", "window"], name="call_count_once"),
        ]
        indexes = [models.Index(fields=["window"], name="call_count_window")]

    def __str__(self) -> str:
        return f"{self.count} since {self.window}"


class PasswordLinkRequest(models.Model):
    """Someone forgot a password. The worker mails links to this address, and deletes the row."""

    email = models.CharField(max_length=MAX_EMAIL_LENGTH)
    address = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=512, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"asked for at {self.created_at}"


class TaskRun(models.Model):
    """When a task of the background was last carried out."""

    task = models.CharField(max_length=100, unique=True)
    ended_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.task


class KeyFingerprint(models.Model):
    """What tells a key that each node keeps for itself from other keys, and does not tell the key.

    See `workspaces/shared_keys.py`.
    """

    class Setting(models.TextChoices):
        """The setting that says where a node has the key."""

        SECRET_KEY = "SECRET_KEY"  # noqa: S105  (its name)
        LOG_KEY_FILE = "LOG_KEY_FILE"

    setting = models.CharField(max_length=16, primary_key=True, choices=Setting)
    fingerprint = models.CharField(max_length=64)

    def __str__(self) -> str:
        return self.setting
