"""Bar charts: the scale, the bars, and their sums."""

import pytest

from workspaces.charts import make_bar_chart


@pytest.mark.parametrize(
    ("highest", "top"),
    [
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 4),
        (9, 10),
        (10, 10),
        (11, 20),
        (41, 60),
        (101, 200),
        (999, 1000),
    ],
)
def test_the_scale_ends_at_an_even_number_above_the_highest_bar(highest: int, top: int) -> None:
    chart = make_bar_chart(["Refused"], [("Mon", [highest])])
    assert (chart.top, chart.middle) == (top, top // 2)


def test_a_bar_stands_on_the_ground_and_is_as_high_as_its_count() -> None:
    chart = make_bar_chart(["Refused", "Changes"], [("Mon", [5, 10]), ("Tue", [0, 3])])
    (low, high), (nothing, _) = (group.bars for group in chart.groups)
    assert (low.y, low.height) == ("50.0%", "50.0%")
    assert (high.y, high.height) == ("0.0%", "100.0%")
    assert nothing.height == "0.0%"
    assert [(each.label, each.total) for each in chart.series] == [("Refused", 5), ("Changes", 13)]


def test_a_week_without_anything_has_bars_of_no_height() -> None:
    chart = make_bar_chart(["Refused"], [("Mon", [0]), ("Tue", [0])])
    assert {bar.height for group in chart.groups for bar in group.bars} == {"0.0%"}
