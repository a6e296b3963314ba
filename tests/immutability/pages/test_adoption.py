"""What the page says of the tags that were there before they were protected."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now

from immutability.models import Job
from immutability.policy.protection import Policy, Protection
from tests.page import Browser
from workspaces.models import Workspace

SETTINGS = "/acme/settings/packages/containers/"


@pytest.fixture
def protected(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    protect(acme, Protection.ALL)
    return acme


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        ({}, "Waiting for the worker to lock them in the background. Refresh"),
        (
            {"looked_at_count": 40, "adopted_count": 3},
            "Locking in the background: 40 tags checked so far, 3 locked. Refresh",
        ),
        (
            {"looked_at_count": 41, "adopted_count": 1, "done_at": Now()},
            "Checked 41 tags in the registry, and locked 1 to its current image. Done",
        ),
        (
            {"looked_at_count": 9, "left_out_count": 1, "done_at": Now()},
            "1 tag had a push in flight, and is locked at its next push.",
        ),
    ],
    ids=["waiting", "at work", "done", "left out"],
)
def test_it_says_how_far_the_work_in_the_background_is(
    protected: Workspace, admin: Browser, auditor: Browser, progress: dict[str, Any], said: str
) -> None:
    Job.objects.create(workspace=protected, kind=Job.Kind.INVENTORY, **progress)
    for browser in (admin, auditor):
        page = browser.open(SETTINGS)
        assert page.by_id("existing-tags").text == "Tags that already existed"
        assert said in page.main.text


def test_it_says_nothing_where_nothing_is_protected(acme: Workspace, admin: Browser) -> None:
    Job.objects.create(workspace=acme, kind=Job.Kind.INVENTORY)
    assert "Tags that already existed" not in admin.open(SETTINGS).main.text


def test_another_workspaces_work_is_not_shown(
    protected: Workspace, admin: Browser, globex: Workspace
) -> None:
    Job.objects.create(workspace=globex, kind=Job.Kind.INVENTORY)
    assert "Tags that already existed" not in admin.open(SETTINGS).main.text
