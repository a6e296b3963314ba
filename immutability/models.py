"""Container settings, rules, locked tags, claims and jobs."""

from django.db import models
from django.db.models.functions import Length, Lower, Now
from django.utils import timezone

from containers.models import Tag as TagRecord
from containers.names import MAX_DIGEST_LENGTH, MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH, Digest
from immutability.policy.messages import LockFacts
from immutability.policy.patterns import MAX_PATTERN_LENGTH
from immutability.policy.protection import (
    MAX_EXCEPTIONS_PER_WORKSPACE,
    MAX_RULE_NAME_LENGTH,
    MAX_RULES_PER_WORKSPACE,
    Coverage,
    Lock,
    LockState,
    Protection,
)
from workspaces.access import ActorKind, describe_actor
from workspaces.log.append import Event
from workspaces.log.kinds import EventKind
from workspaces.log.models import MAX_REASON_LENGTH, REF_LENGTH
from workspaces.models import Workspace

models.CharField.register_lookup(Length)

MAX_IDEMPOTENCY_KEY_LENGTH = 128


class ContainerSettings(models.Model):
    """What a workspace protects. A workspace without a row protects nothing, at version 0."""

    workspace = models.OneToOneField(
        Workspace, models.CASCADE, primary_key=True, related_name="container_settings"
    )
    version = models.PositiveIntegerField(default=1)
    protection = models.CharField(
        max_length=8,
        choices=[(protection.value, protection.label) for protection in Protection],
        default=Protection.NONE.value,
    )
    refuse_identical_pushes = models.BooleanField(default=False)
    protect_signature_tags = models.BooleanField(default=False)
    # Put back locked tags that were changed past Taglock.
    repair_drift = models.BooleanField(default=False, db_default=False)
    saved_at = models.DateTimeField(db_default=Now())
    saved_by = models.CharField(max_length=255)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(protection__in=[protection.value for protection in Protection]),
                name="settings_protection",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.protection} at version {self.version}"


def _constrain_patterns(prefix: str, max_count: int) -> list[models.BaseConstraint]:
    """Return what holds for each list of named patterns: places, lengths, names used once."""
    return [
        models.UniqueConstraint(fields=["settings", "position"], name=f"{prefix}_position_once"),
        models.UniqueConstraint("settings", Lower("name"), name=f"{prefix}_name_once"),
        models.CheckConstraint(
            condition=models.Q(position__gte=1, position__lte=max_count), name=f"{prefix}_position"
        ),
        models.CheckConstraint(
            condition=models.Q(name__length__gte=1, name__length__lte=MAX_RULE_NAME_LENGTH),
            name=f"{prefix}_name_length",
        ),
        models.CheckConstraint(
            condition=models.Q(pattern__length__gte=1, pattern__length__lte=MAX_PATTERN_LENGTH),
            name=f"{prefix}_pattern_length",
        ),
    ]


class PatternRow(models.Model):
    """A named RE2 pattern, at its place in a list."""

    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=MAX_RULE_NAME_LENGTH)
    pattern = models.CharField(max_length=MAX_PATTERN_LENGTH)

    class Meta:
        abstract = True
        ordering = ["position"]

    def __str__(self) -> str:
        return self.name


class Rule(PatternRow):
    """A pattern of tags to protect, kept while the protection is not "some"."""

    settings = models.ForeignKey(ContainerSettings, models.CASCADE, related_name="rules")

    class Meta(PatternRow.Meta):
        constraints = _constrain_patterns("rule", MAX_RULES_PER_WORKSPACE)


class TagException(PatternRow):
    """A pattern of tags that stay mutable, kept while the protection is not "all"."""

    # The constraints' indexes begin with it: no index of its own.
    settings = models.ForeignKey(
        ContainerSettings, models.CASCADE, related_name="exceptions", db_index=False
    )

    class Meta(PatternRow.Meta):
        constraints = _constrain_patterns("exception", MAX_EXCEPTIONS_PER_WORKSPACE)


