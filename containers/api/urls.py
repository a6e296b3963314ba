"""Addresses of the API of repositories, below /api/v1/."""

from django.urls import path

from containers.api.repositories import RepositoryListView, RepositoryView

_REPOSITORIES = "workspaces/<str:slug>/repositories"

urlpatterns = [
    path(_REPOSITORIES, RepositoryListView.as_view(), name="repositories"),
    path(f"{_REPOSITORIES}/<path:repository>", RepositoryView.as_view(), name="repository"),
]
