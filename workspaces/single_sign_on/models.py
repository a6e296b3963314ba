"""Whom an identity provider vouches for, where they are signed in, and what its groups give."""

import uuid

from django.db import models
from django.db.models.functions import Now

from workspaces.access import Role

# The lengths of `iss` and `sub` that are accepted; OpenID Connect ends `sub` at 255.
MAX_ISSUER_LENGTH = 255
MAX_SUBJECT_LENGTH = 255
MAX_GROUP_LENGTH = 255


class Identity(models.Model):
    """A person as an identity provider knows them, and the account here that is theirs.

    The provider vouches for them until `vouched_until`, which each check moves. The refresh token,
    by which Taglock checks, is encrypted under SECRET_KEY.
    """

    user = models.OneToOneField("workspaces.User", models.CASCADE, related_name="identity")
    issuer = models.CharField(max_length=MAX_ISSUER_LENGTH)
    subject = models.CharField(max_length=MAX_SUBJECT_LENGTH)
    refresh_token = models.TextField(blank=True)
    vouched_until = models.DateTimeField(db_default=Now())
    next_check_at = models.DateTimeField(db_default=Now())
    # The account is switched off because the provider refused a check. Signing in there undoes it.
    is_paused = models.BooleanField(default=False, db_default=False)
    # A group made them a site administrator, and leaving it ends that.
    is_site_admin_by_group = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="identity_once"),
        ]
        indexes = [
            models.Index(fields=["next_check_at"], name="identity_next_check"),
            models.Index(fields=["vouched_until"], name="identity_vouched_until"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class SignOn(models.Model):
    """A session that began at the identity provider. It ends with this row.

    `sid` is what the provider calls its own session, where it says so.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    identity = models.ForeignKey(Identity, models.CASCADE, related_name="sign_ons")
    sid = models.CharField(max_length=MAX_SUBJECT_LENGTH, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        # The provider may name its session alone.
        indexes = [models.Index(fields=["sid"], name="sign_on_sid")]

    def __str__(self) -> str:
        return str(self.id)


class UsedLogoutToken(models.Model):
    """A logout token of the identity provider that was used: it works once."""

    jti_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.jti_hash


class GroupRole(models.Model):
    """What a group at the identity provider gives: a role in a workspace.

    Without a workspace and a role: its people are site administrators.
    """

    group = models.CharField(max_length=MAX_GROUP_LENGTH)
    workspace = models.ForeignKey(
        "workspaces.Workspace", models.CASCADE, null=True, blank=True, related_name="group_roles"
    )
    role = models.CharField(
        max_length=16, blank=True, choices=[(role.value, role.label) for role in Role]
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["group", "workspace"], name="group_role_once"),
            models.UniqueConstraint(
                fields=["group"],
                condition=models.Q(workspace=None),
                name="group_site_admin_once",
            ),
            models.CheckConstraint(
                condition=models.Q(workspace=None, role="")
                | models.Q(workspace__isnull=False, role__in=[role.value for role in Role]),
                name="group_role_whole",
            ),
        ]

    def __str__(self) -> str:
        return self.group
