"""What was typed, carried through sign-in: a session may be over when someone saves.

It travels in the address, signed: no one else can fill in an admin's form.
"""

from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect
from django_htmx.http import HttpResponseClientRedirect

from workspaces.pages.access import HtmxRequest

MAX_KEPT_SECONDS = 3600
# Proxies take addresses of 8 kB, of which sign-in's own is a part.
MAX_KEPT_LENGTH = 6000
_SALT = "container settings that are typed and not saved"
_NAMES = (
    "version",
    "protection",
    "rule_name",
    "rule_pattern",
    "exception_name",
    "exception_pattern",
    "refuse_identical_pushes",
    "protect_signature_tags",
    "repair_drift",
)


def lead_to_sign_in(request: HtmxRequest) -> HttpResponse:
    """Send someone whose session is over to sign-in, and from there back to what they typed."""
    kept = keep_typed(request.path, request.POST)
    back = f"{request.path}?{urlencode({'typed': kept})}" if kept else request.path
    address = f"{settings.LOGIN_URL}?{urlencode({'next': back})}"
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)


def keep_typed(path: str, data: QueryDict) -> str:
    """Return what was typed as a signed text; "" where it is too long for an address."""
    typed = {name: data.getlist(name) for name in _NAMES if name in data}
    kept = signing.dumps([path, typed], salt=_SALT, compress=True)
    return kept if len(kept) <= MAX_KEPT_LENGTH else ""


def read_typed(path: str, kept: str) -> QueryDict | None:
    """Return what was typed on this page; None if this does not say, or said it long ago."""
    try:
        made_for, typed = signing.loads(kept, salt=_SALT, max_age=MAX_KEPT_SECONDS)
    except signing.BadSignature:
        return None
    if made_for != path:
        return None
    data = QueryDict(mutable=True)
    for name, values in typed.items():
        data.setlist(name, values)
    return data
