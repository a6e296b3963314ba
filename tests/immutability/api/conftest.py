"""Short ways to ask the API what a registry asks."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from immutability.models import LockedTag
from tests.conftest import AA

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def check_push(registry: APIClient) -> Ask:
    """Return a function that asks about a push to acme/api and returns a decided answer."""

    def check_push(tag: str, digest: str | None = AA, **fields: Any) -> dict[str, Any]:
        asked = {"repository": "acme/api", "tag": tag, **fields}
        if digest is not None:
            asked["digest"] = digest
        response = registry.post("/api/v1/check-push", asked, format="json")
        assert response.status_code == 200, response.content
        answer: dict[str, Any] = response.json()
        return answer

    return check_push


@pytest.fixture
def check_delete(registry: APIClient) -> Ask:
    """Return a function that asks about a delete in acme/api and returns a decided answer."""

    def check_delete(**fields: Any) -> dict[str, Any]:
        asked = {"repository": "acme/api", **fields}
        response = registry.post("/api/v1/check-delete", asked, format="json")
        assert response.status_code == 200, response.content
        answer: dict[str, Any] = response.json()
        return answer

    return check_delete


@pytest.fixture
def lock(check_push: Ask) -> Callable[..., LockedTag]:
    """Return a function that locks a tag of acme/api by its first push."""

    def lock(tag: str, digest: str = AA) -> LockedTag:
        assert check_push(tag, digest, actor="dana")["outcome"] == "locked_now"
        return LockedTag.objects.get(repository="acme/api", tag=tag)

    return lock
