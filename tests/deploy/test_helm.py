"""deploy/helm/taglock: valid manifests, and the same parts as everywhere else."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from immutability.gate import GATE_THREADS
from packages_site.environment import Environment
from packages_site.local import ROOT
from packages_site.version import VERSION
from tests.deploy.test_containers import NOT_TAGLOCKS, SERVICES
from tests.services.certificates import make_certificate
from tests.services.go_programs import build_with_go

pytestmark = pytest.mark.process

CHART = ROOT / "deploy/helm/taglock"
KUBERNETES = "1.34"
VALUES = {
    "siteHost": "tags.example.org",
    "registryHost": "registry.example.org",
    "registryUrl": "https://repo.example.org/artifactory",
    "secretFiles": {"EMAIL_URL_FILE": "email-url"},
    "settings": {"EMAIL_FROM": "Taglock <taglock@example.org>"},
    "gateway": {"enabled": True, "name": "main"},
    "ingress": {"enabled": True, "tlsSecret": "taglock-tls"},
    "edge": {"trustedProxies": ["10.42.0.0/16"]},
    "site": {"autoscaling": {"enabled": True}},
}
SETTINGS = {field.name.upper() for field in fields(Environment)}

Manifests = dict[tuple[str, str], dict[str, Any]]
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Return a function that runs a command of helm on the chart, with values."""
    program = build_with_go("clients")[-1]
    values_file = tmp_path_factory.mktemp("helm") / "values.yaml"

    def run(*command: str, **values: object) -> subprocess.CompletedProcess[str]:
        values_file.write_text(yaml.safe_dump(values))
        return subprocess.run(
            [program, *command, CHART, "--values", values_file, "--kube-version", KUBERNETES],
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="module")
def rendered(helm: Helm) -> str:
    done = helm("template", "taglock", **VALUES)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def manifests(rendered: str) -> Manifests:
    """Return what the chart makes, by kind and name."""
    found = [each for each in yaml.safe_load_all(rendered) if each]
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(by_name) == len(found)
    return by_name


def pods_of(manifests: Manifests) -> dict[str, dict[str, Any]]:
    """Return the pods' specifications, by the part that they are."""
    return {
        name.removeprefix("taglock-"): each["spec"]["template"]["spec"]
        for (kind, name), each in manifests.items()
        if kind in ("Deployment", "Job")
    }


def environment_of(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod["containers"][0].get("env", [])}


def test_helm_finds_nothing_wrong(helm: Helm) -> None:
    done = helm("lint", "--strict", **VALUES)
    assert done.returncode == 0, done.stdout


def test_kubernetes_takes_every_manifest(rendered: str, tmp_path: Path) -> None:
    file = tmp_path / "manifests.yaml"
    # What is no part of Kubernetes itself has no schema there.
    kept = [each for each in rendered.split("\n---\n") if "kind: HTTPRoute" not in each]
    assert len(kept) == len(rendered.split("\n---\n")) - 1
    file.write_text("\n---\n".join(kept))
    program = Path(sys.executable).with_name("kubernetes-validate")
    done = subprocess.run(
        [program, "--strict", "--quiet", "--kubernetes-version", KUBERNETES, file],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"siteHost": ""},
        {"siteHost": "https://tags.example.org"},
        {"registryUrl": "registry:5000"},
        {"registryUrl": "https://user@registry"},
        {"settings": {"BEHIND_EDGE": "false"}},
        {"settings": {"SECRET_KEY": "hunter2"}},
        {"gateway": {"enabled": True}},
        {"ingress": {"enabled": True}},
        {"settings": {"REGISTRY_ACCOUNTS": "taglock"}},
        {"edge": {}},
        {"replicas": 3},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wrong_values_are_refused(helm: Helm, wrong: dict[str, object]) -> None:
    good = {name: VALUES[name] for name in ("siteHost", "registryHost", "registryUrl", "edge")}
    done = helm("template", "taglock", **(good | wrong))
    assert done.returncode == 1
    assert "values don't meet the specifications of the schema" in done.stderr


def test_every_variable_is_a_setting(manifests: Manifests) -> None:
    for pod in pods_of(manifests).values():
        for name in environment_of(pod):
            assert name in SETTINGS or NOT_TAGLOCKS.fullmatch(name), name


