"""What registries report: whatever it is, only what says something of tags is read."""

from typing import Any

import pytest

from containers.names import Digest, RepositoryName, TagName
from containers.registry.notifications import MAX_REPORTS, Report, TooManyReportsError, read_reports
from tests.conftest import AA

API, V1, DIGEST = RepositoryName("acme/api"), TagName("v1"), Digest(AA)


def event(action: str, **target: Any) -> dict[str, Any]:
    return {
        "id": "320678d8-ca14-430f-8bb6-4ca139cd83f7",
        "action": action,
        "target": {"repository": "acme/api", **target},
        "request": {"method": "PUT", "useragent": "curl"},
    }


def webhook(kind: str, *resources: Any) -> dict[str, Any]:
    """Return Harbor's own format."""
    data = {"resources": list(resources), "repository": {"repo_full_name": "acme/api"}}
    return {"type": kind, "occur_at": 1737446601, "operator": "admin", "event_data": data}


def cloud_event(kind: str, *resources: Any) -> dict[str, Any]:
    """Return what Harbor sends as CloudEvents."""
    data = {"resources": list(resources), "repository": {"repo_full_name": "acme/api"}}
    return {"specversion": "1.0", "type": kind, "source": "/projects/1", "data": data}


PUSHED, TAG_DELETED = Report(API, V1, DIGEST, False), Report(API, V1, None, True)
DELETED, BOTH_DELETED = Report(API, None, DIGEST, True), Report(API, V1, DIGEST, True)


@pytest.mark.parametrize(
    ("document", "reports"),
    [
        ({"events": [event("push", tag="v1", digest=AA)]}, [PUSHED]),
        ({"events": [event("push", tag="v1")]}, [Report(API, V1, None, False)]),
        ({"events": [event("delete", tag="v1")]}, [TAG_DELETED]),
        ({"events": [event("delete", digest=AA)]}, [DELETED]),
        (
            {"events": [event("push", tag="v1", digest=AA), event("delete", tag="v1")]},
            [PUSHED, TAG_DELETED],
        ),
        (webhook("PUSH_ARTIFACT", {"tag": "v1", "digest": AA}), [PUSHED]),
        (webhook("DELETE_ARTIFACT", {"tag": "v1", "digest": AA}), [BOTH_DELETED]),
        # What has no tag is named by its digest.
        (webhook("DELETE_ARTIFACT", {"tag": AA, "digest": AA}), [DELETED]),
        (cloud_event("harbor.artifact.pushed", {"tag": "v1", "digest": AA}), [PUSHED]),
        (cloud_event("harbor.artifact.deleted", {"tag": AA, "digest": AA}), [DELETED]),
    ],
)
def test_what_is_said_of_tags_is_read(document: Any, reports: list[Report]) -> None:
    assert read_reports(document) == reports


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        "events",
        {"events": None},
        {"events": [None, 5, [], "push"]},
        {"events": [event("pull", tag="v1", digest=AA)]},
        {"events": [event("mount", digest=AA)]},
        # A layer, or a manifest without a tag: neither moves one.
        {"events": [event("push", digest=AA)]},
        # All of a repository.
        {"events": [event("delete")]},
        {"events": [{**event("push", tag="v1"), "action": ["push"]}]},
        {"events": [{"action": "push", "target": "acme/api"}]},
        {"events": [event("push", tag="v1", repository="acme/API")]},
        {"events": [event("push", tag="v1", repository="acme/../globex")]},
        {"events": [event("push", tag="v1", repository="acme/" + "a" * 300)]},
        {"events": [event("push", tag="v1", repository=5)]},
        {"events": [event("push", tag="v 1")]},
        {"events": [event("push", tag="v" * 129)]},
        {"events": [event("push", tag={"a": 1})]},
        {"events": [event("push", tag="v1", digest="sha256:12")]},
        webhook("PULL_ARTIFACT", {"tag": "v1", "digest": AA}),
        webhook("SCANNING_COMPLETED", {"tag": "v1", "digest": AA}),
        webhook("PUSH_ARTIFACT", None, "v1", {}),
        {"type": "PUSH_ARTIFACT", "event_data": {"repository": {"repo_full_name": "acme/api"}}},
        {"type": "PUSH_ARTIFACT", "event_data": "all"},
        {"type": {"a": 1}, "event_data": {"repository": {}, "resources": [{}]}},
        {"event_name": "project_create", "path_with_namespace": "acme/api"},
    ],
)
def test_what_says_nothing_of_tags_is_left_out(document: Any) -> None:
    assert read_reports(document) == []


@pytest.mark.parametrize("make", [lambda many: {"events": many}, lambda many: webhook("x", *many)])
def test_more_than_a_registry_sends_at_once_is_refused(make: Any) -> None:
    assert read_reports(make([{}] * MAX_REPORTS)) == []
    with pytest.raises(TooManyReportsError, match="101 events; at most 100"):
        read_reports(make([{}] * (MAX_REPORTS + 1)))
