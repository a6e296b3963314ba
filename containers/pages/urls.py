"""Addresses of repositories."""

from django.urls import path

from containers.pages.repositories import repositories, visibility

urlpatterns = [
    path("<str:slug>/repositories/", repositories, name="repositories"),
    # A hyphen alone is in no repository's name: nothing else looks like this.
    path(
        "<str:slug>/repositories/<path:repository>/-/visibility/",
        visibility,
        name="repository-visibility",
    ),
]
