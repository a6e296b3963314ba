"""What an allowed check leaves on its tags, since Taglock does not see what its caller writes."""

from datetime import datetime, timedelta

from containers import writes
from containers.names import TagName
from containers.registry.client import RegistryClient
from immutability.policy.decisions import Step, ends_lock
from immutability.push.plan import PushPlan

# A caller that is allowed to write in one call begins to write within this time.
SENT_WITHIN = timedelta(minutes=1)


def leave_strays(
    held: PushPlan, tags: list[TagName], sent_by: datetime, registry: RegistryClient | None
) -> None:
    """The caller may write these tags until `sent_by`, and Taglock doesn't see it.

    Without a registry to look at, it counts as done.
    """
    digest = held.question.digest.value
    for tag in tags:
        record = held.records[tag]
        writes.add_stray(record, digest, over_at(sent_by))
        if registry is None:
            writes.set_shown(record, digest, held.now)
        writes.save_record(record, held.now)


def over_at(sent_by: datetime) -> datetime:
    """Return when a write that was sent by then is over: the end of that minute.

    Until then the same check has nothing to write.
    """
    return (sent_by + writes.STRAY_LIFE).replace(second=0, microsecond=0) + timedelta(minutes=1)


def is_written_down(plan: PushPlan, registry: RegistryClient | None) -> bool:
    """Whether the same was allowed moments ago, so that this check has nothing to write.

    What was read in one statement is enough then: all that the push may still do stands in the
    records already.
    """
    manifest = plan.manifest
    if manifest is None or not plan.needs_no_other or plan.has_news:
        return False
    if writes.open_delete_ends(manifest, plan.now) is not None:
        return False
    digest, until = plan.question.digest.value, plan.now + SENT_WITHIN + writes.STRAY_LIFE
    return all(
        _changes_no_lock(plan, tag)
        and (record := plan.records.get(tag)) is not None
        and (record.digest == digest or registry is not None)
        and (record.stray_until is not None and record.stray_until >= until)
        and record.stray_digest == digest
        for tag in plan.question.tags
    )


def _changes_no_lock(plan: PushPlan, tag: TagName) -> bool:
    step, row = plan.decisions[tag].step, plan.locks.get(tag)
    ends = row is not None and ends_lock(row.to_lock(), plan.question.digest)
    return step is Step.UNCHANGED or (step is Step.SEND and not ends)
