"""Numbers about locks that a page shows: bounded, so that they cost the same in any workspace."""

import time

from containers.names import TagName
from immutability.locked_tags import MAX_COUNTED, LockCount
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, Protection, cover
from workspaces.models import Workspace

# Of more locks than these, the newest ones are matched with the rules.
MAX_MATCHED = 1_000
# Counting stops after the rules have taken this long: seven bad ones take 15 ms per tag.
MAX_MATCH_SECONDS = 0.2


def count_suspended(workspace: Workspace, policy: Policy) -> LockCount:
    """Return how many locks are suspended: at least so many, where it is not exact.

    Raises PatternError or PatternEvaluationError.
    """
    locks = LockedTag.objects.filter(workspace=workspace).exclude(state=LockState.CLAIMED)
    if policy.protection is Protection.NONE:
        count = locks[: MAX_COUNTED + 1].count()
        return LockCount(min(count, MAX_COUNTED), is_exact=count <= MAX_COUNTED)
    tags = list(locks.order_by("-id").values_list("tag", flat=True)[: MAX_MATCHED + 1])
    stop_at = time.monotonic() + MAX_MATCH_SECONDS
    suspended = 0
    for tag in tags[:MAX_MATCHED]:
        if time.monotonic() > stop_at:
            return LockCount(suspended, is_exact=False)
        suspended += not cover(policy, TagName(tag)).is_covered
    return LockCount(suspended, is_exact=len(tags) <= MAX_MATCHED)
