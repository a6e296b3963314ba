"""Every address of the site. A workspace's pages come last: its slug is the first component."""

from django.urls import URLPattern, URLResolver, include, path, register_converter
from django.urls.converters import StringConverter

from containers.tokens.views import issue_token
from immutability.gate.views import gate
from packages_site import health
from packages_site.api_examples import SchemaView
from packages_site.api_reference import api_reference
from packages_site.guides import guide, guide_list
from packages_site.status_page import statusz
from workspaces.api.access_tokens import AccessTokenListView, AccessTokenView
from workspaces.log.api import CheckpointView, ExportView, LockEventView, LockLogView


class AnythingConverter(StringConverter):
    """Everything that follows, even if it is nothing or a line feed: the gate answers it."""

    regex = r"[\s\S]*"


register_converter(AnythingConverter, "anything")

_LOG = "workspaces/<str:slug>/lock-log"
_TOKENS = "workspaces/<str:slug>/access-tokens"

api_urlpatterns: list[URLPattern | URLResolver] = [
    # Before the addresses of repositories, whose names have slashes.
    path("", include("immutability.api.urls")),
    path("", include("containers.api.urls")),
    path(_LOG, LockLogView.as_view(), name="lock-log"),
    path(f"{_LOG}/checkpoint", CheckpointView.as_view(), name="log-checkpoint"),
    path(f"{_LOG}/export", ExportView.as_view(), name="export-log"),
    path(f"{_LOG}/<str:ref>", LockEventView.as_view(), name="lock-event"),
    path(_TOKENS, AccessTokenListView.as_view(), name="access-tokens"),
    path(f"{_TOKENS}/<int:token_id>", AccessTokenView.as_view(), name="access-token"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", api_reference, name="docs"),
]

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("statusz", statusz, name="site-status"),
    path("v2/<anything:path>", gate, name="gate"),
    path("auth/token", issue_token, name="token"),
    path("api/v1/", include((api_urlpatterns, "api"))),
    path("docs/", guide_list, name="guides"),
    path("docs/<slug:name>/", guide, name="guide"),
    path("", include("workspaces.pages.urls")),
    path("", include("containers.pages.urls")),
    path("", include("immutability.pages.urls")),
]

handler400 = "workspaces.pages.errors.bad_request"
handler403 = "workspaces.pages.errors.permission_denied"
handler404 = "workspaces.pages.errors.page_not_found"
handler500 = "workspaces.pages.errors.server_error"
