"""What the page says of the tags that were there before they were protected."""

from typing import Any

import pytest
from django.db.models.functions import Now

from immutability.actions.jobs import ask_for_adoption
from immutability.models import Job
from tests.page import Browser
from workspaces.models import Workspace

SETTINGS = "/acme/settings/packages/containers/"

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        ({}, "Waiting for the worker to lock them in the background. Look again"),
        (
            {"looked_at_count": 40, "adopted_count": 3},
            "Being locked in the background: 40 tags looked at so far, 3 locked. Look again",
        ),
        (
            {"looked_at_count": 41, "adopted_count": 1, "done_at": Now()},
            "41 tags of the registry were looked at, and 1 locked to the image that it has. Done",
        ),
        (
            {"looked_at_count": 9, "left_out_count": 1, "done_at": Now()},
            "1 tag had a push under way, and is locked at its next push.",
        ),
    ],
    ids=["waiting", "at work", "done", "left out"],
)
def test_it_says_how_far_the_work_in_the_background_is(
    acme: Workspace, admin: Browser, auditor: Browser, progress: dict[str, Any], said: str
) -> None:
    ask_for_adoption(acme)
    Job.objects.update(**progress)
    for browser in (admin, auditor):
        page = browser.open(SETTINGS)
        assert page.by_id("existing-tags").text == "Tags that were there before"
        assert said in page.main.text


def test_it_says_nothing_where_nothing_was_asked_for(admin: Browser) -> None:
    assert "Tags that were there before" not in admin.open(SETTINGS).main.text


def test_another_workspaces_work_is_not_shown(admin: Browser, globex: Workspace) -> None:
    ask_for_adoption(globex)
    assert "Tags that were there before" not in admin.open(SETTINGS).main.text
