"""deploy/gateway-api/taglock.yaml: valid by the API's own schema, and read as a Gateway would."""

import posixpath
import re
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from jsonschema import Draft4Validator

from packages_site.local import ROOT
from tests.deploy.tricks import PLAIN_UPLOAD, READ, ROUTES, TRICKS, aim
from tests.services.go_programs import build_with_go

ROUTES_FILE = ROOT / "deploy/gateway-api/taglock.yaml"
REGISTRY, SITE = yaml.safe_load_all(ROUTES_FILE.read_text())
BACKENDS = {"registry": "registry", "taglock-gate": "gate", "taglock-site": "site"}


def _find_routes(http_route: dict[str, Any], method: str, path: str) -> list[str]:
    """Return who gets this request, by each match that fits it."""
    return [
        BACKENDS[rule["backendRefs"][0]["name"]]
        for rule in http_route["spec"]["rules"]
        for match in rule["matches"]
        if match.get("method", method) == method and _fits(match["path"], path)
    ]


def _fits(match: dict[str, str], path: str) -> bool:
    if match["type"] == "Exact":
        return path == match["value"]
    if match["type"] == "PathPrefix":
        return path.startswith(match["value"])
    return re.search(match["value"].removesuffix("$") + r"\Z", path) is not None


def test_every_request_has_one_route_or_none() -> None:
    for method, target, goes_to in ROUTES:
        path = target.partition("?")[0]
        if goes_to == "site":
            assert _find_routes(SITE, method, path) == ["site"]
        elif (method, path) != ("POST", "/v2/"):
            assert _find_routes(REGISTRY, method, path) == [goes_to], (method, path)


@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/_catalog/", "/", "/auth/token", "/v2"])
def test_what_is_closed_has_none(path: str) -> None:
    for method in ("GET", "POST"):
        assert _find_routes(REGISTRY, method, path) == []


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
def test_blobs_cannot_be_deleted(method: str) -> None:
    assert _find_routes(REGISTRY, method, "/v2/acme/api/blobs/sha256:aa") == []


def test_no_trick_writes_a_manifest_past_the_gate() -> None:
    """Whatever a Gateway makes of a path before it looks for a route."""
    for method, target in TRICKS:
        sent = aim(target, "acme/api", "sha256:" + 64 * "a").partition("?")[0]
        for path in (
            sent,
            unquote(sent),
            posixpath.normpath(sent),
            posixpath.normpath(unquote(sent)),
        ):
            found = _find_routes(REGISTRY, method, path)
            assert len(found) <= 1, (method, path)
            line = f"{method} {path}"
            is_harmless = READ.fullmatch(line) or PLAIN_UPLOAD.fullmatch(line)
            assert found != ["registry"] or is_harmless, line


def _close(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that knows no fields but its own, as Kubernetes does when it is strict."""
    closed = {
        key: {name: _close(each) for name, each in value.items()}
        if key == "properties"
        else _close(value)
        if key == "items"
        else value
        for key, value in schema.items()
    }
    return closed | ({"additionalProperties": False} if "properties" in schema else {})


@pytest.fixture(scope="module")
def validator() -> Draft4Validator:
    """The schema of an HTTPRoute, version v1."""
    folder = build_with_go("gateway-api")[-1]
    file = folder / "gateway.networking.k8s.io_httproutes.yaml"
    versions = yaml.safe_load(file.read_text())["spec"]["versions"]
    (schema,) = [each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1"]
    schema["properties"]["metadata"] = {"type": "object"}
    return Draft4Validator(_close(schema))


@pytest.mark.process
@pytest.mark.parametrize("http_route", [REGISTRY, SITE], ids=["registry", "site"])
def test_it_is_valid(validator: Draft4Validator, http_route: dict[str, Any]) -> None:
    assert [error.message for error in validator.iter_errors(http_route)] == []
    changed = yaml.safe_load(yaml.safe_dump(http_route))
    changed["spec"]["rules"][0]["matches"][0]["path"]["kind"] = "Exact"
    assert list(validator.iter_errors(changed))
