"""Any input gets an answer, and a refused request writes nothing."""

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from immutability.models import LockedTag
from tests.bad_input.requests import (
    EXCEPTION_PATTERN,
    REQUESTS,
    RULE_PATTERN,
    Path,
    read_errors,
    send,
)
from tests.conftest import AA, BB
from tests.problems import nothing_written, read_problem

pytestmark = pytest.mark.slow

any_text = st.text(st.characters(exclude_categories=()), max_size=20)
keys = any_text | st.sampled_from(["name", "pattern", "tag", "dryrun"])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | any_text
    | st.sampled_from(["acme/api", "v1", "v2", "latest", AA, BB, "all", "none", "some", "free"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
FIELDS = {
    "check-push": ["repository", "tag", "tags", "digest", "current_digest", "actor", "dry_run"],
    "check-delete": ["repository", "tag", "digest", "actor"],
    "container-settings": [
        *("protection", "rules", "exceptions", "refuse_identical_pushes", "suspend_locks")
    ],
    "test": ["tags", "rules", "exceptions", "protection", "protect_signature_tags"],
}


def like(request_name: str) -> st.SearchStrategy[Any]:
    """Bodies that are nearly good: some fields left out, some spoilt, some added."""
    good = REQUESTS[request_name][2]
    spoilt = st.dictionaries(st.sampled_from(FIELDS[request_name]), anything, max_size=3)
    kept = st.sets(st.sampled_from(sorted(good)))
    return st.builds(lambda kept, spoilt: {key: good[key] for key in kept} | spoilt, kept, spoilt)


@pytest.mark.parametrize("request_name", FIELDS)
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_is_sent_is_answered_and_writes_only_where_the_answer_is_200(
    caller: Client, request_name: str, data: st.DataObject
) -> None:
    body = data.draw(anything | like(request_name))
    before = list(LockedTag.objects.order_by("id").values())
    response = send(caller, request_name, json.dumps(body))
    if response.status_code == 200:
        return
    assert 400 <= response.status_code < 500, response.content
    read_problem(response, response.status_code)
    assert list(LockedTag.objects.order_by("id").values()) == before


@pytest.mark.parametrize("request_name", FIELDS)
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=st.binary(max_size=60))
def test_whatever_bytes_are_sent_are_answered(
    caller: Client, request_name: str, body: bytes
) -> None:
    with nothing_written():
        response = send(caller, request_name, body)
    read_problem(response, 400)


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    pattern=st.text(st.characters(), min_size=1, max_size=100),
    place=st.sampled_from([RULE_PATTERN, EXCEPTION_PATTERN]),
)
def test_a_pattern_that_can_be_saved_is_saved_as_it_is_and_can_be_evaluated(
    caller: Client, pattern: str, place: Path
) -> None:
    key = place[0]
    body = {
        "protection": "some" if key == "rules" else "all",
        key: [{"name": "Any", "pattern": pattern}],
        "suspend_locks": True,
    }
    response = send(caller, "container-settings", json.dumps(body))
    if response.status_code != 200:
        read_errors(response, place)
        return
    assert response.json()[key][0]["pattern"] == pattern
    ask = {"repository": "acme/api", "tag": "v1", "dry_run": True}
    assert send(caller, "check-push", json.dumps(ask)).status_code == 200
