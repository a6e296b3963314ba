"""The page "Container settings": three options, their patterns, and a live pattern tester."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from immutability.actions.save_settings import (
    MAX_COUNTED_AT_ONCE,
    LocksWouldSuspendError,
    StaleSettingsError,
    save_container_settings,
)
from immutability.models import ContainerSettings, Job
from immutability.pages.settings_form import SettingsForm
from immutability.pages.tester import run_tester
from immutability.policy.patterns import MAX_PATTERN_LENGTH
from immutability.policy.protection import MAX_RULE_NAME_LENGTH, Policy, Protection
from immutability.policy.tester import MAX_SAMPLE_TAGS
from immutability.reading import read_policy
from immutability.reconcile.jobs import find_count, find_inventory
from workspaces.access import Permission
from workspaces.callers import Access, identify_caller
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.text import read_number


@workspace_page(Permission.VIEW_SETTINGS, "GET", "HEAD", "POST")
def container_settings(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the settings; for admins, edit, test and save them."""
    if request.method != "POST":
        policy = read_policy(access.workspace)
        return _render(request, access, SettingsForm.from_policy(policy), {"policy": policy})
    access.require(Permission.CHANGE_SETTINGS)
    form = SettingsForm.from_post(request.POST)
    verb, _, argument = request.POST.get("action", "save").partition(":")
    if verb in ("save", "save_and_suspend"):
        return _save(request, access, form, may_suspend_locks=verb == "save_and_suspend")
    for patterns in form.lists:
        patterns.change(verb, read_number(argument))
    form.focus_tester = verb == "test"
    return _render(request, access, form)


def _save(
    request: HtmxRequest, access: Access, form: SettingsForm, *, may_suspend_locks: bool
) -> HttpResponse:
    if not form.check():
        return _render(request, access, form, status=422)
    try:
        policy = save_container_settings(
            access.workspace,
            form.to_draft(),
            expected_version=form.version,
            may_suspend_locks=may_suspend_locks,
            actor=access.actor,
        )
    except StaleSettingsError as error:
        # The form takes over the newer version: saving again replaces it knowingly.
        form.version = error.current.version
        return _render(
            request,
            access,
            form,
            {"newer": _describe_newer(access, error.current)},
            status=409,
        )
    except LocksWouldSuspendError as error:
        return _render(request, access, form, {"would_suspend": error}, status=409)
    if policy.version == form.version:
        messages.info(request, "There was nothing to save: these settings are in force already.")
    else:
        messages.success(
            request, f"Saved: {policy.protection.label}. In force for the very next push."
        )
    return redirect("container-settings", access.workspace.slug)


def _render(
    request: HtmxRequest,
    access: Access,
    form: SettingsForm,
    context: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    return render(
        request,
        "immutability/container_settings.html",
        {
            "access": access,
            "here": "containers",
            "form": form,
            "options": _OPTIONS,
            "tester": run_tester(form, identify_caller(request)),
            "max_name_length": MAX_RULE_NAME_LENGTH,
            "max_pattern_length": MAX_PATTERN_LENGTH,
            "max_sample_tags": MAX_SAMPLE_TAGS,
            "adoption": _find_adoption(access),
            "counting": find_count(access.workspace),
            "max_counted": MAX_COUNTED_AT_ONCE,
        }
        | (context or {}),
        status=status,
    )


def _find_adoption(access: Access) -> Job | None:
    """Return how far the locking of what was there already is; None where nothing is protected."""
    if read_policy(access.workspace).protection is Protection.NONE:
        return None
    return find_inventory(access.workspace)


_OPTIONS = (
    (Protection.NONE, "All tags stay mutable. This is the default."),
    (Protection.ALL, "Every tag becomes immutable after it’s first pushed."),
    (Protection.SOME, "Only tags matching custom rules become immutable."),
)


def _describe_newer(access: Access, policy: Policy) -> dict[str, Any]:
    """Say who saved what while somebody else was typing."""
    row = ContainerSettings.objects.filter(workspace=access.workspace).first()
    return {
        "policy": policy,
        "by": row.saved_by if row else "",
        "at": row.saved_at if row else None,
    }
