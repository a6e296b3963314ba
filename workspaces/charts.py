"""Bar charts, drawn on the server: what a template needs to draw one without any style."""

from collections.abc import Sequence
from dataclasses import dataclass

_LEFT_PERCENT = 20.0
_ALL_BARS_PERCENT = 60.0


@dataclass(frozen=True)
class Bar:
    """One bar: its place within its group in percent, from the upper left corner, and its count."""

    series: int
    label: str
    count: int
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True)
class Group:
    """The bars of one day, say, with its label."""

    label: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Series:
    """One kind of bar: its number from 1 (its colour), its label and the sum of its counts."""

    number: int
    label: str
    total: int


@dataclass(frozen=True)
class BarChart:
    """Groups of bars on one scale, from 0 to `top`."""

    series: Sequence[Series]
    groups: Sequence[Group]
    top: int

    @property
    def middle(self) -> int:
        return self.top // 2


def make_bar_chart(series: Sequence[str], counts: Sequence[tuple[str, Sequence[int]]]) -> BarChart:
    """Return a chart of `counts`: of each group its label, and a count for each of the `series`."""
    top = _round_up(max((count for _, row in counts for count in row), default=0))
    totals = [sum(row[place] for _, row in counts) for place in range(len(series))]
    return BarChart(
        [
            Series(number, label, total)
            for number, (label, total) in enumerate(zip(series, totals, strict=True), 1)
        ],
        [Group(label, _make_bars(series, row, top)) for label, row in counts],
        top,
    )


def _round_up(highest: int) -> int:
    """Return the even end of a scale that `highest` fits on: 2, 4, … 10, 20, … 100, 200, …"""
    step = 2
    while highest > 10 * step // 2:
        step *= 10
    return max(step, -(-highest // step) * step)


def _make_bars(series: Sequence[str], row: Sequence[int], top: int) -> list[Bar]:
    slot = _ALL_BARS_PERCENT / len(series)
    bars = []
    for place, (label, count) in enumerate(zip(series, row, strict=True)):
        height = 100 * count / top
        bars.append(
            Bar(
                series=place + 1,
                label=label,
                count=count,
                x=f"{_LEFT_PERCENT + place * slot:.1f}%",
                y=f"{100 - height:.1f}%",
                width=f"{slot - 4:.1f}%",
                height=f"{height:.1f}%",
            )
        )
    return bars
