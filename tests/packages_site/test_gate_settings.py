"""A process that runs the gate alone answers as the whole site does at the gate, and only there."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import clear_url_caches

from packages_site import gate_settings
from packages_site import settings as site_settings

pytestmark = pytest.mark.django_db

ADDRESSES = ["/v2/acme/api/manifests/v1", "/v2/", "/v2/%0A", "/v2/_catalog", "/healthz", "/readyz"]


@pytest.fixture
def gate_alone(settings: Any) -> Iterator[Client]:
    settings.MIDDLEWARE = gate_settings.MIDDLEWARE
    settings.ROOT_URLCONF = gate_settings.ROOT_URLCONF
    settings.REGISTRY_URL = "http://127.0.0.1:9"
    clear_url_caches()
    yield Client(raise_request_exception=False)
    clear_url_caches()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_it_answers_as_the_site_does(
    gate_alone: Client, settings: Any, address: str, method: str
) -> None:
    named = {"X-Request-Id": "one"}
    alone = gate_alone.generic(method, address, b"{}", "application/json", headers=named)
    settings.MIDDLEWARE = site_settings.MIDDLEWARE
    settings.ROOT_URLCONF = site_settings.ROOT_URLCONF
    clear_url_caches()
    whole = Client(raise_request_exception=False).generic(
        method, address, b"{}", "application/json", headers=named
    )
    assert (alone.status_code, alone.content) == (whole.status_code, whole.content)
    # The whole site's have those for browsers too.
    assert alone.headers.items() <= whole.headers.items()


@pytest.mark.parametrize("address", ["/", "/accounts/login/", "/api/v1/docs", "/v3/", "/acme/"])
def test_it_has_nothing_else(gate_alone: Client, address: str) -> None:
    answer = gate_alone.get(address)
    assert answer.status_code == 404
    assert json.loads(answer.content)["errors"][0]["code"] == "UNSUPPORTED"


def test_a_bug_is_answered_in_words_of_a_registry(
    gate_alone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("immutability.gate.views.authorize", fail)
    answer = gate_alone.put("/v2/acme/api/manifests/v1", b"{}", "application/json")
    assert answer.status_code == 500
    assert json.loads(answer.content)["errors"][0]["code"] == "UNKNOWN"


@pytest.mark.parametrize("address", ["/v2/acme/api/manifests/v1", "/accounts/login/"])
def test_what_is_too_large_is_refused_in_words_of_a_registry(
    gate_alone: Client, address: str
) -> None:
    answer = gate_alone.put(f"{address}?{'a' * 40_000}", b"{}")
    assert answer.status_code == 414
    assert json.loads(answer.content)["errors"][0]["code"] == "SIZE_INVALID"
