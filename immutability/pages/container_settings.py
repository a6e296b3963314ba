"""The page "Container settings": three options, two lists of patterns, and what they would do."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event

from immutability.actions.save_settings import (
    LocksWouldSuspendError,
    StaleSettingsError,
    save_container_settings,
)
from immutability.models import ContainerSettings, Job
from immutability.pages.conflict import compare_versions
from immutability.pages.kept import lead_to_sign_in, read_typed
from immutability.pages.preview import (
    ShownEffect,
    ShownPreview,
    list_suspended,
    run_preview,
)
from immutability.pages.settings_form import SettingsForm
from immutability.pages.tester import run_tester
from immutability.policy.patterns import MAX_PATTERN_LENGTH
from immutability.policy.preview import Effect
from immutability.policy.protection import MAX_RULE_NAME_LENGTH, Policy, Protection
from immutability.policy.tester import MAX_SAMPLE_TAGS
from immutability.policy.unsaved import describe_unsaved
from immutability.preview import SettingsPreview, find_newest_tags, preview_settings
from immutability.reading import read_policy
from immutability.reconcile.jobs import find_count, find_inventory
from workspaces.access import Permission
from workspaces.caller_access import Access, identify_caller
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.text import read_number


def container_settings(request: HtmxRequest, slug: str) -> HttpResponseBase:
    """Show the settings; for admins, edit, try and save them. What was typed survives sign-in."""
    if request.method == "POST" and not request.user.is_authenticated:
        return lead_to_sign_in(request)
    return _container_settings(request, slug)


@workspace_page(Permission.VIEW_SETTINGS, "GET", "HEAD", "POST")
def _container_settings(request: HtmxRequest, access: Access) -> HttpResponse:
    if request.method != "POST":
        return _show(request, access)
    access.require(Permission.CHANGE_SETTINGS)
    form = SettingsForm.from_post(request.POST)
    verb, _, argument = request.POST.get("action", "save").partition(":")
    if verb in ("save", "save_and_suspend"):
        return _save(request, access, form, may_suspend_locks=verb == "save_and_suspend")
    for patterns in form.lists:
        patterns.change(verb, read_number(argument))
    if verb == "use_newest_tags":
        form.sample_tags = "\n".join(find_newest_tags(access.workspace, MAX_SAMPLE_TAGS))
    form.focus_tester = verb in ("test", "use_newest_tags")
    form.focus_preview = verb == "preview"
    response = _render(request, access, form)
    # What is tried and previewed beside the form follows.
    return trigger_client_event(response, "settings-edited", after="swap")


def _show(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show what is saved, or what was typed before sign-in."""
    typed = read_typed(request.path, request.GET.get("typed", ""))
    if typed is None or not access.can_change_settings:
        policy = read_policy(access.workspace)
        return _render(request, access, SettingsForm.from_policy(policy), {"policy": policy})
    messages.warning(
        request,
        "You were signed out, so nothing was saved. What you typed is still here: save it again.",
    )
    return _render(request, access, SettingsForm.from_post(typed))


def _save(
    request: HtmxRequest, access: Access, form: SettingsForm, *, may_suspend_locks: bool
) -> HttpResponse:
    if not form.check():
        return _render(request, access, form, status=422)
    before = read_policy(access.workspace)
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
        newer = _describe_newer(access, form, error.current)
        return _render(request, access, form, {"newer": newer}, status=409)
    except LocksWouldSuspendError as error:
        preview = preview_settings(access.workspace, form.to_draft())
        if preview.change.is_exact and not preview.change.count(Effect.SUSPENDED):
            # Saving only looks at the newest locks, and this at all of them.
            return _save(request, access, form, may_suspend_locks=True)
        question = _make_question(preview, error)
        return _render(request, access, form, {"question": question}, status=409)
    if policy.version == form.version:
        messages.info(request, "Nothing to save: these settings are already in force.")
    else:
        messages.success(request, _describe_save(access, before, policy))
    if request.htmx:
        return HttpResponseClientRedirect(request.path)
    return redirect("container-settings", access.workspace.slug)


def _describe_save(access: Access, before: Policy, after: Policy) -> str:
    """Return what a save has changed, in settings and locks, as a sentence or more."""
    changed = describe_unsaved(before, after)
    saved = LockEvent.objects.filter(
        workspace=access.workspace.slug,
        kind=EventKind.SETTINGS_CHANGED,
        settings_version=after.version,
    ).first()
    details = (saved.details if saved else None) or {}
    moved = [
        f"{number} {'lock' if number == 1 else 'locks'} {what}"
        for number, what in (
            (details.get("locks_suspended"), "suspended"),
            (details.get("locks_resumed"), "holding again"),
        )
        if number
    ]
    sentences = [f"Saved: {after.protection.label}", changed, ", ".join(moved)]
    said = [f"{each[:1].upper()}{each[1:]}." for each in sentences if each]
    return f"{' '.join(said)} In force for the next push."


def _make_question(preview: SettingsPreview, error: LocksWouldSuspendError) -> dict[str, Any]:
    """Return what is asked before locks are suspended."""
    effects: list[ShownEffect] = list_suspended(preview)
    count = max(preview.change.count(Effect.SUSPENDED), error.count)
    return {"count": count, "is_exact": preview.change.is_exact, "effects": effects}


def _render(
    request: HtmxRequest,
    access: Access,
    form: SettingsForm,
    context: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    saved = read_policy(access.workspace)
    form.compare(saved)
    caller = identify_caller(request)
    # The script asks for a preview by itself. Without it, each answer to a button has one.
    shown = ShownPreview()
    if request.method == "POST" and not request.htmx and access.can_change_settings:
        shown = run_preview(form, access, caller)
        form.note_covers(shown.covers)
    return render(
        request,
        "immutability/container_settings.html",
        {
            "access": access,
            "here": "containers",
            "form": form,
            "options": _OPTIONS,
            "saved": saved,
            "tester": run_tester(form, saved, caller),
            "shown": shown,
            "max_name_length": MAX_RULE_NAME_LENGTH,
            "max_pattern_length": MAX_PATTERN_LENGTH,
            "max_sample_tags": MAX_SAMPLE_TAGS,
            "adoption": _find_adoption(access, saved),
            "counting": find_count(access.workspace),
        }
        | (context or {}),
        status=status,
    )


def _find_adoption(access: Access, saved: Policy) -> Job | None:
    """Return how far the locking of what was there already is; None if nothing is protected."""
    if saved.protection is Protection.NONE:
        return None
    return find_inventory(access.workspace)


_OPTIONS = (
    (Protection.NONE, "All tags stay mutable. This is the default."),
    (Protection.ALL, "Every tag becomes immutable after it’s first pushed."),
    (Protection.SOME, "Only tags matching custom rules become immutable."),
)


def _describe_newer(access: Access, form: SettingsForm, policy: Policy) -> dict[str, Any]:
    """Say who saved what in the meantime, and how it differs from what is typed."""
    row = ContainerSettings.objects.filter(workspace=access.workspace).first()
    return {
        "policy": policy,
        "by": row.saved_by if row else "",
        "at": row.saved_at if row else None,
        "lines": compare_versions(policy, form.to_draft().to_policy(policy.version)),
    }
