"""The checks of programs pass no middleware that is for pages, and are answered the same."""

from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import resolve
from rest_framework.test import APIClient

from packages_site import short_way

pytestmark = pytest.mark.django_db

ASKED = {"repository": "acme/api", "tag": "v1", "dry_run": True}


def test_its_addresses_are_those_of_the_site() -> None:
    for address, view in short_way._VIEWS.items():
        assert resolve(address).func.view_class is view.view_class  # type: ignore[attr-defined]


def test_a_program_is_answered_past_what_is_for_pages(registry: APIClient) -> None:
    # A person's check opens the session of this cookie.
    registry.cookies[settings.SESSION_COOKIE_NAME] = "a" * 32
    with CaptureQueriesContext(connection) as queries:
        answer = registry.post("/api/v1/check-push", ASKED, format="json")
    assert not any("session" in each["sql"] for each in queries)
    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Content-Security-Policy" not in answer.headers


def test_a_persons_check_needs_their_session(client: Any) -> None:
    answer = client.post("/api/v1/check-push", ASKED, "application/json")
    assert answer.status_code == 401
    assert "Content-Security-Policy" in answer.headers
