"""Addresses of the API, below /api/v1/."""

from django.urls import path

from immutability.api.checks import CheckDeleteView, CheckPushView
from immutability.api.claims import AbandonClaimView, ConfirmClaimView
from immutability.api.events import RegistryEventsView
from immutability.api.locked_tags import LockedTagListView, LockedTagView, ReleaseView
from immutability.api.repository_tags import RepositoryTagsView
from immutability.api.settings import ContainerSettingsView, PreviewView, TestPatternsView

_WORKSPACE = "workspaces/<str:slug>"

urlpatterns = [
    path("check-push", CheckPushView.as_view(), name="check-push"),
    path("check-delete", CheckDeleteView.as_view(), name="check-delete"),
    path("registry-events", RegistryEventsView.as_view(), name="registry-events"),
    path("claims/<uuid:claim_id>/confirm", ConfirmClaimView.as_view(), name="confirm-claim"),
    path("claims/<uuid:claim_id>/abandon", AbandonClaimView.as_view(), name="abandon-claim"),
    path(
        f"{_WORKSPACE}/container-settings",
        ContainerSettingsView.as_view(),
        name="container-settings",
    ),
    path(
        f"{_WORKSPACE}/container-settings/preview",
        PreviewView.as_view(),
        name="preview-container-settings",
    ),
    path(
        f"{_WORKSPACE}/container-settings/test",
        TestPatternsView.as_view(),
        name="test-patterns",
    ),
    path(
        f"{_WORKSPACE}/repositories/<path:repository>/tags",
        RepositoryTagsView.as_view(),
        name="repository-tags",
    ),
    path(f"{_WORKSPACE}/locked-tags", LockedTagListView.as_view(), name="locked-tags"),
    path(f"{_WORKSPACE}/locked-tags/<int:lock_id>", LockedTagView.as_view(), name="locked-tag"),
    path(
        f"{_WORKSPACE}/locked-tags/<int:lock_id>/release",
        ReleaseView.as_view(),
        name="release-locked-tag",
    ),
]