class LockedTag(models.Model):
    """A lock: the promise that a tag points to one digest. One at most for each tag's record.

    Repository and tag repeat what the record says, which never changes, so that locks are found and
    sorted without it.
    """

    record = models.OneToOneField(TagRecord, models.PROTECT, related_name="lock")
    # Others begin with it: no index of its own.
    workspace = models.ForeignKey(
        Workspace, models.PROTECT, related_name="locked_tags", db_index=False
    )
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    tag = models.CharField(max_length=MAX_TAG_LENGTH)
    state = models.CharField(
        max_length=8, choices=[(state.value, state.value) for state in LockState]
    )
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    media_type = models.CharField(max_length=255, blank=True)
    rule_name = models.CharField(max_length=MAX_RULE_NAME_LENGTH, blank=True)
    rule_pattern = models.CharField(max_length=MAX_PATTERN_LENGTH, blank=True)
    settings_version = models.PositiveIntegerField()
    pushed_by = models.CharField(max_length=255, blank=True)
    pushed_by_kind = models.CharField(
        max_length=16, choices=[(kind.value, kind.value) for kind in ActorKind]
    )
    locked_at = models.DateTimeField(db_default=Now())
    deleted_by = models.CharField(max_length=255, blank=True)
    deleted_by_kind = models.CharField(max_length=16, blank=True)
    deleted_at = models.DateTimeField(null=True)
    # Why an admin deletes, for the event once the delete has landed.
    delete_reason = models.CharField(max_length=MAX_REASON_LENGTH, blank=True)
    # What a claim, or a delete, goes back to where it fails: the columns of the lock
    # that it replaces, or null if there was no lock.
    replaced = models.JSONField(null=True)
    # The registry refused to point, or to delete, while an earlier write of the tag may still land.
    refused_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "repository", "tag"], name="locked_tag_once"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=[state.value for state in LockState]),
                name="locked_tag_state",
            ),
            models.CheckConstraint(
                condition=models.Q(digest__length__gte=1, tag__length__gte=1),
                name="locked_tag_whole",
            ),
        ]
        indexes = [
            # In this order, so that a digest's beginning is found in the whole workspace.
            models.Index(fields=["workspace", "digest", "repository"], name="locked_tag_digest"),
            models.Index(fields=["workspace", "id"], name="locked_tag_page"),
            # Of every other state there are few: the scheduler asks for claims and deletes, people
            # for pages of one state.
            models.Index(
                fields=["state", "workspace", "id"],
                name="locked_tag_rare_state",
                condition=~models.Q(state="locked"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    def to_lock(self) -> Lock:
        """Return what a decision needs to know."""
        replaced = self.replaced or {}
        return Lock(
            LockState(self.state),
            Digest(self.digest),
            LockState(replaced["state"]) if replaced else None,
            Digest(replaced["digest"]) if replaced else None,
        )

    def to_event(
        self,
        kind: EventKind,
        workspace: str,
        *,
        other_digest: str = "",
        settings_version: int | None = None,
        reason: str = "",
    ) -> Event:
        """Return an event of this lock, by the settings that it was locked under or by others."""
        return Event(
            kind,
            workspace,
            self.repository,
            self.tag,
            digest=self.digest,
            other_digest=other_digest,
            rule_name=self.rule_name,
            rule_pattern=self.rule_pattern,
            settings_version=(
                self.settings_version if settings_version is None else settings_version
            ),
            reason=reason,
        )

    @property
    def shown_deleter(self) -> str:
        """Who deleted the tag, as people are shown it; empty if no one did."""
        return describe_actor(self.deleted_by, self.deleted_by_kind) if self.deleted_by else ""

    def to_facts(self, workspace: str, coverage: Coverage | None = None) -> LockFacts:
        """Return what a refused person may be told: of the rules, what covers the tag now.

        The rule that it was locked by may have another name since, or be gone.
        """
        return LockFacts(
            workspace=workspace,
            repository=self.repository,
            tag=self.tag,
            digest=Digest(self.digest),
            locked_at=self.locked_at,
            coverage=coverage,
            pushed_by=describe_actor(self.pushed_by, self.pushed_by_kind),
            deleted_by=self.shown_deleter,
            deleted_at=self.deleted_at,
        )


class Claim(models.Model):
    """What a two-phase check was told: its id is the id of the write in flight.

    The records and locks say what it holds; this row answers a caller that reports it again.
    """

    class Outcome(models.TextChoices):
        OPEN = "open"
        CONFIRMED = "confirmed"
        ABANDONED = "abandoned"
        DROPPED = "dropped"

    id = models.UUIDField(primary_key=True, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="claims")
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    tags = models.JSONField()
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    actor = models.CharField(max_length=255)
    actor_kind = models.CharField(
        max_length=16, choices=[(kind.value, kind.value) for kind in ActorKind]
    )
    # The caller's own name for the push, so that a repeated begin gets the same claim.
    idempotency_key = models.CharField(max_length=MAX_IDEMPOTENCY_KEY_LENGTH, blank=True)
    outcome = models.CharField(max_length=16, choices=Outcome.choices, default=Outcome.OPEN)
    begun_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "actor_kind", "actor", "idempotency_key"],
                name="claim_key_once",
                condition=~models.Q(idempotency_key=""),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Job(models.Model):
    """Background work: what there is to do, how far it is, and whose turn it is until when.

    A worker that has lost its lease, to another worker or to a new order, changes nothing more.
    """

    class Kind(models.TextChoices):
        # Read what the registry has into records, and lock the covered tags among them.
        INVENTORY = "inventory"
        # Count the locks that a save of settings has suspended and resumed.
        COUNT = "count"
        # Compare every lock with the registry.
        DRIFT = "drift"

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    # What is counted for: the event of the save, by its ref.
    event = models.CharField(max_length=REF_LENGTH, blank=True, default="", db_default="")
    asked_at = models.DateTimeField(db_default=Now())
    # Everything up to here is done.
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH, blank=True)
    tag = models.CharField(max_length=MAX_TAG_LENGTH, blank=True)
    looked_at_count = models.PositiveIntegerField(default=0)
    adopted_count = models.PositiveIntegerField(default=0)
    # Tags with a write in flight, or that the registry cannot show: their next push adopts them.
    left_out_count = models.PositiveIntegerField(default=0)
    # Of a comparison and a count, which go through the locks in order of their ids; the count up to
    # the last one before the save.
    lock_id = models.PositiveBigIntegerField(default=0, db_default=0)
    last_lock_id = models.PositiveBigIntegerField(default=0, db_default=0)
    suspended_count = models.PositiveIntegerField(default=0, db_default=0)
    resumed_count = models.PositiveIntegerField(default=0, db_default=0)
    lease = models.UUIDField(null=True)
    expires_at = models.DateTimeField(db_default=Now())
    done_at = models.DateTimeField(null=True)
    # Of a comparison: when it had been ordered, as it began with the first lock. A later order
    # wants another comparison.
    begun_for = models.DateTimeField(null=True)
    # And when all locks had been compared the last time, and the last repository of which the
    # registry could not show all.
    compared_at = models.DateTimeField(null=True)
    left_out_repository = models.CharField(
        max_length=MAX_REPOSITORY_LENGTH, blank=True, default="", db_default=""
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "kind", "event"], name="job_once"),
        ]
        indexes = [
            models.Index(
                fields=["expires_at"], name="job_due", condition=models.Q(done_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.workspace_id}"

    @property
    def is_running(self) -> bool:
        """Whether it has begun, or is about to. One that waits until later is not running."""
        is_waiting = self.lease is None and self.expires_at > timezone.now()
        return self.done_at is None and not is_waiting


class Pruning(models.Model):
    """How far the background has come in deleting what is old. There is one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    # Every push up to here was looked at.
    last_push_id = models.PositiveBigIntegerField(default=0, db_default=0)
    rests_until = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="pruning_once")]

    def __str__(self) -> str:
        return f"up to push {self.last_push_id}"


class Hint(models.Model):
    """A registry's word that a tag may have changed: it is looked at, and the hint is forgotten.

    A tag has one at most, however often its registry reports it.
    """

    # The constraint's index begins with it: no index of its own.
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="hints", db_index=False)
    repository = models.CharField(max_length=MAX_REPOSITORY_LENGTH)
    tag = models.CharField(max_length=MAX_TAG_LENGTH)
    # What the registry reported under the tag; empty where that is gone.
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH, blank=True)
    received_at = models.DateTimeField(db_default=Now())
    # No look comes before then. A worker that looks moves it on, as its lease.
    look_at = models.DateTimeField(db_default=Now())
    look_count = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "repository", "tag"], name="hint_once"),
        ]
        indexes = [models.Index(fields=["look_at"], name="hint_due")]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


class Drift(models.Model):
    """What the registry has instead of what a tag's lock says. A tag has one at most.

    It is over where the lock is now another one, or the record shows its image: `find_drifts`
    leaves those out, and the next look removes them.
    """

    class Kind(models.TextChoices):
        # The tag was at its image, and is at another one.
        CHANGED = "changed"
        # The tag was at its image, and is gone.
        MISSING = "missing"
        # A check locked the tag, and it was never seen at that image.
        NOT_PUSHED = "not_pushed"
        # The locked image lists manifests that are gone.
        INCOMPLETE = "incomplete"
        # The name is reserved, and the tag is there.
        RESERVED = "reserved"

    record = models.OneToOneField(TagRecord, models.CASCADE, related_name="drift")
    # The index of pages begins with it: no index of its own.
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="drifts", db_index=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    # The lock's, and what the registry has under the tag.
    digest = models.CharField(max_length=MAX_DIGEST_LENGTH)
    found = models.CharField(max_length=MAX_DIGEST_LENGTH, blank=True)
    # Of what the locked image lists: one that is gone, and how many are.
    missing = models.CharField(max_length=MAX_DIGEST_LENGTH, blank=True)
    missing_count = models.PositiveIntegerField(default=0)
    # The registry has no manifest of the locked digest any more: no one can point the tag at it.
    is_gone = models.BooleanField(default=False)
    event = models.CharField(max_length=REF_LENGTH)
    found_at = models.DateTimeField(db_default=Now())
    # When it can be put back, where the settings say so; null: never.
    repair_at = models.DateTimeField(null=True)
    # Why it could not be put back the last time.
    failure = models.CharField(max_length=MAX_REASON_LENGTH, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["workspace", "id"], name="drift_page"),
            models.Index(
                fields=["repair_at"],
                name="drift_due",
                condition=models.Q(repair_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.record_id}"
