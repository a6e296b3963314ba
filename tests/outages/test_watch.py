"""What an operator is told while a part is down: metrics, status and log."""

import json
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.outages.conftest import METRICS_TOKEN, SCHEDULER, WORKER
from tests.services.cluster import Cluster
from tests.services.parts import Part, wait_until
from tests.services.postgresql import Server
from tests.services.registry_user import Repository, send

pytestmark = pytest.mark.cluster

LOGIN = f"Authorization: Bearer {METRICS_TOKEN}\r\n"
WORK = "Worker and scheduler"


def _scrape(port: int) -> dict[str, float]:
    """Return the samples of a process, those of one name and outcome or status added up."""
    answer = send(port, "GET", "/metrics", headers=LOGIN)
    assert answer.status == 200
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            which = sample.labels.get("outcome") or sample.labels.get("status", "")
            name = f"{sample.name} {which}".strip()
            found[name] = found.get(name, 0.0) + sample.value
    return found


def _read_status(cluster: Cluster) -> dict[str, set[str]]:
    """Return the outcomes of each part, as a program gets them from the site."""
    answer = send(cluster.ports.site, "GET", "/statusz", headers=LOGIN)
    parts: dict[str, set[str]] = {}
    for each in json.loads(answer.body)["parts"]:
        parts.setdefault(each["part"], set()).add(each["outcome"])
    return parts


def test_without_the_registry(cluster: Cluster, repository: Repository) -> None:
    image = repository.make_image("one")
    undecided, no_answer = "taglock_decision_seconds_count undecided", "_answers_total none"
    before = [_scrape(port) for port in cluster.gate_ports]
    assert _read_status(cluster)["Registry"] == {"ok"}
    cluster.registry.stop()
    answer = repository.put("v1.0.0", image, headers="X-Request-Id: job-7\r\n")
    assert answer.status == 503
    after = [_scrape(port) for port in cluster.gate_ports]
    for name in (undecided, f"taglock_registry{no_answer}"):
        grown = sum(each.get(name, 0) for each in after) - sum(each.get(name, 0) for each in before)
        assert grown == 1, name
    assert _read_status(cluster)["Registry"] == {"failed"}
    assert answer.headers["x-request-id"] == "job-7"
    (line,) = [
        line
        for gate in cluster.gates
        for line in gate.log.read_text().splitlines()
        if "request_id=job-7" in line
    ]
    assert line.startswith("WARNING packages_site.request_log: push undecided")
    assert f"repository={repository.name} tag=v1.0.0 actor=dana kind=push" in line
    assert "the registry cannot be reached. Try again." in line
    assert "Connection refused" in line


def test_without_the_database(cluster: Cluster, database: Server) -> None:
    ports = [cluster.ports.site, *cluster.gate_ports]
    assert {_scrape(port)["taglock_database_up"] for port in ports} == {1}
    database.stop()
    assert {_scrape(port)["taglock_database_up"] for port in ports} == {0}
    assert _read_status(cluster)["Database"] == {"failed"}


def test_with_and_without_a_worker(cluster: Cluster, background: Callable[..., Part]) -> None:
    assert _read_status(cluster)[WORK] == {"failed"}
    background(WORKER)
    background(SCHEDULER)
    wait_until(lambda: _read_status(cluster)[WORK] == {"ok"}, 30)
