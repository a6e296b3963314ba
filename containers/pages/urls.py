"""Addresses of repositories."""

from django.urls import path

from containers.pages.repositories import repositories, visibility

urlpatterns = [
    path("<str:slug>/repositories/", repositories, name="repositories"),
    path(
        "<str:slug>/repositories/<path:repository>/visibility/",
        visibility,
        name="repository-visibility",
    ),
]
