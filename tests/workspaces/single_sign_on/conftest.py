from typing import Any

import pytest

from tests.workspaces.single_sign_on.double import PROVIDER, ProviderDouble
from workspaces.single_sign_on import provider


@pytest.fixture
def provider_double(settings: Any, monkeypatch: pytest.MonkeyPatch) -> ProviderDouble:
    """The identity provider of the site, within this process."""
    settings.PROVIDER_SECRET = PROVIDER
    double = ProviderDouble()
    monkeypatch.setitem(provider._clients, PROVIDER, double.client)
    return double
