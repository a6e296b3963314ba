"""What is known of the registry: its repositories, tags and manifests, and the writes in flight.

The key of a workspace has no index of its own: each table has one that begins with it.
"""

from django.db import models
from django.db.models.functions import Now

from containers.names import MAX_DIGEST_LENGTH, MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH
from workspaces.models import Workspace


class WriteKind(models.TextChoices):
    """What a write does: moves tags to a manifest, or removes them."""

    PUSH = "push"
    DELETE = "delete"


class Repository(models.Model):
    """A repository that something was pushed to, or that was made public.

    It belongs to this workspace for good: see `containers/owners.py`.
    """

    workspace = models.ForeignKey(
        Workspace, models.CASCADE, related_name="repositories", db_index=False
    )
    name = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    # Anyone can pull, without signing in.
    is_public = models.BooleanField(db_default=False, default=False)
    created_at = models.DateTimeField(db_default=Now())
    # When every tag that the registry has in it was last read into records; null: never wholly.
    listed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="repository_once"),
            # No two workspaces have the same one.
            models.UniqueConstraint(fields=["name"], name="repository_of_one_workspace"),
        ]

    def __str__(self) -> str:
        return self.name


class RepositoryPrefix(models.Model):
    """New repositories whose names begin with it, in whole parts, belong to a workspace.

    What begins with a workspace's slug belongs to that workspace, and needs no row.
    """

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="prefixes")
    prefix = models.CharField(max_length=MAX_REPOSITORY_LENGTH, unique=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(prefix="")
                & ~models.Q(prefix__startswith="/")
                & ~models.Q(prefix__endswith="/"),
                name="prefix_of_whole_parts",
            ),
        ]

    def __str__(self) -> str:
        return self.prefix


