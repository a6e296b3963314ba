"""docs/production.md: what its steps write and name is what Taglock, nginx and deploy/ know."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands

from containers.tokens.tokens import ISSUER, SERVICE
from packages_site.entry_point import DEFAULT_FILE, parse_settings
from packages_site.environment import Environment
from packages_site.local import ROOT

TEXT = (ROOT / "docs/production.md").read_text()
SETTINGS = {field.name.upper() for field in fields(Environment)}


def read_commands() -> str:
    """Return all that is to be typed, with lines that go on joined."""
    lines = [line.strip() for line in TEXT.splitlines() if line.startswith("    ")]
    return "\n".join(lines).replace("\\\n", " ")


def read_file(path: str) -> str:
    """Return what a step writes to a file."""
    match = re.search(
        rf"tee {re.escape(path)} >/dev/null <<'?EOF'?\n(.*?)^ +EOF$", TEXT, re.M | re.S
    )
    assert match is not None, path
    return re.sub(r"^ {7}", "", match[1], flags=re.MULTILINE)


def test_the_settings_are_settings() -> None:
    settings = parse_settings(read_file(str(DEFAULT_FILE)), DEFAULT_FILE)
    assert set(settings) <= SETTINGS
    assert {"SECRET_KEY", "DATABASE_URL", "REGISTRY_URL", "BEHIND_EDGE"} <= set(settings)


def test_every_command_of_taglock_is_there() -> None:
    named = set(re.findall(r"\btaglock ((?!taglock_)[a-z]+_[a-z_]+)", read_commands()))
    assert {"check_registry", "create_workspace", "add_member", "verify_lock_log"} <= named
    assert named <= set(get_commands())


def test_every_file_of_the_project_that_is_named_is_there() -> None:
    named = set(
        re.findall(r"(?<![\w/])((?:deploy/(?!taglock-)|requirements/)[\w./-]+)", read_commands())
    )
    named |= {
        each.removeprefix("/srv/taglock/") for each in re.findall(r"/srv/taglock/[\w./-]+", TEXT)
    }
    assert len(named) >= 4
    for path in named:
        assert (ROOT / path).exists(), path


def test_every_unit_is_there() -> None:
    lines = [line for line in read_commands().splitlines() if "systemctl" in line]
    units = {word for line in lines for word in shlex.split(line) if word.startswith("taglock")}
    folder = ROOT / "deploy/systemd"
    known = {each.name.removesuffix(".service") for each in folder.glob("*.*")}
    copies = {f"taglock-{part}-2" for part in ("site", "gate")}
    (parts,) = re.findall(r"for part in (.*); do sudo systemctl restart taglock-\$part; done", TEXT)
    assert {f"taglock-{part}" for part in parts.split()} <= known | copies
    assert units - {"taglock-$part;"} <= known | copies
    assert {each.stem for each in folder.glob("*.service")} <= units


def test_the_registry_trusts_taglocks_tokens() -> None:
    config = yaml.safe_load(read_file("/etc/docker/registry/config.yml"))
    token = config["auth"]["token"]
    settings = parse_settings(read_file(str(DEFAULT_FILE)), DEFAULT_FILE)
    assert (token["service"], token["issuer"]) == (SERVICE, ISSUER)
    assert token["realm"] == f"{settings['PUBLIC_URL']}/auth/token"
    assert settings["REGISTRY_URL"] == f"http://{config['http']['addr']}"
    assert f"token_keys export | sudo tee {token['rootcertbundle']} >/dev/null\n" in TEXT


@pytest.mark.parametrize("name", ["secret_key", "database_url", "database_password"])
def test_every_secret_of_the_compose_file_is_written(name: str) -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    assert Path(compose["secrets"][name]["file"]) == Path("secrets") / name
    assert f">secrets/{name}\n" in TEXT


def test_the_values_are_those_of_the_chart() -> None:
    found = re.search(r"^( +image: \{repo.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    chart = yaml.safe_load((ROOT / "deploy/helm/taglock/values.yaml").read_text())
    for name, value in yaml.safe_load(found[1]).items():
        assert name in chart
        if isinstance(value, dict):
            assert set(value) <= set(chart[name])
