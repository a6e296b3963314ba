"""The pages of registries besides the one of REGISTRY_URL, for site administrators."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from containers.connection import check_connection
from containers.registries import connect_row
from containers.registry.account import Accounts
from containers.registry.checkup import Finding, Outcome, summarize
from containers.registry_changes import (
    MAX_USERNAME_LENGTH,
    add_registry,
    keep_findings,
    remove_registry,
)
from containers.tokens.tokens import ISSUER
from immutability.actions.move_workspace import move_workspace
from workspaces.access import Actor
from workspaces.models import (
    MAX_HOST_LENGTH,
    MAX_REGISTRY_NAME_LENGTH,
    MAX_REGISTRY_URL_LENGTH,
    Registry,
)
from workspaces.pages.access import HtmxRequest, site_page
from workspaces.pages.forms import WorkspaceField, render_form

MAX_WORKSPACES_SHOWN = 100
_FIRST = "The registry of REGISTRY_URL"
_ACCOUNTS = (
    (Accounts.TOKENS, "Taglock", "The registry trusts Taglock's tokens: Distribution, zot."),
    (
        Accounts.REGISTRY,
        "The registry",
        "People and programs log in there, as before. Only the edge may reach it.",
    ),
    (
        Accounts.TAGLOCK,
        "Taglock, and the registry knows Taglock alone",
        "For registries without accounts, and those that others run.",
    ),
)


class ConnectForm(forms.Form):
    """How a registry is connected."""

    name = forms.CharField(
        max_length=MAX_REGISTRY_NAME_LENGTH,
        help_text="Lower-case letters, digits and hyphens, such as harbor. It never changes.",
        error_messages={"required": "Enter a name."},
    )
    url = forms.CharField(
        label="Address",
        max_length=MAX_REGISTRY_URL_LENGTH,
        help_text="As Taglock's processes reach it, up to /v2/: https://harbor.internal",
        error_messages={"required": "Enter an address."},
    )
    host = forms.CharField(
        label="Host name for clients",
        max_length=MAX_HOST_LENGTH,
        help_text="In the names of images, such as images.example.org. It leads to the edge.",
        error_messages={"required": "Enter a host name."},
    )
    accounts = forms.ChoiceField(
        label="Who keeps the accounts?",
        widget=forms.RadioSelect,
        choices=[(value.value, label) for value, label, _ in _ACCOUNTS],
        initial=Accounts.TOKENS.value,
        error_messages={"required": "Choose who keeps them."},
    )
    username = forms.CharField(
        label="Taglock's own account",
        required=False,
        max_length=MAX_USERNAME_LENGTH,
        help_text=(
            "Its user name there. Its password is set by the operator, and never typed here. Not "
            "for a registry that trusts Taglock's tokens."
        ),
    )

    def list_accounts(self) -> list[tuple[Any, str]]:
        """Return the ways of keeping accounts with a hint to each."""
        return [
            (radio, hint) for radio, (_, _, hint) in zip(self["accounts"], _ACCOUNTS, strict=True)
        ]


class MoveForm(forms.Form):
    """A workspace, and the registry that it is to be at."""

    workspace = WorkspaceField(help_text="Its slug. It can have no images yet.")
    registry = forms.ModelChoiceField(
        Registry.objects.order_by("name").defer("findings"), required=False, empty_label=_FIRST
    )


@site_page("GET", "HEAD", "POST")
def connect_registry_page(request: HtmxRequest, actor: Actor) -> HttpResponse:
    """Connect another registry; then check it, and show what was found."""
    form = ConnectForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            row = add_registry(**form.cleaned_data, actor=actor)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            _check(row)
            messages.success(request, f"The registry {row.name} is connected.")
            return redirect("registry", row.pk)
    context = {"here": "registry", "form": form}
    return render_form(request, "immutability/connect_registry.html", context)


@site_page("GET", "HEAD", "POST")
def another_registry_page(request: HtmxRequest, actor: Actor, registry_id: int) -> HttpResponse:
    """Show a registry, what was last found, and which workspaces are there; check it again."""
    row = _find(registry_id)
    if request.method == "POST":
        _check(row)
        return redirect("registry", row.pk)
    connection = connect_row(row)
    findings = [_read_finding(each) for each in row.findings]
    workspaces = row.workspaces.order_by("slug").values_list("slug", flat=True)
    context = {
        "here": "registry",
        "row": row,
        "keeps_accounts": connection.keeps_accounts,
        "problem": connection.problem,
        "token_settings": _describe_tokens(row) if connection.trusts_tokens else "",
        "findings": findings,
        "verdict": summarize(findings) if findings else "",
        "workspaces": list(workspaces[: MAX_WORKSPACES_SHOWN + 1]),
        "max_workspaces": MAX_WORKSPACES_SHOWN,
    }
    return render(request, "immutability/registry.html", context)


@site_page("GET", "HEAD", "POST")
def remove_registry_page(request: HtmxRequest, actor: Actor, registry_id: int) -> HttpResponse:
    """Ask whether it is meant; then remove a registry that no workspace is at."""
    row = _find(registry_id)
    if request.method == "POST":
        try:
            remove_registry(row, actor=actor)
        except ValidationError as error:
            messages.error(request, error.messages[0])
            return redirect("registry", registry_id)
        messages.success(request, f"The registry {row.name} is removed.")
        return redirect("site-registry")
    context = {"row": row, "form": None, "next": reverse("registry", args=[row.pk])}
    return render(request, "immutability/remove_registry.html", context)


@site_page("GET", "HEAD", "POST")
def move_workspace_page(request: HtmxRequest, actor: Actor) -> HttpResponse:
    """Move a workspace that is empty to another registry."""
    form = MoveForm(
        request.POST if request.method == "POST" else None,
        initial={"registry": request.GET.get("registry", "")},
    )
    if form.is_valid() and _move(request, form, actor):
        row = form.cleaned_data["registry"]
        return redirect("registry", row.pk) if row else redirect("site-registry")
    context = {"here": "registry", "form": form}
    return render_form(request, "immutability/move_workspace.html", context)


def _find(registry_id: int) -> Registry:
    row = Registry.objects.filter(pk=registry_id).first()
    if row is None:
        raise Http404
    return row


def _check(row: Registry) -> None:
    keep_findings(row, check_connection(connect_row(row)) or [])


def _read_finding(kept: dict[str, str]) -> Finding:
    return Finding(Outcome(kept["outcome"]), kept["what"], kept["advice"], kept["step"])


def _describe_tokens(row: Registry) -> str:
    """Return the section of the registry's configuration by which it trusts Taglock's tokens."""
    return (
        f"auth:\n  token:\n    realm: {settings.PUBLIC_URL}/auth/token\n"
        f"    service: {row.service}\n    issuer: {ISSUER}\n"
        "    rootcertbundle: /etc/registry/taglock.pem"
    )


def _move(request: HtmxRequest, form: MoveForm, actor: Actor) -> bool:
    """Move the workspace of a valid form; return whether it is there, or say there why not."""
    workspace, row = form.cleaned_data["workspace"], form.cleaned_data["registry"]
    try:
        has_changed = move_workspace(workspace, row, actor=actor)
    except ValidationError as error:
        form.add_error("workspace", error.messages[0])
        return False
    where = f"the registry {row.name}" if row else "the registry of REGISTRY_URL"
    messages.success(request, f"{workspace} is {'' if has_changed else 'already '}at {where}.")
    return True
