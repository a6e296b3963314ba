"""Small pieces of pages: times in tables, and the part of a name that was searched for."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from workspaces.templatetags.taglock import day, marked, minute

NOON = datetime(2026, 5, 1, 12, 30, 59, tzinfo=UTC)


@pytest.mark.parametrize(("show", "shown"), [(minute, "2026-05-01 12:30"), (day, "2026-05-01")])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=13))])
def test_a_time_is_shown_in_utc_and_the_whole_of_it_is_there(
    show: object, shown: str, zone: timezone
) -> None:
    html = show(NOON.astimezone(zone))  # type: ignore[operator]
    assert html == (
        f'<time datetime="2026-05-01T12:30:59Z" title="2026-05-01 12:30:59 UTC">{shown}</time>'
    )


@pytest.mark.parametrize(
    ("name", "part", "html"),
    [
        ("v1.2.0", "V1.2", "<mark>v1.2</mark>.0"),
        ("acme/api:v1", "api:", "acme/<mark>api:</mark>v1"),
        ("v1", "", "v1"),
        ("v1", "zz", "v1"),
        ("<b>", "b", "&lt;<mark>b</mark>&gt;"),
    ],
)
def test_the_part_that_was_searched_for_is_marked(name: str, part: str, html: str) -> None:
    assert marked(name, part) == html