def test_the_parts_are_those_of_the_compose_file(manifests: Manifests) -> None:
    pods = pods_of(manifests)
    assert set(pods) == {"edge", "gate", "migrate", "scheduler", "site", "worker"}
    for name in ("worker", "scheduler"):
        assert pods[name]["containers"][0]["command"] == SERVICES[name]["command"]
    gate = environment_of(pods["gate"])
    assert gate["GRANIAN_BLOCKING_THREADS"] == str(GATE_THREADS)
    for name in ("GRANIAN_PORT", "DJANGO_SETTINGS_MODULE"):
        assert gate[name] == SERVICES["gate"]["environment"][name]
    for name in ("site", "gate"):
        (port,) = [each["containerPort"] for each in pods[name]["containers"][0]["ports"]]
        assert str(port) == environment_of(pods[name])["GRANIAN_PORT"]
        assert manifests["Service", f"taglock-{name}"]["spec"]["ports"][0]["port"] == port


def test_migrate_runs_before_everything_else(manifests: Manifests) -> None:
    job = manifests["Job", "taglock-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][:2] == ["taglock", "migrate"]


def test_every_pod_is_locked_down(manifests: Manifests) -> None:
    for name, pod in pods_of(manifests).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"requests", "limits"} <= set(container["resources"]), name


def test_only_the_edge_reaches_site_and_gate(manifests: Manifests) -> None:
    for name in ("site", "gate"):
        policy = manifests["NetworkPolicy", f"taglock-{name}"]["spec"]
        (rule,) = policy["ingress"]
        (peer,) = rule["from"]
        component = "app.kubernetes.io/component"
        assert peer["podSelector"]["matchLabels"][component] == "edge"
        assert policy["podSelector"]["matchLabels"][component] == name


def test_what_comes_in_goes_to_the_edge(manifests: Manifests) -> None:
    hosts = ["tags.example.org", "registry.example.org"]
    route = manifests["HTTPRoute", "taglock"]["spec"]
    assert route["hostnames"] == hosts
    assert [each["backendRefs"][0]["name"] for each in route["rules"]] == ["taglock-edge"]
    ingress = manifests["Ingress", "taglock"]["spec"]
    assert [each["host"] for each in ingress["rules"]] == hosts
    for rule in ingress["rules"]:
        (path,) = rule["http"]["paths"]
        assert path["backend"]["service"]["name"] == "taglock-edge"
    allowed = environment_of(pods_of(manifests)["gate"])["ALLOWED_HOSTS"]
    assert allowed == ",".join(hosts)


@pytest.mark.parametrize(
    ("registry_url", "server", "path"),
    [
        (
            "https://repo.example.org/artifactory",
            "repo.example.org:443",
            "https://taglock_registry/artifactory;",
        ),
        ("http://registry.registry.svc:5000", "registry.registry.svc:5000", ""),
    ],
    ids=["tls", "plain"],
)
def test_nginx_takes_the_edges_configuration(
    helm: Helm, tmp_path: Path, registry_url: str, server: str, path: str
) -> None:
    done = helm(
        "template", "taglock", "--show-only", "templates/edge.yaml",
        **(VALUES | {"registryUrl": registry_url}),
    )  # fmt: skip
    files = next(iter(yaml.safe_load_all(done.stdout)))["data"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name in ("taglock.conf", "tls-in-front.conf"):
        assert files[name].strip() == (ROOT / "deploy/nginx" / name).read_text().strip()
    text = files["nginx.conf"]
    assert f"server {server} " in text
    assert (f"set $taglock_registry {path}" in text) == bool(path)
    certificate, _ = make_certificate(tmp_path)
    for there, here in (
        ("/tmp/", f"{tmp_path}/"),  # noqa: S108
        ("/etc/nginx", str(tmp_path)),
        ("/etc/ssl/certs/ca-certificates.crt", str(certificate)),
    ):
        text = text.replace(there, here)
    text = re.sub(r"server [a-z.-]+:(\d+)", r"server 127.0.0.1:\1", text)
    (tmp_path / "nginx.conf").write_text(text)
    tested = subprocess.run(
        ["nginx", "-t", "-q", "-e", "stderr", "-c", tmp_path / "nginx.conf"],
        capture_output=True,
        text=True,
    )
    assert (tested.returncode, tested.stderr) == (0, "")


def test_the_chart_has_the_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
