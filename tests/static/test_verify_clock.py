"""The verifier that anyone can download, and the times of events: a clock that was ahead."""

from datetime import datetime, timedelta

from tests.static.exports import Export, chain_anew, sign_anew
from workspaces.log.canonical import format_time


def put_at(export: Export, **hours: float) -> None:
    """Let events, `_1` the first one, say that they happened so many hours after that one."""
    first = datetime.fromisoformat(export.events[0]["at"])
    for place, after in hours.items():
        export.events[int(place[1:]) - 1]["at"] = format_time(first + timedelta(hours=after))
    chain_anew(export)
    sign_anew(export)


def test_what_follows_a_clock_that_was_ahead_is_one_finding(export: Export) -> None:
    put_at(export, _2=9000)
    result = export.verify()
    assert (result.status, result.findings) == (
        1,
        [
            "events 3 to 5 have times more than an hour before what stands before them: the clock "
            "had been ahead and stepped back, or they were inserted in the past"
        ],
    )


def test_a_clock_that_was_ahead_for_a_while_is_one_finding(export: Export) -> None:
    put_at(export, _2=3, _3=0, _4=1, _5=2.5)
    (finding,) = export.verify().findings
    assert finding.startswith("events 3 to 4 have times more than an hour before")


def test_a_single_event_of_the_past_is_named(export: Export) -> None:
    for place in (2, 5):
        put_at(export, **{f"_{each}": -900 if each == place else 0 for each in range(1, 6)})
        event = export.events[place - 1]
        assert export.verify().findings == [
            f"event {place} ({event['ref']}) was inserted in the past: it says {event['at']}"
        ]


def test_an_event_of_the_past_is_named_behind_a_clock_that_was_ahead(export: Export) -> None:
    put_at(export, _2=9000, _4=-900)
    early = export.events[3]
    assert [each.split(" have")[0] for each in export.verify().findings] == [
        f"event 4 ({early['ref']}) was inserted in the past: it says {early['at']}",
        "events 3 to 5",
    ]


def test_a_time_that_is_less_than_an_hour_before_is_no_finding(export: Export) -> None:
    put_at(export, _2=0.99, _3=0)
    assert export.verify().findings == []
