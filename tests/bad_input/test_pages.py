"""Pages take what anyone types."""

import json
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from tests.bad_input.requests import LIST_FILTERS
from tests.problems import Complaints, nothing_written
from tests.workspaces.log.tampering import write_at
from workspaces.models import User, Workspace

pytestmark = pytest.mark.slow

PAGE_FILTERS = {
    "": ["x"],
    "settings/packages/containers/": ["x"],
    "locked-tags/": ["q", "state", "before", "x"],
    "repositories/": ["q", "visibility", "after", "x"],
    "lock-log/": [name for address, name in LIST_FILTERS if address == "lock-log"],
}

# One of each kind: pages read their queries as the API does, which has met all of them.
BAD_VALUES_OF_PAGES = [
    "a%00b", "%FF%FE", "%E2%80%AE", "9223372036854775808", "9" * 5000, "٣", "10000-01-01",
    "x" * 5000, "%", "'; --",
]  # fmt: skip
# What one filter is tried with by itself.
BAD_VALUES_ALONE = [each for each in BAD_VALUES_OF_PAGES if each == "a%00b" or len(each) > 100]


@pytest.mark.parametrize("name", ["push", "event", "x"])
def test_the_page_of_what_moved_shows_itself_whatever_its_query_says(
    acme: Workspace, alice: User, sign_in: Callable[[User], Client], name: str
) -> None:
    saved = write_at(
        timezone.now(),
        kind="settings.changed",
        details={"before": {"protection": "all"}, "after": {"protection": "none"}},
    )
    client = sign_in(alice)
    client.raise_request_exception = False
    complaints = Complaints()
    with nothing_written():
        for value in BAD_VALUES_OF_PAGES:
            with complaints.about(value):
                path = f"/acme/lock-log/{saved.ref}/moved/?{name}={value}"
                assert client.get(path).status_code == 200
    assert not complaints


@pytest.mark.parametrize("page", PAGE_FILTERS)
def test_a_page_shows_itself_whatever_its_query_says(
    acme: Workspace, alice: User, sign_in: Callable[[User], Client], page: str
) -> None:
    client = sign_in(alice)
    client.raise_request_exception = False
    names = PAGE_FILTERS[page]
    alone = [f"{name}={value}" for name in names for value in BAD_VALUES_ALONE]
    # An address has a limit of its own.
    short = [value for value in BAD_VALUES_OF_PAGES if len(value) < 100]
    together = ["&".join(f"{name}={value}" for name in names) for value in short]
    complaints = Complaints()
    with nothing_written():
        for query in [*alone, *together]:
            with complaints.about(query):
                assert client.get(f"/acme/{page}?{query}").status_code == 200
    assert not complaints


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "9" * 5000},
        {"version": "٣"},
        {"version": "-1"},
        {"action": "remove_rule:" + "9" * 5000},
        {"action": "insert_rule_example:" + "9" * 30},
        {"action": "\0"},
        {"protection": "\0"},
        {"rule_name": "\0", "rule_pattern": "\0"},
        {"rule_name": "a", "rule_pattern": "("},
        {"exception_name": "\0", "exception_pattern": "\0", "protection": "all"},
        {"exception_name": "a", "exception_pattern": "(", "protection": "all"},
        {"action": "remove_exception:" + "9" * 5000},
        {"sample_tags": "\0\n" * 5000},
        {},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
@pytest.mark.parametrize("page", ["", "test/"])
def test_the_settings_page_takes_whatever_is_posted(
    acme: Workspace,
    alice: User,
    sign_in: Callable[[User], Client],
    fields: dict[str, str],
    page: str,
) -> None:
    client = sign_in(alice)
    client.raise_request_exception = False
    with nothing_written():
        response = client.post(
            f"/acme/settings/packages/containers/{page}", {"protection": "some", **fields}
        )
    assert response.status_code in (200, 400, 409, 422)
