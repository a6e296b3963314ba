"""Addresses of sign-in and of the workspaces' own pages."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from workspaces.pages.checkpoint import checkpoint
from workspaces.pages.export import download_export, export_page, export_progress
from workspaces.pages.home import home, packages_settings, workspace_settings
from workspaces.pages.lock_log import lock_event, lock_log

urlpatterns = [
    path("", home, name="home"),
    path(
        "accounts/login/",
        LoginView.as_view(template_name="workspaces/login.html", redirect_authenticated_user=True),
        name="login",
    ),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("<str:slug>/settings/", workspace_settings, name="workspace-settings"),
    path("<str:slug>/settings/packages/", packages_settings, name="packages-settings"),
    path("<str:slug>/lock-log/", lock_log, name="lock-log"),
    path("<str:slug>/lock-log/checkpoint/", checkpoint, name="log-checkpoint"),
    path("<str:slug>/lock-log/export/", export_page, name="export-log"),
    path("<str:slug>/lock-log/export/download/", download_export, name="download-log"),
    path("<str:slug>/lock-log/export/<uuid:export_id>/", export_progress, name="export-progress"),
    path("<str:slug>/lock-log/<str:ref>", lock_event, name="lock-event"),
]
