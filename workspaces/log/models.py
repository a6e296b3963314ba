"""The tables of the lock log."""

import uuid

from django.db import models
from django.db.models.functions import Now

from workspaces.access import ActorKind
from workspaces.log.kinds import REF_LENGTH as REF_LENGTH
from workspaces.log.kinds import EventKind

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
        # Pages go backwards in time; of each filter the newest events are found by its index.
        indexes = [
            models.Index(fields=["workspace", "at", "id"], name="event_by_time"),
            models.Index(
                fields=["workspace", "repository", "at", "id"], name="event_by_repository"
            ),
            models.Index(
                fields=["workspace", "repository", "tag", "at", "id"], name="event_by_tag"
            ),
            # Of one name in every repository: the index above begins with the repository.
            models.Index(
                fields=["workspace", "tag", "at", "id"],
                name="event_by_tag_name",
                condition=~models.Q(tag=""),
            ),
            models.Index(fields=["workspace", "kind", "at", "id"], name="event_by_kind"),
            models.Index(fields=["workspace", "actor", "at", "id"], name="event_by_actor"),
            models.Index(
                fields=["workspace", "rule_name", "at", "id"],
                name="event_by_rule",
                condition=~models.Q(rule_name=""),
            ),
            # By its beginning, which one database only finds with the operators of patterns.
            models.Index(
                fields=["workspace", "digest"],
                name="event_by_digest",
                opclasses=["varchar_pattern_ops", "varchar_pattern_ops"],
                condition=~models.Q(digest=""),
            ),
            models.Index(
                fields=["workspace", "other_digest"],
                name="event_by_other_digest",
                opclasses=["varchar_pattern_ops", "varchar_pattern_ops"],
                condition=~models.Q(other_digest=""),
            ),
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
    """How often an event happened again within its hour."""

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


class EventSeal(models.Model):
    """An event's place in its workspace's chain, and the hash that binds it to all before it.

    Rows are written once and never changed: triggers of the database see to that, as they do for
    events and checkpoints.
    """

    workspace = models.CharField(max_length=63)
    sequence = models.PositiveBigIntegerField()
    event = models.OneToOneField(LockEvent, models.PROTECT, related_name="seal")
    hash = models.CharField(max_length=64)
    sealed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "sequence"], name="seal_once"),
        ]

    def __str__(self) -> str:
        return f"{self.workspace} {self.sequence}"


class SealProgress(models.Model):
    """Up to which event the log has been looked through for unsealed ones: one row in all.

    The sealing process holds it. What commits late, with an id below `settled_id`, is found by the
    daily search through everything.
    """

    settled_id = models.PositiveBigIntegerField(default=0)
    swept_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"settled up to {self.settled_id}"


class Checkpoint(models.Model):
    """A signed statement of what a workspace's chain was at a moment. Never changed."""

    workspace = models.CharField(max_length=63)
    sequence = models.PositiveBigIntegerField()
    hash = models.CharField(max_length=64)
    note = models.TextField()
    made_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["workspace", "id"], name="checkpoint_by_workspace")]

    def __str__(self) -> str:
        return f"{self.workspace} {self.sequence}"


class LogExport(models.Model):
    """How far an export is, for the person waiting for it. Deleted after a day."""

    class State(models.TextChoices):
        """Where an export stands."""

        RUNNING = "running"
        DONE = "done"
        STOPPED = "stopped"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.CharField(max_length=63)
    actor = models.CharField(max_length=255)
    total = models.PositiveBigIntegerField()
    done = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField(db_default=Now())
    moved_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["started_at"], name="export_by_age")]

    def __str__(self) -> str:
        return f"{self.done} of {self.total}"
