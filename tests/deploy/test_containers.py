"""The Dockerfile and deploy/compose.yaml: valid, locked down, and at one with the other files."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from containers.tokens.tokens import ISSUER, SERVICE
from immutability.gate import GATE_THREADS
from packages_site.environment import Environment
from packages_site.local import ROOT
from packages_site.run import SITE_THREADS
from packages_site.version import VERSION
from tests.conftest import skip_or_fail
from tests.deploy.test_systemd import FOLDER as UNITS
from tests.deploy.test_systemd import read_options
from tests.services.certificates import make_certificate
from tests.services.go_programs import build_with_go

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_FILE = ROOT / "deploy/compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OWN = ("site", "gate", "worker", "scheduler", "migrate")
# Which of Granian's own variables our files set, and the only ones of others.
NOT_TAGLOCKS = re.compile(
    r"GRANIAN_(BLOCKING_THREADS|HOST|PORT)|DJANGO_SETTINGS_MODULE|PATH|PYTHON\w+"
)
SETTINGS = {field.name.upper() for field in fields(Environment)}


def read_image_environment() -> dict[str, str]:
    """Return what the image sets."""
    (text,) = re.findall(r"^ENV (PATH=(?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in text.replace("\\\n", " ").split())


def environment_of(service: str) -> dict[str, str]:
    own: dict[str, str] = SERVICES[service]["environment"]
    return read_image_environment() | own


def test_the_dockerfile_has_no_known_weakness() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


def test_the_image_gets_everything_that_the_wheel_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]
    let_in = {
        f"/{line[1:]}"
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert {*packed, "/pyproject.toml", f"/{project['project']['readme']}"} <= let_in


def test_the_compose_file_is_valid() -> None:
    schema = json.loads(build_with_go("compose-spec")[-1].read_text())
    validator = Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    broken = COMPOSE | {"services": SERVICES | {"site": {"imagine": "taglock"}}}
    assert list(validator.iter_errors(broken))


def test_every_variable_is_a_setting() -> None:
    for service in OWN:
        for name in environment_of(service):
            assert name in SETTINGS or NOT_TAGLOCKS.fullmatch(name), name


def test_every_part_runs_as_its_unit_says() -> None:
    for service, threads in (("site", SITE_THREADS), ("gate", GATE_THREADS)):
        unit = (UNITS / f"taglock-{service}.service").read_text()
        environment = environment_of(service)
        assert environment["GRANIAN_BLOCKING_THREADS"] == str(threads)
        for name in ("DJANGO_SETTINGS_MODULE", "GRANIAN_PORT"):
            assert f"{name}={environment[name]}" in unit
        (command,) = read_options(UNITS / f"taglock-{service}.service", "ExecStart")
        assert f'CMD ["{command.removeprefix("/opt/taglock/bin/")}"]' in DOCKERFILE
    for service in ("worker", "scheduler"):
        (command,) = read_options(UNITS / f"taglock-{service}.service", "ExecStart")
        words = re.sub(
            r"--(app|pool) ", r"--\1=", command.removeprefix("/opt/taglock/bin/")
        ).split()
        assert SERVICES[service]["command"] == words


def test_every_file_and_every_secret_that_is_used_is_there() -> None:
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE_FILE.parent / source).is_file(), volume
            else:
                assert source in COMPOSE["volumes"]
        for name, value in service.get("environment", {}).items():
            if name.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_nothing_but_the_edge_is_reached_from_outside() -> None:
    assert [name for name, each in SERVICES.items() if "ports" in each] == ["edge"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("registry", "database", "redis", "gate"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_every_part_is_locked_down() -> None:
    for name, service in SERVICES.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        # PostgreSQL's image begins as root, and takes its volume over.
        if name != "database":
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name


def test_the_image_has_the_version() -> None:
    for service in OWN:
        assert SERVICES[service]["image"] == f"${{TAGLOCK_IMAGE:-taglock:{VERSION}}}"


def test_the_registry_trusts_taglocks_tokens() -> None:
    config = yaml.safe_load((ROOT / "deploy/compose/registry.yml").read_text())
    token = config["auth"]["token"]
    assert (token["service"], token["issuer"]) == (SERVICE, ISSUER)
    assert token["realm"] == f"{environment_of('site')['PUBLIC_URL']}/auth/token".replace(
        "${TAGLOCK_HOST}", "tags.example.org"
    )
    assert token["rootcertbundle"] == "/trust/trusted.pem"
    assert "trust:/trust:ro" in SERVICES["registry"]["volumes"]
    assert config["storage"]["delete"] == {"enabled": True}
    port = config["http"]["addr"]
    assert environment_of("gate")["REGISTRY_URL"] == f"http://registry{port}"


def test_the_edge_sends_to_where_the_parts_listen() -> None:
    text = (ROOT / "deploy/compose/nginx.conf").read_text()
    servers = dict(re.findall(r"upstream taglock_\w+ \{[^}]*server (\w+):(\d+) resolve", text))
    ports = {name: environment_of(name)["GRANIAN_PORT"] for name in ("site", "gate")}
    assert servers == ports | {"registry": "5000"}
    assert SERVICES["edge"]["ports"] == ["443:8443"]
    assert "listen 8443 ssl;" in text


@pytest.mark.process
def test_nginx_takes_the_edges_file(tmp_path: Path) -> None:
    """As far as an nginx can tell that is older than `resolve`, which 1.27.3 has."""
    text = (ROOT / "deploy/compose/nginx.conf").read_text().replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    certificate, key = make_certificate(tmp_path)
    for there, here in _find_replacements(certificate, key):
        assert there in text
        text = text.replace(there, here)
    file = tmp_path / "nginx.conf"
    file.write_text(text)
    try:
        done = subprocess.run(
            ["nginx", "-t", "-q", "-e", "stderr", "-c", file], capture_output=True, text=True
        )
    except FileNotFoundError:
        skip_or_fail("nginx")
    assert (done.returncode, done.stderr) == (0, "")


def _find_replacements(certificate: Path, key: Path) -> Iterator[tuple[str, str]]:
    yield "/etc/nginx/taglock.conf", str(ROOT / "deploy/nginx/taglock.conf")
    yield "/run/secrets/tls_certificate", str(certificate)
    yield "/run/secrets/tls_key", str(key)
    yield " resolve ", " "
    for name in ("registry", "gate", "site"):
        yield f"server {name}:", "server 127.0.0.1:"
