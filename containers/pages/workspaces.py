"""The page "Workspaces" of site administrators: all of them, and a new one."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect

from containers.prefixes import create_workspace
from workspaces.access import Actor, Role
from workspaces.actions.archive import InactivePersonError, hand_over_workspace
from workspaces.authorization import require_site_admin
from workspaces.models import MAX_NAME_LENGTH, Registry, User, Workspace
from workspaces.pages.access import HtmxRequest, site_page
from workspaces.pages.forms import PersonField, add_errors, render_form
from workspaces.queries import FilterForm
from workspaces.slugs import MAX_SLUG_LENGTH

WORKSPACES_PER_PAGE = 50


class WorkspacesQueryForm(FilterForm):
    """What to look for, and the slug that a page starts behind."""

    q = forms.CharField(label="Name or slug", required=False, max_length=MAX_NAME_LENGTH)
    after = forms.CharField(required=False, max_length=MAX_SLUG_LENGTH, widget=forms.HiddenInput)


class WorkspaceForm(forms.Form):
    """A new workspace, and its first admin."""

    slug = forms.CharField(
        max_length=MAX_SLUG_LENGTH,
        widget=forms.TextInput({"autocomplete": "off", "autocapitalize": "none"}),
        help_text="Begins the names of its repositories. It never changes.",
        error_messages={"required": "Enter a slug."},
    )
    name = forms.CharField(max_length=MAX_NAME_LENGTH, error_messages={"required": "Enter a name."})
    registry = forms.ModelChoiceField(
        Registry.objects.order_by("name").defer("findings"),
        required=False,
        empty_label="The registry of REGISTRY_URL",
        help_text="Where its repositories are.",
    )
    username = PersonField(label="First admin", help_text="A user name. They invite the others.")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not Registry.objects.exists():
            del self.fields["registry"]

    def clean_slug(self) -> str:
        """Refuse a slug that is taken, also by a workspace that is archived."""
        slug: str = self.cleaned_data["slug"]
        if Workspace.objects.filter(slug=slug).exists():
            raise ValidationError("This slug is taken. Choose another one.")
        return slug


@site_page("GET", "HEAD", "POST")
def workspaces_page(request: HtmxRequest, actor: Actor) -> HttpResponse:
    """List workspaces, and create one."""
    form = WorkspaceForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and _create(form, actor):
        messages.success(request, f"{form.cleaned_data['slug']} is created.")
        return redirect("site-workspaces")
    query = WorkspacesQueryForm(request.GET)
    asked = query.cleaned_data if query.is_valid() else {"q": "", "after": ""}
    page = list(_find(asked["q"], asked["after"])[: WORKSPACES_PER_PAGE + 1])
    shown = page[:WORKSPACES_PER_PAGE]
    context = {
        "here": "workspaces",
        "form": form,
        "filters": query,
        "query_problems": query.list_problems(),
        "workspaces": shown,
        "has_registries": "registry" in form.fields,
        "next_after": shown[-1].slug if len(page) > len(shown) else "",
        "q": asked["q"],
    }
    return render_form(request, "containers/workspaces.html", context)


def _find(text: str, after: str) -> QuerySet[Workspace]:
    is_admin = Q(memberships__role=Role.ADMIN.value, memberships__user__is_active=True)
    found = Workspace.objects.annotate(admin_count=Count("memberships", filter=is_admin))
    found = found.select_related("registry")
    if text:
        found = found.filter(Q(slug__icontains=text) | Q(name__icontains=text))
    return found.filter(slug__gt=after).order_by("slug")


def _create(form: WorkspaceForm, actor: Actor) -> bool:
    """Create the workspace of a valid form with its admin, or say in the form why not."""
    first: User = form.cleaned_data["username"]
    try:
        with transaction.atomic():
            require_site_admin(actor)
            workspace = create_workspace(
                form.cleaned_data["slug"],
                form.cleaned_data["name"],
                form.cleaned_data.get("registry"),
                actor=actor,
            )
            hand_over_workspace(workspace, first, actor=actor)
    except ValidationError as error:
        add_errors(form, error)
    except InactivePersonError as error:
        form.add_error("username", str(error))
    return not form.errors
