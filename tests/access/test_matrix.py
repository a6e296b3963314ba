"""Each caller is answered as the matrix says, by each method that there is, and by no other."""

import pytest
from django.db import transaction

from tests.access.matrix import (
    ADDRESSES,
    ADMIN,
    ALICE,
    API,
    MATRIX,
    METHODS,
    NEEDS_NO_CALLER,
    Expected,
    list_callers,
)
from tests.access.site import Site


def test_every_address_has_a_line_in_the_matrix() -> None:
    assert sorted(ADDRESSES) == sorted(MATRIX)


@pytest.mark.parametrize("address", ADDRESSES)
def test_each_caller_is_answered_as_the_matrix_says(site: Site, address: str) -> None:
    asked = list_expected(address)
    path = site.acme.fill(address)
    answered: dict[str, Expected] = {method: {} for method in asked}
    for method, expected in asked.items():
        for caller in expected:
            with transaction.atomic():
                response = site.call(caller, method, address, path)
                answered[method][caller] = response.status_code
                # Nobody's request changes what the next one finds.
                transaction.set_rollback(True)
    assert answered == asked


def list_expected(address: str) -> dict[str, Expected]:
    """Return what is asked of an address, and by whom: HEAD by one caller for each answer."""
    asked: dict[str, Expected] = {}
    for method, by_caller in MATRIX[address].items():
        asked[method] = {caller: by_caller[caller] for caller in list_callers(address)}
        if method == "GET":
            first = {status: caller for caller, status in reversed(asked["GET"].items())}
            asked["HEAD"] = {caller: status for status, caller in first.items()}
    return asked


@pytest.mark.parametrize("address", ADDRESSES)
def test_other_methods_are_not_allowed_to_anybody(site: Site, address: str) -> None:
    path = site.acme.fill(address)
    allowed = {*MATRIX[address], *(["HEAD"] if "GET" in MATRIX[address] else [])}
    callers = ["anonymous", ALICE, "mallory", *([ADMIN] if address.startswith(API) else [])]
    answered = {
        (method, caller): site.call(caller, method, address, path).status_code
        for method in METHODS
        if method not in allowed
        for caller in callers
    }
    # The API asks who is calling before it looks at the method.
    needs_caller = address.startswith(API) and address not in NEEDS_NO_CALLER
    assert answered == {
        key: 401 if needs_caller and key[1] == "anonymous" else 405 for key in answered
    }
