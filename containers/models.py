"""What is known of the registry's contents: a projection, never the authority for a lock.

Written by the gate for everything that passes, and by checks for unlocked tags.
"""

from django.db import models
from django.db.models.functions import Now

from containers.reference import MAX_DIGEST_LENGTH, MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH
from workspaces.models import Workspace


class Repository(models.Model):
    """A repository that something was pushed to, or that was made public."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="repositories")
    name = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    # Whoever wants may pull, without signing in.
    is_public = models.BooleanField(db_default=False, default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="repository_once"),
        ]

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    """What a tag pointed at when a push of it was last allowed, or seen to land."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="tags")
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    name = models.CharField(max_length=MAX_TAG_LENGTH)
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    pushed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "repository", "name"], name="tag_once"),
        ]
        indexes = [
            models.Index(fields=["workspace", "repository", "digest"], name="tag_digest"),
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.name}"


class Push(models.Model):
    """A push of a tag that landed."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="pushes")
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    tag = models.CharField(max_length=MAX_TAG_LENGTH)
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    actor = models.CharField(max_length=255)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["workspace", "repository", "tag", "id"], name="push_by_tag"),
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag} {self.digest}"


class Manifest(models.Model):
    """A manifest that the registry has taken, or was seen to have."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="manifests")
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    media_type = models.CharField(max_length=255)
    size = models.PositiveBigIntegerField()
    subject = models.CharField(max_length=MAX_DIGEST_LENGTH, blank=True)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "repository", "digest"], name="manifest_once"
            ),
        ]

    def __str__(self) -> str:
        return self.digest


class ManifestReference(models.Model):
    """An index lists a manifest: deleting the child would leave the parent hollow."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="manifest_references")
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    parent = models.CharField(max_length=MAX_DIGEST_LENGTH)
    child = models.CharField(max_length=MAX_DIGEST_LENGTH)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "repository", "child", "parent"], name="reference_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.parent} lists {self.child}"
