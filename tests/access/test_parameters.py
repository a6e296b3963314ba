"""The API refuses a parameter that it does not know, or that is given twice."""

import pytest

from tests.access.matrix import API, MATRIX, OF_THE_API
from tests.access.site import Site
from tests.problems import nothing_written, read_problem

# Whose it is stands in the body, which is looked at afterwards.
ASKING = (f"{API}check-push", f"{API}check-delete")


def someone_who_may(address: str, method: str) -> str:
    return next(name for name, status in MATRIX[address][method].items() if status in (200, 201))


@pytest.mark.parametrize(("address", "method"), OF_THE_API)
def test_the_api_refuses_a_parameter_that_it_does_not_know_or_that_is_given_twice(
    site: Site, address: str, method: str
) -> None:
    caller, path = someone_who_may(address, method), site.acme.fill(address)
    with nothing_written():
        for query in ("tga=v1", "dry_run=true", "from=abc", "tga=v1&tga=v2"):
            asked = f"{path}{'&' if '?' in path else '?'}{query}"
            problem = read_problem(site.call(caller, method, address, asked), 400, "invalid")
            pointers = [error["pointer"] for error in problem["errors"]]
            assert pointers == [f"#/{query.partition('=')[0]}"]
            assert problem["detail"].startswith("Unknown parameter. ")
        strangers = site.call("mallory", method, address, f"{path}?tga=v1")
        assert strangers.status_code == MATRIX[address][method]["mallory"] or address in ASKING
        for name in list_allowed(problem["detail"]):
            query = f"{name}=a&{name}=b"
            response = site.call(caller, method, address, f"{path.partition('?')[0]}?{query}")
            assert {
                "detail": "Must be given once.",
                "pointer": f"#/{name}",
                "code": "invalid",
            } in read_problem(response, 400)["errors"]


def list_allowed(detail: str) -> list[str]:
    """Return the parameters that a refusal says are known."""
    _, _, names = detail.partition("Allowed parameters: ")
    return names.removesuffix(".").split(", ") if names else []
