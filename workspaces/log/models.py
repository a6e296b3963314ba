"""The tables of the lock log."""

from django.db import models
from django.db.models.functions import Now

from workspaces.access import ActorKind
from workspaces.log.kinds import EventKind

REF_LENGTH = 12
MAX_REASON_LENGTH = 500


class LockEvent(models.Model):
    """One thing that happened. Rows are written once and never changed."""

    ref = models.CharField(max_length=REF_LENGTH)
    at = models.DateTimeField(db_default=Now())
    workspace = models.CharField(max_length=63)
    kind = models.CharField(max_length=32, choices=[(kind.value, kind.label) for kind in EventKind])
    repository = models.CharField(max_length=255, blank=True)
    tag = models.CharField(max_length=128, blank=True)
    digest = models.CharField(max_length=256, blank=True)
    other_digest = models.CharField(max_length=256, blank=True)
    actor = models.CharField(max_length=255)
    actor_kind = models.CharField(
        max_length=16, choices=[(kind.value, kind.value) for kind in ActorKind]
    )
    rule_name = models.CharField(max_length=64, blank=True)
    rule_pattern = models.CharField(max_length=100, blank=True)
    settings_version = models.PositiveIntegerField(null=True)
    reason = models.CharField(max_length=MAX_REASON_LENGTH, blank=True)
    details = models.JSONField(null=True)
    origin_hash = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "ref"], name="event_ref_once"),
        ]
        indexes = [
            models.Index(fields=["workspace", "id"], name="event_page"),
            models.Index(fields=["workspace", "repository", "tag", "id"], name="event_tag"),
            models.Index(fields=["workspace", "kind", "id"], name="event_kind"),
        ]

    def __str__(self) -> str:
        return self.ref


class EventOrigin(models.Model):
    """The address and user agent behind an event. Can be erased: the event holds a salted hash."""

    event = models.OneToOneField(LockEvent, models.CASCADE, related_name="origin")
    salt = models.CharField(max_length=32)
    address = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=512, blank=True)

    def __str__(self) -> str:
        return self.address


class EventRepeat(models.Model):
    """How often an event was met again within its hour."""

    workspace = models.CharField(max_length=63)
    fingerprint = models.CharField(max_length=64)
    hour = models.DateTimeField()
    event = models.ForeignKey(LockEvent, models.PROTECT, related_name="repeats")
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "fingerprint", "hour"], name="event_repeat_once"
            ),
        ]
        indexes = [models.Index(fields=["hour"], name="event_repeat_hour")]

    def __str__(self) -> str:
        return f"{self.count} more of {self.event_id}"
