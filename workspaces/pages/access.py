"""The entrance to every page of a workspace or the site: sign-in, permission, method."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from workspaces.access import Actor, ActorKind, Permission
from workspaces.authorization import NO_SITE_ADMIN
from workspaces.caller_access import Access, find_access, read_origin

P = ParamSpec("P")


class HtmxRequest(HttpRequest):
    """A request as HtmxMiddleware leaves it."""

    htmx: HtmxDetails
    # What the caller may do in the workspace of the page; an error page shows its navigation.
    access: Access


def _sign_in_whole_page(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Where a session is over, send the page to sign-in, not the fragment that htmx asked for.

    A page that asks about what was typed into it stays, and is answered 401: leaving would lose it.
    """

    @wraps(view)
    def page(request: HtmxRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.htmx and not request.user.is_authenticated:
            if request.method == "POST":
                return HttpResponse(status=401)
            here = request.htmx.current_url_abs_path or "/"
            return HttpResponseClientRedirect(f"{settings.LOGIN_URL}?{urlencode({'next': here})}")
        return view(request, *args, **kwargs)

    return page


SitePageView = Callable[Concatenate[HtmxRequest, Actor, P], HttpResponseBase]


def site_page(
    *methods: str,
) -> Callable[[SitePageView[P]], Callable[..., HttpResponseBase]]:
    """Make a view a page for site administrators. The view gets who is acting.

    `methods` are GET and HEAD unless given. Anyone else who has signed in is answered 403.
    """

    def decorate(view: SitePageView[P]) -> Callable[..., HttpResponseBase]:
        @require_http_methods(methods or ("GET", "HEAD"))
        @_sign_in_whole_page
        @login_required
        @wraps(view)
        def page(request: HtmxRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not getattr(request.user, "is_superuser", False):
                raise PermissionDenied(NO_SITE_ADMIN)
            actor = Actor(request.user.get_username(), ActorKind.PERSON, read_origin(request))
            return view(request, actor, *args, **kwargs)

        return page

    return decorate


PageView = Callable[Concatenate[HtmxRequest, Access, P], HttpResponseBase]


def workspace_page(
    permission: Permission, *methods: str
) -> Callable[[PageView[P]], Callable[..., HttpResponseBase]]:
    """Make a view a page of the workspace in its address, for callers with `permission`.

    The view gets the caller's access instead of the slug. `methods` are GET and HEAD unless
    given. Strangers are answered 404, members without the permission 403.
    """

    def decorate(view: PageView[P]) -> Callable[..., HttpResponseBase]:
        @require_http_methods(methods or ("GET", "HEAD"))
        @_sign_in_whole_page
        @login_required
        @wraps(view)
        def page(request: HtmxRequest, slug: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
            access = request.access = find_access(request, slug)
            access.require(permission)
            return view(request, access, *args, **kwargs)

        return page

    return decorate
