"""Pushes by digest that name their tags in the query: all or none."""

from collections.abc import Callable

import pytest

from containers.models import Tag as KnownTag
from immutability.models import LockedTag
from immutability.protection import Policy, Protection
from tests.conftest import SEMVER
from tests.immutability.actions.asking import (
    lock_of,
)
from tests.immutability.gate.left_behind import open_attempts, state_of
from tests.immutability.gate.upstream import (
    TIMEOUT,
    GateClient,
    Upstream,
    answer,
    digest_of,
    error_of,
    image,
    is_undecided,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


def test_tags_in_the_query_are_locked_all_at_once(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    response = gate.push(digest_of(ONE), ONE, query="tag=b&tag=a&tag=b")
    assert response.status_code == 201
    assert response["OCI-Tag"] == "a, b"
    assert [(call.reference, call.tags) for call in upstream.sent_by_tag] == [
        (digest_of(ONE), ("a", "b"))
    ]
    assert state_of(protected, "a") == state_of(protected, "b") == ("locked", digest_of(ONE))


def test_one_locked_tag_in_the_query_refuses_them_all(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("b", ONE)
    assert error_of(gate.push(digest_of(TWO), TWO, query="tag=a&tag=b&tag=c")) == (403, "DENIED")
    assert upstream.tags == {"b": digest_of(ONE)}
    assert lock_of(protected, "a") is None
    assert lock_of(protected, "c") is None


def test_one_tag_in_the_query_from_before_the_protection_refuses_them_all(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.store(ONE, "b")
    assert error_of(gate.push(digest_of(TWO), TWO, query="tag=a&tag=b")) == (403, "DENIED")
    assert upstream.sent() == []
    assert lock_of(protected, "a") is None
    assert state_of(protected, "b") == ("locked", digest_of(ONE))


def test_a_registry_that_ignores_tags_in_the_query_locks_nothing(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.obeys_tag_parameters = False
    response = gate.push(digest_of(ONE), ONE, query="tag=a&tag=b")
    assert response.status_code == 201
    assert "OCI-Tag" not in response
    assert not LockedTag.objects.exists()
    assert not KnownTag.objects.exists()
    assert open_attempts() == 0


def test_only_the_tags_that_the_registry_names_are_locked(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    headers = {"Docker-Content-Digest": digest_of(ONE), "OCI-Tag": "b, somebody-elses"}
    upstream.script("PUT", answer(201, headers=headers))
    response = gate.push(digest_of(ONE), ONE, query="tag=a&tag=b")
    assert response["OCI-Tag"] == headers["OCI-Tag"]
    assert lock_of(protected, "a") is None
    assert state_of(protected, "b") == ("locked", digest_of(ONE))
    assert LockedTag.objects.count() == 1


def test_protected_and_unprotected_tags_go_in_one_push(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    assert gate.push(digest_of(ONE), ONE, query="tag=v1.0.0&tag=latest").status_code == 201
    assert upstream.tags == {"v1.0.0": digest_of(ONE), "latest": digest_of(ONE)}
    assert list(LockedTag.objects.values_list("tag", flat=True)) == ["v1.0.0"]


@pytest.mark.parametrize("query", ["tag=a&tag=b", "tag=a&tag=b&tag=c"])
def test_a_client_hears_of_every_tag_that_points_at_its_image_now(
    protected: Workspace, gate: GateClient, upstream: Upstream, query: str
) -> None:
    """The tags that are locked to the image are not sent again, and still are what was asked."""
    gate.push(digest_of(ONE), ONE, query="tag=a&tag=b")
    upstream.calls.clear()
    response = gate.push(digest_of(ONE), ONE, query=query)
    assert response.status_code == 201
    assert {tag for call in upstream.sent_by_tag for tag in call.tags} <= {"c"}
    told = {name.strip() for name in response["OCI-Tag"].split(",")}
    assert told == {pair.partition("=")[2] for pair in query.split("&")}


def test_tags_beside_a_tag_are_not_read(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    assert gate.push("v1", ONE, query="tag=v2&x=%00").status_code == 201
    assert [(call.reference, call.tags) for call in upstream.sent_by_tag] == [("v1", ())]
    assert upstream.tags == {"v1": digest_of(ONE)}


@pytest.mark.parametrize(
    "query",
    [
        "tag=",
        "tag=a&tag=",
        "tag=a%2Fb",
        "tag=a%0A",
        "tag=%00",
        "tag=a:b",
        "tag=-a",
        "tag=" + 129 * "a",
        "&".join(f"tag=t{number}" for number in range(101)),
        "&".join(f"tag=t{number}" for number in range(300)),
        f"tag={64 * 'a'}&tag=%F0%9F%98%80",
    ],
    ids=lambda query: query[:20],
)
def test_bad_tags_in_the_query_are_400_and_nothing_is_sent(
    protected: Workspace, gate: GateClient, upstream: Upstream, query: str
) -> None:
    assert error_of(gate.push(digest_of(ONE), ONE, query=query)) == (400, "NAME_INVALID")
    assert upstream.calls == []


def test_a_push_of_several_tags_with_an_unknown_end_is_repeated_for_the_covered_ones(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    upstream.script("PUT", TIMEOUT)
    query = "tag=latest&tag=v1.0.0&tag=v1.0.1"
    assert is_undecided(gate.push(digest_of(ONE), ONE, query=query))
    assert error_of(gate.push("v1.0.1", TWO)) == (403, "DENIED")
    assert upstream.calls[-1].tags == ("v1.0.0", "v1.0.1")
    assert upstream.tags == {"v1.0.0": digest_of(ONE), "v1.0.1": digest_of(ONE)}
