"""The page of the latest checkpoint: what to keep, and how to verify the log with it."""

from shlex import quote

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone

from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.log.checkpoints import latest_checkpoint, make_checkpoint
from workspaces.log.keys import KeyFileError, verifier_key
from workspaces.log.models import Checkpoint
from workspaces.log.seal import count_unsealed
from workspaces.pages.access import HtmxRequest, workspace_page


@workspace_page(Permission.VIEW_ALL_EVENTS, "GET", "HEAD", "POST")
def checkpoint(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the latest checkpoint, or make one now.

    Auditors may make one too: it changes nothing, it says what is there.
    """
    slug = access.workspace.slug
    if request.method == "POST":
        _make(request, slug)
        return redirect("log-checkpoint", slug)
    latest, key = latest_checkpoint(slug), _find_verifier_key()
    note_name = _name_file(latest) if latest else ""
    export_name = f"{slug}-lock-log-{timezone.now():%Y-%m-%d}.jsonl"
    script = request.build_absolute_uri(static("verify_lock_log.py"))
    return render(
        request,
        "workspaces/checkpoint.html",
        {
            "access": access,
            "checkpoint": latest,
            "note_name": note_name,
            "export_name": export_name,
            "verifier_key": key,
            "verify_command": _write_command(script, export_name, key, note_name),
            "operator_command": f"python manage.py verify_lock_log {slug}",
            "unsealed": count_unsealed(slug),
        },
    )


def _write_command(script: str, export_name: str, key: str, note_name: str) -> str:
    """Return the commands that verify an export in the folder that it was downloaded to."""
    parts = [f"python3 verify_lock_log.py {export_name}"]
    if key:
        parts.append(f"--key {quote(key)}")
    if note_name:
        parts.append(f"--checkpoint {note_name}")
    verify = " \\\n  ".join(parts)
    return f"curl -fsS -o verify_lock_log.py {quote(script)}\n{verify}"


@workspace_page(Permission.VIEW_ALL_EVENTS)
def download_checkpoint(request: HtmxRequest, access: Access) -> HttpResponse:
    """Return the latest checkpoint's note as a file, byte by byte as it was signed."""
    latest = latest_checkpoint(access.workspace.slug)
    if latest is None:
        raise Http404
    response = HttpResponse(latest.note, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_name_file(latest)}"'
    response["Cache-Control"] = "no-store"
    return response


def _name_file(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.workspace}-checkpoint-{checkpoint.sequence}.note"


def _make(request: HtmxRequest, slug: str) -> None:
    before = latest_checkpoint(slug)
    try:
        made = make_checkpoint(slug)
    except KeyFileError:
        messages.error(request, "The lock log's key cannot be read: nothing was signed.")
        return
    if made is None:
        messages.error(request, "No event is sealed yet. Try again in a moment.")
    elif made == before:
        messages.success(request, f"The checkpoint of event {made.sequence} is still up to date.")
    else:
        messages.success(request, f"The checkpoint of event {made.sequence} is made.")


def _find_verifier_key() -> str:
    try:
        return verifier_key()
    except KeyFileError:
        return ""
