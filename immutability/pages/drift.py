"""The page of what differs between locks and registry, and what can be done about it."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpResponse
from django.shortcuts import redirect, render

from containers.connection import find_registry
from containers.names import Digest, TagName
from immutability import drift
from immutability.actions.drift import look_again, put_back
from immutability.errors import ConflictError, PermissionRevokedError, TryAgainError
from immutability.models import Drift, LockedTag
from immutability.policy.protection import Policy, cover
from immutability.reading import read_policy
from immutability.reconcile.jobs import ask_for_comparison, find_comparison
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.queries import FilterForm, IdField
from workspaces.text import to_sentence

DRIFTS_PER_PAGE = 50

_HELP = {
    Drift.Kind.CHANGED: "Put it back, or push the locked image again. If the other image is right, "
    "release the tag, and push that one.",
    Drift.Kind.MISSING: "Put it back, or push the locked image again. If it is to stay away, "
    "delete the tag: its name is then reserved, or free.",
    Drift.Kind.NOT_PUSHED: "A check locked the tag, and its push never came. Push the locked "
    "image, or release the tag.",
    Drift.Kind.INCOMPLETE: "Push what is missing again, by its digest, then look again.",
    Drift.Kind.RESERVED: "Delete the tag in the registry, then look again.",
}
_GONE = (
    "The locked image is gone from the registry. Push it again, or delete the tag and free its "
    "name."
)


@dataclass(frozen=True)
class DriftRow:
    """A difference as the page shows it."""

    drift: Drift
    lock: LockedTag
    what: str
    help: str
    can_be_put_back: bool

    @property
    def can_be_released(self) -> bool:
        return self.drift.kind in (Drift.Kind.CHANGED, Drift.Kind.NOT_PUSHED)

    @property
    def is_reserved(self) -> bool:
        return self.drift.kind == Drift.Kind.RESERVED


class _PageForm(FilterForm):
    """Where the page begins."""

    after = IdField()


@workspace_page(Permission.VIEW_LOCKED_TAGS)
def drift_page(request: HtmxRequest, access: Access) -> HttpResponse:
    """List what differs, the oldest first."""
    form = _PageForm(request.GET)
    after = form.cleaned_data["after"] if form.is_valid() else 0
    found = list(drift.find_drifts(access.workspace).filter(id__gt=after)[: DRIFTS_PER_PAGE + 1])
    shown, policy = found[:DRIFTS_PER_PAGE], read_policy(access.workspace)
    context: dict[str, Any] = {
        "access": access,
        "rows": [_make_row(each) for each in shown if _is_in_force(each, policy)],
        "next_after": shown[-1].id if len(found) > DRIFTS_PER_PAGE else 0,
        "has_registry": find_registry(access.workspace) is not None,
        "repairs": policy.repair_drift,
        "comparison": find_comparison(access.workspace),
    }
    return render(request, "immutability/drift.html", context)


def _is_in_force(found: Drift, policy: Policy) -> bool:
    return cover(policy, TagName(found.record.name)).is_covered


def _make_row(found: Drift) -> DriftRow:
    what = to_sentence(drift.read(found).describe(Digest(found.digest)))
    return DriftRow(
        found,
        found.record.lock,
        what,
        _GONE if found.is_gone else _HELP[Drift.Kind(found.kind)],
        found.kind in drift.MOVED and not found.is_gone,
    )


@workspace_page(Permission.MANAGE_LOCKED_TAGS, "POST")
def change_drift(request: HtmxRequest, access: Access, drift_id: int) -> HttpResponse:
    """Put a tag back, or look again, and say what came of it."""
    found = drift.find_drifts(access.workspace).filter(id=drift_id).first()
    if found is None:
        messages.success(request, "That difference is over.")
        return redirect("drift", access.workspace.slug)
    registry, name = (
        find_registry(access.workspace),
        f"{found.record.repository}:{found.record.name}",
    )
    if registry is None:
        messages.error(request, "No registry is connected; nothing was changed.")
        return redirect("drift", access.workspace.slug)
    try:
        match request.POST.get("action"):
            case "repair":
                put_back(found, registry, actor=access.actor)
                messages.success(request, f"{name} points at its locked image again.")
            case "look":
                still = look_again(found, registry)
                said = f"still differs: {still}" if still else "is as it was locked"
                messages.success(request, f"{name} {said}.")
            case _:
                raise BadRequest("Unknown action.")
    except (ConflictError, PermissionRevokedError, TryAgainError) as error:
        messages.error(request, f"{name}: {error}")
    return redirect("drift", access.workspace.slug)


@workspace_page(Permission.MANAGE_LOCKED_TAGS, "POST")
def compare_all(request: HtmxRequest, access: Access) -> HttpResponse:
    """Order a comparison of every lock with the registry."""
    if find_registry(access.workspace) is None:
        messages.error(request, "No registry is connected, so there is nothing to compare with.")
    else:
        ask_for_comparison(access.workspace)
        messages.success(request, "Every lock is being compared with the registry.")
    return redirect("drift", access.workspace.slug)
