"""What is known of the registry's contents: a projection, never the authority for a lock."""

from django.db import models
from django.db.models.functions import Now

from containers.reference import MAX_DIGEST_LENGTH, MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH
from workspaces.models import Workspace


class Tag(models.Model):
    """What an unlocked tag pointed at when a push of it was last allowed."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="tags")
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    name = models.CharField(max_length=MAX_TAG_LENGTH)
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    pushed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "repository", "name"], name="tag_once"),
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.name}"