class Tag(models.Model):
    """A tag's record: what the registry showed last, and the writes that may still change it.

    Records are never removed. Whatever changes one holds it (`containers/writes.py`) and raises its
    revision.
    """

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="tags", db_index=False)
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    name = models.CharField(max_length=MAX_TAG_LENGTH)
    # Empty where the registry has no such tag, and where it has never been looked at.
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH, blank=True, default="", db_default="")
    shown_at = models.DateTimeField(null=True)
    # Since when the registry has answered every look that it cannot read the tag; the last of them.
    unreadable_since = models.DateTimeField(null=True)
    unreadable_at = models.DateTimeField(null=True)
    revision = models.PositiveBigIntegerField(default=0, db_default=0)
    changed_at = models.DateTimeField(null=True)
    pushed_at = models.DateTimeField(null=True)

    # The write in flight: one at a time.
    write_id = models.UUIDField(null=True)
    write_kind = models.CharField(max_length=8, blank=True, default="", db_default="")
    write_digest = models.CharField(
        max_length=MAX_DIGEST_LENGTH, blank=True, default="", db_default=""
    )
    write_begun_at = models.DateTimeField(null=True)
    # After this it is no longer sent.
    write_expires_at = models.DateTimeField(null=True)
    # The write of a two-phase check: only its caller or an admin ends it.
    write_is_external = models.BooleanField(default=False, db_default=False)

    # A write that got no answer and may still land until then. The digest is empty for a delete,
    # and for several writes of different images.
    stray_until = models.DateTimeField(null=True)
    stray_digest = models.CharField(
        max_length=MAX_DIGEST_LENGTH, blank=True, default="", db_default=""
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "repository", "name"], name="tag_once"),
            models.CheckConstraint(
                condition=models.Q(write_kind__in=["", *WriteKind]), name="tag_write_kind"
            ),
            models.CheckConstraint(
                condition=models.Q(write_id__isnull=True, write_kind="")
                | models.Q(write_id__isnull=False) & ~models.Q(write_kind=""),
                name="tag_write_whole",
            ),
        ]
        indexes = [
            models.Index(fields=["workspace", "repository", "digest"], name="tag_digest"),
            models.Index(fields=["workspace", "repository", "pushed_at", "id"], name="tag_pushed"),
            models.Index(
                fields=["write_id"], name="tag_write", condition=models.Q(write_id__isnull=False)
            ),
            models.Index(
                fields=["stray_until"],
                name="tag_stray",
                condition=models.Q(stray_until__isnull=False),
            ),
            models.Index(
                fields=["unreadable_since"],
                name="tag_unreadable",
                condition=models.Q(unreadable_since__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.name}"


class Push(models.Model):
    """A push of a tag that landed."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="pushes", db_index=False)
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    tag = models.CharField(max_length=MAX_TAG_LENGTH)
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    actor = models.CharField(max_length=255)
    actor_kind = models.CharField(max_length=16)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["workspace", "repository", "tag", "id"], name="push_by_tag"),
            models.Index(fields=["workspace", "at", "id"], name="push_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag} {self.digest}"


class Manifest(models.Model):
    """What is known of a manifest: whether it is there, what it lists, and a delete of it."""

    workspace = models.ForeignKey(
        Workspace, models.CASCADE, related_name="manifests", db_index=False
    )
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    media_type = models.CharField(max_length=255, blank=True, default="", db_default="")
    size = models.PositiveBigIntegerField(default=0, db_default=0)
    # With its config and layers, in bytes; null for an index, and where that is not known.
    image_size = models.PositiveBigIntegerField(null=True)
    subject = models.CharField(max_length=MAX_DIGEST_LENGTH, blank=True, default="", db_default="")
    # The registry has taken or shown it, and no delete of it has landed since.
    is_there = models.BooleanField(default=False, db_default=False)
    # False for one that only another manifest names: what it lists is not known.
    is_read = models.BooleanField(default=False, db_default=False)
    # Raised by each delete of it that begins.
    revision = models.PositiveBigIntegerField(default=0, db_default=0)
    delete_id = models.UUIDField(null=True)
    delete_expires_at = models.DateTimeField(null=True)
    # A delete of it that got no answer may still land until then.
    stray_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "repository", "digest"], name="manifest_once"
            ),
        ]

    def __str__(self) -> str:
        return self.digest

    @property
    def lists_nothing(self) -> bool:
        """Whether it is known to be an image. One that may list others has no size."""
        return self.image_size is not None


class ManifestReference(models.Model):
    """An index lists a manifest: deleting the child would break the parent."""

    workspace = models.ForeignKey(
        Workspace, models.CASCADE, related_name="manifest_references", db_index=False
    )
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    parent = models.CharField(max_length=MAX_DIGEST_LENGTH)
    child = models.CharField(max_length=MAX_DIGEST_LENGTH)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "repository", "child", "parent"], name="reference_once"
            ),
        ]
        indexes = [
            models.Index(fields=["workspace", "repository", "parent"], name="reference_by_parent"),
        ]

    def __str__(self) -> str:
        return f"{self.parent} lists {self.child}"


class TokenKey(models.Model):
    """A key that the registry's tokens are signed with: see `containers/tokens/rotation.py`."""

    class Role(models.TextChoices):
        """What a key is for. All of them are trusted."""

        NEXT = "next"
        SIGNING = "signing"
        FORMER = "former"

    # Its thumbprint (RFC 7638).
    key_id = models.CharField(max_length=43, primary_key=True)
    role = models.CharField(max_length=8, choices=Role)
    certificate = models.TextField()
    # As PEM, encrypted under SECRET_KEY; empty for a former key, which signs nothing more.
    private_key = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["role"],
                condition=models.Q(role__in=["next", "signing"]),
                name="token_key_once",
            ),
            models.CheckConstraint(
                condition=models.Q(role="former", private_key="")
                | (models.Q(role__in=["next", "signing"]) & ~models.Q(private_key="")),
                name="token_key_private",
            ),
        ]

    def __str__(self) -> str:
        return self.key_id
