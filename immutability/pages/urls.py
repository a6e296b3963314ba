"""Addresses of overview, settings and locked tags."""

from django.urls import path

from immutability.pages.change_tags import change_tags_page
from immutability.pages.container_settings import container_settings
from immutability.pages.drift import change_drift, compare_all, drift_page
from immutability.pages.lock_questions import delete_page, delete_unlocked_page, release_page
from immutability.pages.locked_tags import locked_tags
from immutability.pages.moved import moved
from immutability.pages.overview import overview
from immutability.pages.prefixes import prefixes_page, remove_prefix_page
from immutability.pages.preview import preview_list, preview_page
from immutability.pages.registries import (
    another_registry_page,
    connect_registry_page,
    move_workspace_page,
    remove_registry_page,
)
from immutability.pages.repository import repository_page
from immutability.pages.tag import tag_page
from immutability.pages.tester import try_patterns
from immutability.pages.workspace_settings import packages_settings, workspace_settings

urlpatterns = [
    path("admin/prefixes/", prefixes_page, name="site-prefixes"),
    path("admin/prefixes/<int:prefix_id>/remove/", remove_prefix_page, name="remove-prefix"),
    path("admin/registry/add/", connect_registry_page, name="connect-registry"),
    path("admin/registry/move/", move_workspace_page, name="move-workspace"),
    path("admin/registry/<int:registry_id>/", another_registry_page, name="registry"),
    path("admin/registry/<int:registry_id>/remove/", remove_registry_page, name="remove-registry"),
    path("<str:slug>/", overview, name="overview"),
    path("<str:slug>/settings/", workspace_settings, name="workspace-settings"),
    path("<str:slug>/settings/packages/", packages_settings, name="packages-settings"),
    path("<str:slug>/settings/packages/containers/", container_settings, name="container-settings"),
    path("<str:slug>/settings/packages/containers/test/", try_patterns, name="try-patterns"),
    path("<str:slug>/settings/packages/containers/preview/", preview_page, name="preview-settings"),
    path(
        "<str:slug>/settings/packages/containers/preview/list/",
        preview_list,
        name="preview-list",
    ),
    path("<str:slug>/lock-log/<str:save_ref>/moved/", moved, name="moved"),
    # A colon, which is in no repository's name and in no tag: nothing else looks like this.
    path("<str:slug>/repositories/<path:repository>:<str:tag>/", tag_page, name="tag"),
    path(
        "<str:slug>/repositories/<path:repository>:<str:tag>/delete/",
        delete_unlocked_page,
        name="delete-tag",
    ),
    path("<str:slug>/repositories/<path:repository>/", repository_page, name="repository"),
    path("<str:slug>/drift/", drift_page, name="drift"),
    path("<str:slug>/drift/compare/", compare_all, name="compare-locks"),
    path("<str:slug>/drift/<int:drift_id>/", change_drift, name="change-drift"),
    path("<str:slug>/locked-tags/change/", change_tags_page, name="change-tags"),
    path("<str:slug>/locked-tags/", locked_tags, name="locked-tags"),
    path("<str:slug>/locked-tags/<int:lock_id>/delete/", delete_page, name="delete-locked-tag"),
    path("<str:slug>/locked-tags/<int:lock_id>/release/", release_page, name="release-locked-tag"),
]
