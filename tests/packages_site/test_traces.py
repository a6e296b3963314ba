"""Traces lead from a client through Taglock to the registry, and are not there while off."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from rest_framework.test import APIClient

from containers.names import parse_repository, parse_tag
from containers.registry.client import RegistryClient
from immutability.policy.protection import Protection
from packages_site.otlp import OtlpTracing
from tests.conftest import AA
from tests.containers.registry.servers import Server
from workspaces.models import Workspace
from workspaces.tracing import trace_with, tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOTHING = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans of this process, as they end."""
    exporter = InMemorySpanExporter()
    trace_with(OtlpTracing("site", SimpleSpanProcessor(exporter)))
    yield exporter
    trace_with(None)


def _ask(server: Server) -> None:
    RegistryClient(server.url).ask_manifest(parse_repository("acme/api"), parse_tag("v1"))


def test_a_trace_goes_on_through_taglock_to_the_registry(spans: InMemorySpanExporter) -> None:
    server = Server(lambda connection: connection.sendall(NOTHING))
    try:
        with tracing().serve("PUT", {"traceparent": PARENT}):
            _ask(server)
    finally:
        server.close()
    call, served = spans.get_finished_spans()
    assert (call.name, call.kind) == ("registry HEAD", SpanKind.CLIENT)
    assert dict(call.attributes or {}) == {"http.request.method": "HEAD", "taglock.status": "404"}
    assert served.kind is SpanKind.SERVER
    assert call.parent is not None
    assert call.parent.span_id == served.context.span_id
    assert format(served.context.trace_id, "032x") == TRACE
    sent = f"traceparent: 00-{TRACE}-{call.context.span_id:016x}-01"
    assert sent.encode() in server.requests[0]


def test_a_check_is_a_span_that_says_what_it_was(
    acme: Workspace,
    registry: APIClient,
    protect: Callable[..., object],
    spans: InMemorySpanExporter,
) -> None:
    protect(acme, Protection.ALL)
    body = {"repository": "acme/api", "tag": "v1", "digest": AA, "actor": "dana"}
    headers = {"traceparent": PARENT, "X-Request-Id": "job-7"}
    registry.post("/api/v1/check-push", body, format="json", headers=headers)
    (span,) = spans.get_finished_spans()
    assert span.name == "check_push"
    assert format(span.context.trace_id, "032x") == TRACE
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "taglock.request_id": "job-7",
        "taglock.workspace": "acme",
        "taglock.repository": "acme/api",
        "taglock.tag": "v1",
        "taglock.outcome": "accepted",
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize("sent", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_parent_that_no_one_can_read_begins_a_trace(
    registry: APIClient, spans: InMemorySpanExporter, sent: str
) -> None:
    registry.get("/api/v1/nothing", headers={"traceparent": sent})
    (span,) = spans.get_finished_spans()
    assert (span.name, span.parent) == ("GET", None)


def test_while_they_are_off_the_registry_is_told_nothing() -> None:
    server = Server(lambda connection: connection.sendall(NOTHING))
    try:
        with tracing().serve("PUT", {"traceparent": PARENT}):
            _ask(server)
    finally:
        server.close()
    assert b"traceparent" not in server.requests[0]


# What a process does when it starts, and with one request of /v2/, which needs no database.
PROGRAM = """
import io
import sys
from packages_site.wsgi import application
environ = {"REQUEST_METHOD": "PUT", "PATH_INFO": "/v2/acme/api/manifests/v1"}
environ |= {"wsgi.input": io.BytesIO(), "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80"}
environ["HTTP_TRACEPARENT"] = "%s"
application(environ, lambda *_: None).close()
print([name for name in sys.modules if name.startswith("opentelemetry.")][:1])
"""


def _run(folder: Path, **variables: str) -> str:
    env = {
        "DATA_DIR": str(folder),
        "SECRET_KEY": "k" * 50,
        "DJANGO_SETTINGS_MODULE": "packages_site.gate_settings",
        **variables,
    }
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM % PARENT]
    run = subprocess.run(program, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.process
def test_a_process_imports_and_sends_nothing_without_the_setting(tmp_path: Path) -> None:
    assert _run(tmp_path) == "[]\n"


@pytest.mark.process
def test_a_process_sends_its_spans_to_the_endpoint(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    server = Server(lambda connection: connection.sendall(answer))
    try:
        assert _run(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=server.url) != "[]\n"
    finally:
        server.close()
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/traces HTTP/1.1\r\n")
    assert b"taglock-gate" in body
    assert bytes.fromhex(TRACE) in body
