"""Coming back: to the page, with its filter, from which a question was asked."""

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

from workspaces.text import find_bad_character

MAX_NEXT_LENGTH = 2048


def read_next(request: HttpRequest, default: str) -> str:
    """Return where `next` of a form or an address leads on this site, or `default`.

    The template tag `with_next` adds it to a link; confirm_base.html sends it with the form.
    """
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    return wanted if _is_page_of_this_site(wanted) else default


def _is_page_of_this_site(wanted: str) -> bool:
    return (
        len(wanted) <= MAX_NEXT_LENGTH
        and wanted.startswith("/")
        and find_bad_character(wanted) is None
        and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    )
