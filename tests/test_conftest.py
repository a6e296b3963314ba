"""What the tests share is the same for each, in whatever order they run."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from containers.registries import StoredRegistries, stored_registries
from containers.tokens.stored_keys import StoredKeys, token_keys
from tests.conftest import known_again_afterwards

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("stored", "read"),
    [(token_keys(), StoredKeys.find_signing_key), (stored_registries(), StoredRegistries.look)],
    ids=["keys", "registries"],
)
def test_a_test_that_changes_them_costs_the_next_no_statement(
    stored: StoredKeys | StoredRegistries, read: Callable[[Any], object]
) -> None:
    with known_again_afterwards(stored):
        with CaptureQueriesContext(connection) as within:
            read(stored)
        stored.forget()
    with CaptureQueriesContext(connection) as afterwards:
        read(stored)
    assert (len(within), len(afterwards)) == (1, 0)
