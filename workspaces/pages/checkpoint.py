"""The page of the latest checkpoint: what to keep, and how to verify the log with it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.checkpoints import latest_checkpoint, make_checkpoint
from workspaces.log.keys import KeyFileError, verifier_key
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
    return render(
        request,
        "workspaces/checkpoint.html",
        {
            "access": access,
            "checkpoint": latest_checkpoint(slug),
            "verifier_key": _find_verifier_key(),
            "unsealed": count_unsealed(slug),
        },
    )


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
        messages.success(
            request, f"The checkpoint of event {made.sequence} still says what is there."
        )
    else:
        messages.success(request, f"The checkpoint of event {made.sequence} is made.")


def _find_verifier_key() -> str:
    try:
        return verifier_key()
    except KeyFileError:
        return ""
