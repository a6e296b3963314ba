"""Where one comes back to after a question: on this site alone."""

import pytest
from django.test import RequestFactory

from workspaces.pages.back import MAX_NEXT_LENGTH, read_next

DEFAULT = "/acme/locked-tags/"


@pytest.mark.parametrize(
    "wanted", ["/acme/locked-tags/?q=v1&state=locked", "/", "/acme/repositories/acme/api/"]
)
def test_a_page_of_this_site_is_come_back_to(wanted: str) -> None:
    assert read_next(RequestFactory().get("/", {"next": wanted}), DEFAULT) == wanted
    assert read_next(RequestFactory().post("/", {"next": wanted}), DEFAULT) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "http:///evil.example",
        "javascript:alert(1)",
        "acme/",
        " /acme/",
        "/\x00",
        "/\nSet-Cookie: a=b",
        "/" + "a" * MAX_NEXT_LENGTH,
    ],
)
def test_no_other_address_is_followed(wanted: str) -> None:
    assert read_next(RequestFactory().get("/", {"next": wanted}), DEFAULT) == DEFAULT


def test_what_the_form_says_counts_before_the_address() -> None:
    request = RequestFactory().post("/?next=/globex/", {"next": "/acme/"})
    assert read_next(request, DEFAULT) == "/acme/"
