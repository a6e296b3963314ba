"""Addresses of sign-in and of the workspaces' own pages."""

from django.urls import path

from workspaces.pages.access_tokens import access_tokens, revoke_page
from workspaces.pages.account import (
    PasswordLinkView,
    SignOutView,
    account,
    forgotten_password,
    sign_in_link,
)
from workspaces.pages.checkpoint import checkpoint, download_checkpoint
from workspaces.pages.export import download_export, export_page, export_progress
from workspaces.pages.group_roles import group_roles, remove_group_role
from workspaces.pages.home import home
from workspaces.pages.invitations import continue_invitation, invitation
from workspaces.pages.lock_log import lock_event, lock_log
from workspaces.pages.members import (
    change_role_page,
    members,
    password_link_page,
    remove_page,
    withdraw_page,
)
from workspaces.pages.personal_tokens import personal_tokens, revoke_token
from workspaces.pages.sign_in import SignInView
from workspaces.pages.single_sign_on import (
    end_sign_on,
    finish_sign_on,
    link_account,
    start_sign_on,
)
from workspaces.pages.site_people import deactivate_page, people_page, reactivate_page
from workspaces.pages.site_workspaces import archive_page, hand_over_page, unarchive_page

_WORKSPACE = "admin/workspaces/<int:workspace_id>/"
_MEMBERS = "<str:slug>/settings/members/"

urlpatterns = [
    path("", home, name="home"),
    path("accounts/login/", SignInView.as_view(), name="login"),
    path("accounts/logout/", SignOutView.as_view(), name="logout"),
    path("accounts/", account, name="account"),
    path("accounts/forgot/", forgotten_password, name="forgotten-password"),
    path("accounts/tokens/", personal_tokens, name="personal-tokens"),
    path(
        "accounts/tokens/<int:personal_token_id>/revoke/",
        revoke_token,
        name="revoke-personal-token",
    ),
    path("accounts/single-sign-on/", start_sign_on, name="start-sign-on"),
    path("accounts/single-sign-on/callback/", finish_sign_on, name="finish-sign-on"),
    path("accounts/single-sign-on/link/", link_account, name="link-account"),
    path("accounts/single-sign-on/logout/", end_sign_on, name="end-sign-on"),
    path("admin/single-sign-on/", group_roles, name="site-single-sign-on"),
    path("admin/single-sign-on/<int:row_id>/remove/", remove_group_role, name="remove-group-role"),
    path("accounts/password/sign-in/<str:uidb64>/<str:token>/", sign_in_link, name="sign-in-link"),
    path(
        "accounts/password/<str:uidb64>/<str:token>/",
        PasswordLinkView.as_view(),
        name="password-link",
    ),
    # Before the next one: no secret is as short.
    path("invitations/continue/", continue_invitation, name="continue-invitation"),
    path("invitations/<str:secret>/", invitation, name="invitation"),
    path("admin/people/", people_page, name="site-people"),
    path("admin/people/<int:user_id>/deactivate/", deactivate_page, name="deactivate-person"),
    path("admin/people/<int:user_id>/reactivate/", reactivate_page, name="reactivate-person"),
    path(f"{_WORKSPACE}archive/", archive_page, name="archive-workspace"),
    path(f"{_WORKSPACE}unarchive/", unarchive_page, name="unarchive-workspace"),
    path(f"{_WORKSPACE}hand-over/", hand_over_page, name="hand-over-workspace"),
    path(_MEMBERS, members, name="members"),
    path(f"{_MEMBERS}<int:membership_id>/role/", change_role_page, name="change-role"),
    path(f"{_MEMBERS}<int:membership_id>/remove/", remove_page, name="remove-member"),
    path(
        f"{_MEMBERS}<int:membership_id>/password-link/",
        password_link_page,
        name="make-password-link",
    ),
    path(
        f"{_MEMBERS}invitations/<int:invitation_id>/withdraw/",
        withdraw_page,
        name="withdraw-invitation",
    ),
    path("<str:slug>/settings/access-tokens/", access_tokens, name="access-tokens"),
    path(
        "<str:slug>/settings/access-tokens/<int:token_id>/revoke/",
        revoke_page,
        name="revoke-access-token",
    ),
    path("<str:slug>/lock-log/", lock_log, name="lock-log"),
    path("<str:slug>/lock-log/checkpoint/", checkpoint, name="log-checkpoint"),
    path(
        "<str:slug>/lock-log/checkpoint/download/", download_checkpoint, name="download-checkpoint"
    ),
    path("<str:slug>/lock-log/export/", export_page, name="export-log"),
    path("<str:slug>/lock-log/export/download/", download_export, name="download-log"),
    path("<str:slug>/lock-log/export/<uuid:export_id>/", export_progress, name="export-progress"),
    path("<str:slug>/lock-log/<str:ref>", lock_event, name="lock-event"),
]
