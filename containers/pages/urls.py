"""Addresses of repositories."""

from django.urls import path

from containers.pages.registry import registry_page
from containers.pages.repositories import repositories, visibility
from containers.pages.workspaces import workspaces_page

urlpatterns = [
    path("admin/workspaces/", workspaces_page, name="site-workspaces"),
    path("admin/registry/", registry_page, name="site-registry"),
    path("<str:slug>/repositories/", repositories, name="repositories"),
    # A hyphen alone is in no repository's name: nothing else looks like this.
    path(
        "<str:slug>/repositories/<path:repository>/-/visibility/",
        visibility,
        name="repository-visibility",
    ),
]
